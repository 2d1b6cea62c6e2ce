"""What a simulated shot costs, by stage, and what following reflections saves.

Run: python benchmarks/simulator.py [--slow-pixels 64]

Times are core-milliseconds in one thread, the median of several runs within this process. The
definition (`by_pixel`) is timed on part of the rows, spread evenly over the panel, and scaled up.
"""

import argparse
import platform
import time
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from deepfreak.detector import Panel
from deepfreak.exposure import background_photons, bragg_photons
from deepfreak.noise import calibration_map, detect, point_spread, read_out, to_8_bits
from deepfreak.recipe import load_recipe
from deepfreak.scattering.bragg import Lattice, Method, bragg_intensity
from deepfreak.shot import Shot

PAIR_NS = 20.0  # what the original C program takes for a (subpixel, domain) pair


def core_ms(work: Callable[[], object], runs: int = 7) -> float:
    """Return the median processor time of `work` in milliseconds, after one run not counted."""
    work()
    times = []
    for _ in range(runs):
        start = time.process_time()
        work()
        times.append(time.process_time() - start)
    return 1e3 * float(np.median(times))


def bragg_work(shot: Shot, *, rows: int | None = None) -> tuple[Callable[[Method], object], float]:
    """Return a renderer of the shot's spots, fast or slow, and its (subpixel, domain) pairs."""
    experiment = shot.experiment
    factors = experiment.structure_factors()
    axes = shot.real_axes(factors)[0]
    detector = experiment.detector
    fast, slow = detector.axes
    size = (rows or detector.image_size[0], detector.image_size[1])
    lattice = Lattice(
        F=factors.F,
        hkl_min=np.array(factors.hkl_min),
        real_axes=axes,
        domains=shot.domains()[0],
        cells=experiment.crystal.domain_cells(axes[0]),
        shape="tophat",
    )
    # fewer rows, further apart, see the same mix of angles
    step = detector.image_size[0] / size[0]
    panel = Panel(
        image_size=size,
        origin_mm=detector.origin_mm,
        fast_axis=fast,
        slow_axis=slow * step if rows else slow,
        pixel_size_mm=detector.pixel_size_mm,
    )
    oversample = experiment.crystal.oversample
    sources = np.array([[*experiment.beam.direction, shot.wavelength_A, 1.0]])
    pairs = size[0] * size[1] * oversample**2 * len(lattice.domains)

    def render(method: Method) -> object:
        return bragg_intensity(
            lattice, panel, sources=sources, oversample=oversample, method=method
        )

    return render, float(pairs)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--slow-rows", type=int, default=32)
    options = parser.parse_args()
    experiment = load_recipe("diffranet")
    shot = replace(
        experiment.draw(seed=0, index=1),
        photons=1e12,
        crystal_volume_mm3=experiment.crystal.volume_mm3,
        label=3,
    )
    dark = replace(shot, photons=0.0, crystal_volume_mm3=0.0)
    empty = replace(shot, crystal_volume_mm3=0.0)
    print(f"{platform.processor() or platform.machine()}, one thread\n")

    render, pairs = bragg_work(shot)
    fast_ms = core_ms(lambda: render("landings"))
    slow_render, slow_pairs = bragg_work(shot, rows=options.slow_rows)
    slow_ms = core_ms(lambda: slow_render("by_pixel"), runs=1) * pairs / slow_pairs
    print("Bragg part of one Appendix A image                      core-ms    ratio")
    pair_ms = pairs * PAIR_NS * 1e-6
    for name, ms in (
        ("reflections followed to the detector", fast_ms),
        ("every subpixel and domain (definition, compiled)", slow_ms),
        (f"at {PAIR_NS:.0f} ns a pair, the C program's rate", pair_ms),
    ):
        print(f"  {name:<50} {ms:10.1f} {ms / fast_ms:8.1f}")

    spots, background = bragg_photons(shot), background_photons(shot)
    expected = spots + background
    response = experiment.detector.response
    size = experiment.detector.image_size
    rng = np.random.default_rng(0)
    observed = rng.poisson(expected).astype(np.float32)
    stages: dict[str, Callable[[], object]] = {
        "domains": shot.domains,
        "Bragg": lambda: bragg_photons(shot),
        "background": lambda: background_photons(shot),
        "calibration": lambda: expected * calibration_map(response, size),
        "Poisson": lambda: rng.poisson(expected),
        "point spread": lambda: point_spread(
            observed,
            fwhm_mm=response.psf_fwhm_mm,
            pixel_size_mm=experiment.detector.pixel_size_mm,
        ),
        "read-out": lambda: read_out(observed, response, rng),
        "8 bits": lambda: to_8_bits(observed.astype(np.uint16)),
    }
    print("\nA whole shot by stage                                    core-ms")
    for name, work in stages.items():
        print(f"  {name:<50} {core_ms(work):10.1f}")
    for name, one in (("diffraction", shot), ("no crystal", empty), ("dark", dark)):

        def whole(one: Shot = one) -> object:
            photons = bragg_photons(one) + background_photons(one)
            return to_8_bits(detect(photons, experiment.detector, rng))

        print(f"  {'whole shot, ' + name:<50} {core_ms(whole):10.1f}")


if __name__ == "__main__":
    main()
