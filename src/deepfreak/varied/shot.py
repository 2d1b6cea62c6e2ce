"""One varied image: what is in the beam, how bright, and what a detector makes of it."""

import math
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from deepfreak.detector import CCD, PhotonCounting
from deepfreak.experiment import Experiment
from deepfreak.exposure import Truth, background_photons, bragg_photons, truth_of
from deepfreak.frames.frame import Frame
from deepfreak.noise import detect
from deepfreak.prepare import PEDESTAL, SIZE, prepare
from deepfreak.shot import Shot
from deepfreak.spots import count_spots
from deepfreak.varied.experiment import varied_experiment
from deepfreak.varied.light import Plane, shading, stray_light

Float = NDArray[np.float32]

# Images that share an experiment: structure factors and maps of a detector take as long as some.
BLOCK = 20
# So many spots above 5 sigma make diffraction; fewer are shown on no image.
FEWEST_SPOTS = 6
# A crystal that shows too few, however bright, is replaced, at most so often.
CRYSTALS = 12
# The brightest pixel that a crystal may send, and how much fainter its light can be.
BRIGHTEST_PHOTONS, RANGE = 3e4, 1e8
HALVINGS = 7
# How much brighter than at the edge of visibility a crystal is.
BRIGHTER = 1.5, 300.0
NO_BEAM = 0.04
NO_DIFFRACTION, DIFFRACTION = 0, 1

# First word of a key: a block's and an image's chance are independent, and both of `shot.draw`'s.
_BLOCK, _IMAGE = 2**31, 2**31 + 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """What a block of images shares: an experiment, and what nobody told about its detector.

    Attributes
    ----------
    counts_per_photon, pedestal
        That frames are read with as if they were 1 and the true one; what they really are is in
        no header.
    """

    experiment: Experiment
    counts_per_photon: float
    pedestal_off: float


@lru_cache(maxsize=2)
def setup_of(seed: int, block: int) -> Setup:
    """Return the setup of a block, a function of (seed, block)."""
    rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(_BLOCK, block)))
    experiment = varied_experiment(rng)
    counts_per_photon, pedestal_off = 1.0, 0.0
    if isinstance(experiment.detector.response, CCD):
        if rng.random() < 1 / 2:
            counts_per_photon = math.exp(rng.uniform(math.log(0.25), math.log(5)))
        if rng.random() < 1 / 4:
            pedestal_off = rng.uniform(-6, 100)
    return Setup(
        experiment=experiment, counts_per_photon=counts_per_photon, pedestal_off=pedestal_off
    )


def varied_image(seed: int, index: int) -> tuple[int, NDArray[np.uint8], Truth]:
    """Return label, 8-bit image (512, 512) and truth of image `index`: a function of both.

    Half of the images show a crystal with at least six spots above 5 sigma, and are
    "diffraction"; the others show none. The volume of crystal is log-uniform between 1.5 and 300
    times what shows six spots.
    """
    setup = setup_of(seed, index // BLOCK)
    experiment = setup.experiment
    rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(_IMAGE, index)))
    plane = Plane.about(experiment.detector.beam_center_px or (SIZE / 2, SIZE / 2))
    light, _ = stray_light(plane, rng)
    shade = shading(plane, rng)
    wanted, brighter = rng.random() < 1 / 2, rng.uniform(*np.log(BRIGHTER))
    if wanted:
        for attempt in range(CRYSTALS):
            # attempts take keys that no image of a series has
            shot = experiment.draw(seed=seed, index=index + (attempt << 32))
            background = shade * (background_photons(shot) + light)
            bragg = shade * bragg_photons(shot)
            factor = _brightness(bragg, background, shot, math.exp(brighter))
            if factor is not None:
                volume = factor * shot.crystal_volume_mm3
                shot = replace(shot, crystal_volume_mm3=volume)
                return _exposed(setup, shot, np.float32(factor) * bragg, background, rng)
    shot = experiment.draw(seed=seed, index=index)
    shot = replace(shot, crystal_volume_mm3=0.0, label=NO_DIFFRACTION)
    if rng.random() < NO_BEAM:
        shot, light = replace(shot, photons=0.0), np.zeros_like(light)
    background = shade * (background_photons(shot) + light)
    return _exposed(setup, shot, np.zeros_like(background), background, rng)


def _brightness(bragg: Float, background: Float, shot: Shot, brighter: float) -> float | None:
    """Return the factor on a crystal's light that makes it `brighter` than six spots ask for.

    None if no factor shows six, with the brightest pixel at most `BRIGHTEST_PHOTONS`.
    """
    peak = float(bragg.max())
    if peak == 0:
        return None

    def shows(factor: float) -> bool:
        found = count_spots(
            np.float32(factor) * bragg, background, shot.experiment.detector, shot.wavelength_A
        )
        return found.above_5_sigma >= FEWEST_SPOTS

    highest = BRIGHTEST_PHOTONS / peak
    if not shows(highest):
        return None
    low, high = math.log(highest / RANGE), math.log(highest)
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        low, high = (low, middle) if shows(math.exp(middle)) else (middle, high)
    return min(math.exp(high) * brighter, highest)


def _exposed(
    setup: Setup, shot: Shot, bragg: Float, background: Float, rng: np.random.Generator
) -> tuple[int, NDArray[np.uint8], Truth]:
    """Return label, image and truth of a shot whose expected photons are given in two parts."""
    detector = setup.experiment.detector
    counts = detect(bragg + background, detector, shot.noise_generator())
    _add_lone_pixels(counts, rng)
    is_counting = isinstance(detector.response, PhotonCounting)
    frame = Frame(
        file="",
        index=shot.index,
        counts=counts,
        valid=np.ones(counts.shape, np.bool_),
        pedestal=(0 if is_counting else PEDESTAL) - setup.pedestal_off / setup.counts_per_photon,
        gain=1 / setup.counts_per_photon,
        simulated=True,
    )
    truth = truth_of(shot, bragg=bragg, background=background)
    return shot.label, prepare(frame).image, truth


def _add_lone_pixels(counts: NDArray[np.uint16], rng: np.random.Generator) -> None:
    """Put up to five bright pixels into a quarter of the images, and a cosmic ray's track."""
    if rng.random() < 1 / 4:
        at = rng.integers(0, SIZE, (2, rng.integers(1, FEWEST_SPOTS)))
        values = np.exp(rng.uniform(np.log(30), np.log(65535), at.shape[1]))
        counts[tuple(at)] = np.maximum(counts[tuple(at)], values.astype(np.uint16))
    if rng.random() < 1 / 20:
        length, angle = rng.integers(2, 25), rng.uniform(0, 2 * math.pi)
        row, column = rng.uniform(0, SIZE, 2)
        steps = np.arange(length)
        rows = np.clip(row + steps * math.sin(angle), 0, SIZE - 1).astype(np.intp)
        columns = np.clip(column + steps * math.cos(angle), 0, SIZE - 1).astype(np.intp)
        values = np.exp(rng.uniform(np.log(30), np.log(2000), length))
        counts[rows, columns] = np.maximum(counts[rows, columns], values.astype(np.uint16))
