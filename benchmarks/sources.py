"""Compare the photons of each source with its formula, and measure the spread of backgrounds.

Run: python benchmarks/sources.py [--recipe diffranet] [--count 400] [--seed 600]

For the first strong and the first no-crystal shot of the series: photons per pixel as rendered,
and r_e^2 x fluence x scatterers x mean of (intensity x solid angle x polarization) in plain numpy.
Then, over all no-crystal shots, the background per photon of the pulse.
"""

import argparse
import math
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from deepfreak.physics.detector import beam_factors, sin_theta
from deepfreak.physics.exposure import background_photons, bragg_photons
from deepfreak.physics.recipe import load_recipe
from deepfreak.physics.scattering.amorphous import Amorphous
from deepfreak.physics.scattering.atoms import R_E_SQR_M2
from deepfreak.physics.scattering.disorder import (
    SPOT_VOLUME,
    compton_intensity,
    protein_of,
)
from deepfreak.physics.shot import Shot
from deepfreak.physics.structure_factors.factors import STOL

Array = NDArray[np.float64]


def formula(shot: Shot, stol: Array, intensity: Array, scatterers: float) -> float:
    """Return photons per pixel from `scatterers` of `intensity` (electrons^2) at `stol`."""
    experiment = shot.experiment
    at = sin_theta(experiment.detector) / shot.wavelength_A
    per_pixel = np.interp(at, stol, intensity) * beam_factors(experiment.detector, experiment.beam)
    fluence = experiment.beam.fluence(shot.photons)
    return float(R_E_SQR_M2 * fluence * scatterers * per_pixel.mean())


def light_of(shot: Shot, **crystal: object) -> float:
    """Return photons per pixel beside the spots of a crystal with changed settings."""
    experiment = shot.experiment
    bare = replace(experiment, background=(), crystal=replace(experiment.crystal, **crystal))
    return float(background_photons(replace(shot, experiment=bare)).mean(dtype=np.float64))


def rows_of(shot: Shot) -> list[tuple[str, float, float]]:
    """Return source, rendered photons per pixel, and those of the formula."""
    experiment = shot.experiment
    rows = []
    for matter in shot.surroundings()[0]:
        if not isinstance(matter, Amorphous):
            continue
        only = replace(experiment, background=(matter,))
        no_crystal = replace(shot, experiment=only, crystal_volume_mm3=0.0)
        rendered = float(background_photons(no_crystal).mean(dtype=np.float64))
        stol, F = matter.form_factor()
        count = matter.molecules(experiment.beam)
        rows.append(
            (
                f"{matter.material}, {matter.path_mm:.4g} mm",
                rendered,
                formula(shot, stol, F**2, count),
            )
        )
    if shot.crystal_volume_mm3 > 0:
        factors = experiment.structure_factors()
        axes = shot.real_axes(factors)[0][0]
        cells = shot.cells_in_beam(axes)
        atoms = factors.composition or protein_of(abs(float(np.linalg.det(axes))))
        lost = SPOT_VOLUME[experiment.crystal.xtal_shape] * factors.lost
        rows += [
            ("crystal, diffuse", light_of(shot, compton=False), formula(shot, STOL, lost, cells)),
            (
                "crystal, Compton",
                light_of(shot, diffuse=False, disorder_B_A2=0.0),
                formula(shot, STOL, compton_intensity(atoms, stol=STOL), cells),
            ),
            ("spots", float(bragg_photons(shot).mean(dtype=np.float64)), math.nan),
        ]
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--recipe", default="diffranet")
    parser.add_argument("--count", type=int, default=400)
    parser.add_argument("--seed", type=int, default=600)
    options = parser.parse_args()
    experiment = load_recipe(options.recipe)
    shots = [experiment.draw(seed=options.seed, index=index) for index in range(options.count)]
    for name in ("strong", "no-crystal"):
        shot = next(shot for shot in shots if shot.class_name == name)
        whole = shot.crystal_volume_mm3 / experiment.crystal.volume_mm3
        print(
            f"{name}, shot {shot.index} of seed {options.seed}: {shot.photons:.3g} photons, "
            f"{whole:.3g} of the whole crystal"
        )
        for source, rendered, expected in rows_of(shot):
            print(f"  {source:<24}{rendered:10.2f}{expected:10.2f}")
    per_photon = np.array(
        [
            background_photons(shot).mean(dtype=np.float64) / shot.photons
            for shot in shots
            if shot.photons > 0 and shot.crystal_volume_mm3 == 0
        ]
    )
    spread = 100 * per_photon.std() / per_photon.mean()
    print(
        f"background per photon of {len(per_photon)} no-crystal shots: "
        f"{per_photon.mean() * 1e12:.1f} per pixel at 1e12, {spread:.1f} % RMS"
    )


if __name__ == "__main__":
    main()
