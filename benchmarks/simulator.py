"""Time a simulated shot by stage, and compare following reflections with its definition.

Run: python benchmarks/simulator.py [--reference-seconds 5.9] [--reference-square-seconds 40]

Times are CPU milliseconds in one thread, medians within this process. The definition (`by_pixel`)
is timed on some rows, spread evenly over the panel, and scaled up. To include the original C
program in the table, give the seconds that it takes on this machine.
"""

import argparse
import multiprocessing
import platform
import resource
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import partial

import numpy as np

from deepfreak.encoding import (
    to_8_bits,
)
from deepfreak.physics.detector import Panel
from deepfreak.physics.experiment import Experiment
from deepfreak.physics.exposure import background_photons, bragg_photons
from deepfreak.physics.noise import (
    detect,
    point_spread,
    read_out,
)
from deepfreak.physics.noise.counting import poisson
from deepfreak.physics.recipe import load_recipe
from deepfreak.physics.scattering.bragg import Method, bragg_intensity
from deepfreak.physics.scattering.by_pixel import SHAPES, RenderedCrystal
from deepfreak.physics.shot import Shot

PAIR_NS = 20.0  # time of the original C program per (subpixel, domain) pair of a tophat spot
Render = Callable[[Method], object]


def core_ms(work: Callable[[], object], runs: int = 7) -> float:
    """Return the median CPU time of `work` in milliseconds, after a warm-up."""
    work()
    times = []
    for _ in range(runs):
        start = time.process_time()
        work()
        times.append(time.process_time() - start)
    return 1e3 * float(np.median(times))


def typical_shot(experiment: Experiment) -> Shot:
    """Return a shot of a whole crystal with a mean pulse."""
    drawn = experiment.draw(seed=0, index=1)
    volume = experiment.crystal.volume_mm3
    return replace(drawn, photons=1e12, crystal_volume_mm3=volume, label=3)


def bragg_work(shot: Shot, *, rows: int | None = None) -> tuple[Render, float]:
    """Return a function that renders the spots, and the number of (subpixel, domain) pairs."""
    experiment = shot.experiment
    factors = experiment.structure_factors()
    axes = shot.real_axes(factors)[0]
    whole = experiment.detector.resolved_panels()[0]
    size = (rows or whole.image_size[0], whole.image_size[1])
    # fewer rows, further apart, cover the same angles
    step = whole.image_size[0] / size[0]
    panel = Panel(
        image_size=size,
        origin_mm=whole.origin_mm,
        fast_axis=whole.fast_axis,
        slow_axis=whole.slow_axis * step if rows else whole.slow_axis,
        pixel_size_mm=whole.pixel_size_mm,
    )
    lattice = RenderedCrystal(
        F=factors.F,
        hkl_min=np.array(factors.hkl_min),
        real_axes=axes,
        domains=shot.domains()[0],
        cells=experiment.crystal.domain_cells(axes[0]),
        shape=SHAPES[experiment.crystal.xtal_shape],
    )
    oversample = experiment.crystal.oversample
    pairs = size[0] * size[1] * oversample**2 * len(lattice.domains)

    def render(method: Method) -> object:
        return bragg_intensity(
            lattice, panel, sources=shot.sources(), oversample=oversample, method=method
        )

    return render, float(pairs)


def bragg_table(
    shot: Shot, *, slow_rows: int, reference_s: float, reference_square_s: float
) -> None:
    """Print the Bragg part by method, tophat and square."""
    print("Bragg part of one Appendix A image                      core-ms    ratio")
    square_crystal = replace(shot.experiment.crystal, xtal_shape="square")
    square = replace(shot, experiment=replace(shot.experiment, crystal=square_crystal))
    for name, one, method, seconds in (
        ("tophat", shot, "by_reflection", reference_s),
        ("square", square, "by_row", reference_square_s),
    ):
        render, pairs = bragg_work(one)
        fast_ms = core_ms(partial(render, method), runs=7 if name == "tophat" else 1)
        slow_render, slow_pairs = bragg_work(one, rows=slow_rows)
        slow_ms = core_ms(partial(slow_render, "by_pixel"), runs=1) * pairs / slow_pairs
        table = [(f"{name}, {method}", fast_ms), (f"{name}, the definition, compiled", slow_ms)]
        if name == "tophat":
            table.append((f"at {PAIR_NS:.0f} ns per pair", pairs * PAIR_NS * 1e-6))
        if seconds:
            table.append((f"{name}, the original C program", 1e3 * seconds))
        for label, ms in table:
            print(f"  {label:<50} {ms:10.1f} {ms / fast_ms:8.1f}")


