"""Estimate an upper limit of any classifier's accuracy on a recipe's shots, given the noise.

Run: python benchmarks/ceiling.py [--recipe diffranet] [--count 600] [--seed 500]

Classes are ranges of the crystal's volume v. Suppose that everything about a shot is known,
including orientation and amplitudes, except v, the pulse energy and each length that is drawn from
a range. The error of v, estimated from a noisy image, is at least the square root of (I^-1)_vv
(Cramer-Rao), where I is the Fisher information sum(dE/dp dE/dq / (E + s^2)) over pixels, p and q
are the unknowns, E the expected photons and s the readout noise. The probability that this error
moves v across a boundary of its class, averaged over shots, is a lower limit of any classifier's
error rate.
"""

import argparse
from dataclasses import replace

import numpy as np
from scipy.stats import norm

from deepfreak.physics.detector import CCD
from deepfreak.physics.exposure import background_photons, bragg_photons
from deepfreak.physics.recipe import load_recipe
from deepfreak.physics.shot import Shot


def chance_of_error(shot: Shot, boundaries: list[float]) -> float:
    """Return the probability that noise moves a shot's volume into another class.

    `boundaries` ascend. The lowest one is half of the smallest volume of a crystal: below it the
    class is no crystal.
    """
    response = shot.experiment.detector.response
    readout = response.readout_noise_adu if isinstance(response, CCD) else 0.0
    volume = shot.crystal_volume_mm3
    if shot.photons == 0:
        return 0.0
    trial = volume or shot.experiment.crystal.volume_mm3

    with_crystal = replace(shot, crystal_volume_mm3=trial)
    empty = background_photons(replace(shot, crystal_volume_mm3=0.0)).astype(np.float64)
    crystal = bragg_photons(with_crystal) + background_photons(with_crystal) - empty
    expected = empty + crystal * (volume / trial)
    # derivatives of every pixel by the volume, the pulse energy, and each length drawn from a range
    changes = [crystal / trial, expected / shot.photons]
    bare = replace(shot, crystal_volume_mm3=0.0)
    background = shot.experiment.background
    ranges = {matter.material for matter in background if isinstance(matter.path_mm, tuple)}
    for matter in shot.surroundings()[0]:
        if matter.material in ranges:
            only = replace(shot.experiment, background=(matter,))
            changes.append(background_photons(replace(bare, experiment=only)).astype(np.float64))
    unknown = np.array([change.ravel() / change.max() for change in changes])
    information = (unknown / (expected + readout**2).ravel()) @ unknown.T
    sigma = np.sqrt(np.linalg.inv(information)[0, 0]) / changes[0].max()
    crossed = [norm.sf(abs(volume - b) / sigma) for b in boundaries]
    below = [c for b, c in zip(boundaries, crossed, strict=True) if b <= volume]
    above = [c for b, c in zip(boundaries, crossed, strict=True) if b > volume]
    return float(max(below, default=0.0) + max(above, default=0.0))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--recipe", default="diffranet")
    parser.add_argument("--count", type=int, default=600)
    parser.add_argument("--seed", type=int, default=500)
    options = parser.parse_args()
    experiment = load_recipe(options.recipe)
    whole = experiment.crystal.volume_mm3
    lows = sorted(lit.crystal_fraction[0] * whole for lit in experiment.classes.lit)
    least = next(low for low in lows if low > 0)
    boundaries = [least / 2, *(low for low in lows if low > least)]
    errors: dict[str, list[float]] = {name: [] for name in experiment.classes.names}
    for index in range(options.count):
        shot = experiment.draw(seed=options.seed, index=index)
        errors[shot.class_name].append(chance_of_error(shot, boundaries))
    every = np.concatenate([np.array(of_class) for of_class in errors.values()])
    spread = 1.96 * every.std() / np.sqrt(len(every))
    print(f"{options.recipe}, {options.count} shots of seed {options.seed}")
    for name, of_class in errors.items():
        print(f"  {name:<12} {100 * (1 - np.mean(of_class)):8.3f} %  of {len(of_class)}")
    print(f"  all          {100 * (1 - every.mean()):8.3f} +- {100 * spread:.3f} %")


if __name__ == "__main__":
    main()