def stage_table(shot: Shot) -> None:
    """Print the cost of each stage of a shot, and of whole shots of each kind."""
    experiment = shot.experiment
    detector = experiment.detector
    response = detector.response
    rng = np.random.default_rng(0)
    expected = bragg_photons(shot) + background_photons(shot)
    observed = poisson(expected, rng)
    counts = np.clip(observed, 0, 65025).astype(np.uint16)
    empty = replace(shot, crystal_volume_mm3=0.0)
    stages: dict[str, Callable[[], object]] = {
        "Bragg": lambda: bragg_photons(shot),
        "water and air": lambda: background_photons(empty),
        "water, air, diffuse, Compton": lambda: background_photons(shot),
        "Poisson": lambda: poisson(expected, rng),
        "point spread": lambda: point_spread(
            observed, fwhm_mm=response.psf_fwhm_mm, pixel_size_mm=detector.pixel_size_mm
        ),
        "readout": lambda: read_out(observed, response, rng),
        "8 bits": lambda: to_8_bits(counts),
    }
    print("\nA whole shot by stage                                    core-ms")
    for name, work in stages.items():
        print(f"  {name:<50} {core_ms(work):10.1f}")
    for name, one in (
        ("diffraction", shot),
        ("no crystal", empty),
        ("dark", replace(empty, photons=0.0)),
    ):

        def whole(one: Shot = one) -> object:
            photons = bragg_photons(one) + background_photons(one)
            return to_8_bits(detect(photons, detector, rng))

        print(f"  {'whole shot, ' + name:<50} {core_ms(whole):10.1f}")


def growth_table(shot: Shot) -> None:
    """Print how the cost grows with the numbers of pixels and domains."""
    experiment = shot.experiment
    print("\nGrowth of the Bragg part                     core-ms   pixels x domains")
    fine = replace(experiment.detector, image_size=(4096, 4096), pixel_size_mm=0.172 / 8)
    for name, changed, factor in (
        ("512 x 512, 300 domains", experiment, 1.0),
        ("4096 x 4096, same solid angle", replace(experiment, detector=fine), 64.0),
        (
            "1,000 domains",
            replace(experiment, crystal=replace(experiment.crystal, mosaic_domains=1000)),
            1000 / 300,
        ),
    ):
        render, _ = bragg_work(replace(shot, experiment=changed))
        ms = core_ms(partial(render, "by_reflection"), runs=3)
        print(f"  {name:<40} {ms:10.1f} {factor:10.1f} x")


def simulate_some(first: int) -> float:
    """Simulate 20 diffraction shots and return this process's peak memory in MB."""
    experiment = load_recipe("diffranet")
    shot = typical_shot(experiment)
    for i in range(20):
        one = replace(shot, index=first + i)
        photons = bragg_photons(one) + background_photons(one)
        detect(photons, experiment.detector, one.noise_generator())
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def process_table() -> None:
    """Print the rate of one and two processes, and their memory."""
    print("\nDiffraction shots per second, wall time")
    rates = []
    for processes in (1, 2):
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(processes, mp_context=context) as pool:
            list(pool.map(simulate_some, [0] * processes))
            start = time.perf_counter()
            memory = max(pool.map(simulate_some, range(0, 40 * processes, 20)))
            rates.append(40 * processes / (time.perf_counter() - start))
        ratio = rates[-1] / rates[0]
        print(f"  {processes} process(es): {rates[-1]:.1f}/s, x {ratio:.2f}, {memory:.0f} MB each")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--slow-rows", type=int, default=32)
    parser.add_argument("--reference-seconds", type=float, default=0.0)
    parser.add_argument("--reference-square-seconds", type=float, default=0.0)
    options = parser.parse_args()
    print(f"{platform.processor() or platform.machine()}, one thread\n")
    shot = typical_shot(load_recipe("diffranet"))
    bragg_table(
        shot,
        slow_rows=options.slow_rows,
        reference_s=options.reference_seconds,
        reference_square_s=options.reference_square_seconds,
    )
    stage_table(shot)
    growth_table(shot)
    process_table()


if __name__ == "__main__":
    main()
