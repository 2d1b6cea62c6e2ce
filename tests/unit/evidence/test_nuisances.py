"""Artefacts of detectors and beamlines on frames without a crystal give few peaks."""

import numpy as np
import pytest

from deepfreak.evidence import find_evidence, numbers
from deepfreak.formats.gaps import gaps
from tests.unit.evidence.made import ccd, flat, made, scattered, spots, with_hot_pixels

SHAPE = (768, 768)
SLOW, FAST = np.indices(SHAPE, dtype=float)
RADIUS = np.hypot(SLOW - 380, FAST - 390)
ROUND = RADIUS < 350


def dark(rng, noise=3.0):
    return rng.normal(100, noise, SHAPE)


def hot_pairs(rng, counts, pairs=40):
    """Add pairs of hot pixels side by side, of equal and of unequal heights."""
    counts = counts.copy()
    for slow, fast in rng.integers(5, 760, (pairs, 2)):
        height = np.exp(rng.uniform(np.log(1000), np.log(50_000)))
        counts[slow, fast] += height
        counts[slow, fast + 1] += height * rng.uniform(0.3, 1)
    return counts


def shared(rng, gain, light):
    """Three in ten photons give a part of their charge to the next pixel."""
    whole, split = flat(rng, 0.7 * light, SHAPE), flat(rng, 0.3 * light, SHAPE)
    part = split * rng.uniform(0, 1, SHAPE)
    return gain * (whole + split - part + np.roll(part, 1, axis=1))


def tiles(rng, side, steps):
    number = -(-SHAPE[0] // side)
    return np.kron(rng.uniform(-1, 1, (number, number)) * steps, np.ones((side, side)))[:768, :768]


def anvil(rng):
    """Light of a diamond cell: a bright middle, the shadow of a seat, soft cones."""
    cone = 3000 * np.exp(-RADIUS / 40) + 40 * np.exp(-(((RADIUS - 250) / 60) ** 2))
    angle = np.arctan2(SLOW - 380, FAST - 390)
    return (5 + cone) * (0.15 + 0.85 / (1 + np.exp((np.abs(angle) - 1.2) * 15)))


def saxs(rng):
    return 20000 / (1 + (RADIUS / 12) ** 4) + 2


def beamstop(rng):
    """A sharp shadow in strong light, with its arm."""
    shadow = (RADIUS < 25) | ((np.abs(FAST - 390) < 5) & (SLOW > 380))
    return np.where(shadow, 1.0, 200 * np.exp(-RADIUS / 150) + 1)


def textured(rng):
    arcs = np.cos(2 * np.arctan2(SLOW - 380, FAST - 390)) ** 8
    return 3 + 60 * arcs * np.exp(-(((RADIUS - 200) / 8) ** 2))


def jungfrau_lines(rng):
    """Gain-switch lines and negative tails."""
    counts = rng.normal(0, 2, SHAPE)
    counts[:, ::128] += 6
    counts[200:210, 100:400] -= 40
    counts.reshape(-1)[rng.choice(counts.size, 2000)] -= rng.exponential(30, 2000)
    return counts


FRAMES = {
    "pairs of hot pixels, sparse": lambda rng: hot_pairs(rng, flat(rng, 0.05, SHAPE)),
    "pairs of hot pixels, dark": lambda rng: hot_pairs(rng, dark(rng)),
    "hot pixels of a CCD": lambda rng: with_hot_pixels(
        rng, ccd(rng, np.full(SHAPE, 10.0)).astype(np.int32), 300
    ),
    "tiles of 3 counts": lambda rng: dark(rng, 1.0) + tiles(rng, 128, 3),
    "tiles of 20 counts": lambda rng: dark(rng, 2.0) + tiles(rng, 64, 20),
    "tiles aside of blocks": lambda rng: dark(rng, 1.5) + tiles(rng, 101, 10),
    "row noise": lambda rng: dark(rng, 2.0) + rng.normal(0, 4, (768, 1)),
    "column noise": lambda rng: dark(rng, 2.0) + rng.normal(0, 4, (1, 768)),
    "common mode of half rows": lambda rng: (
        dark(rng, 2.0) + np.repeat(rng.normal(0, 3, (768, 2)), 384, axis=1)
    ),
    "structured pedestal": lambda rng: dark(rng, 2.0) + 8 * np.sin(SLOW / 6) * np.cos(FAST / 9),
    "pixels' own pedestals": lambda rng: dark(rng, 2.0) + rng.normal(0, 6, SHAPE),
    "pixels' own noise": lambda rng: 100 + rng.normal(0, 1, SHAPE) * rng.lognormal(1, 0.6, SHAPE),
    "edge rows": lambda rng: np.where(
        (SLOW < 2) | (FAST % 256 < 1), dark(rng) + 60, dark(rng)
    ),
    "two bad columns": lambda rng: dark(rng) + 30 * np.isin(FAST, (200, 431)),
    "diamond anvil": lambda rng: rng.poisson(anvil(rng)),
    "small angles": lambda rng: rng.poisson(saxs(rng)),
    "beamstop": lambda rng: rng.poisson(beamstop(rng)),
    "textured light": lambda rng: rng.poisson(textured(rng)),
    "circular area": lambda rng: np.where(ROUND, rng.poisson(30 + 0 * RADIUS), 0),
    "circular area of a CCD": lambda rng: ccd(rng, np.where(ROUND, 30.0, 0.0)),
    "lines and negative tails": jungfrau_lines,
    "sparse, divided": lambda rng: (flat(rng, 0.1, SHAPE) * 0.7317).astype(np.float32),
    "sparse, divided by a flat field": lambda rng: (
        flat(rng, 0.1, SHAPE) * rng.normal(1, 0.03, SHAPE)
    ).astype(np.float32),
    "divided by a flat field": lambda rng: (
        flat(rng, 3.0, SHAPE) * rng.normal(1, 0.05, SHAPE)
    ).astype(np.float32),
    "photons over small noise": lambda rng: (
        12.4 * flat(rng, 0.1, SHAPE) + rng.normal(0, 0.9, SHAPE)
    ).astype(np.float32),
    "shared photons over small noise": lambda rng: (
        shared(rng, 12.4, 0.1) + rng.normal(0, 0.9, SHAPE)
    ).astype(np.float32),
    "wide pixels between chips": lambda rng: rng.poisson(
        np.where(np.isin(SLOW % 256, (0, 255)) | np.isin(FAST % 256, (0, 255)), 3.0, 1.0)
    ),
    "modules of unequal gain": lambda rng: (
        rng.poisson(20, SHAPE) * (1 + 0.1 * tiles(rng, 192, 1.0))
    ),
    "shadow of a foil": lambda rng: rng.poisson(np.where(FAST + 0.3 * SLOW < 500, 50.0, 12.0)),
    "binned by 2": lambda rng: ccd(rng, np.full((1536, 1536), 5.0)).reshape(768, 2, 768, 2).sum(
        axis=(1, 3)
    ),
}  # fmt: skip


# 9,000 pixels three times as bright as the others: a few gather by chance
MORE = {"wide pixels between chips": 8}


@pytest.mark.parametrize("name", FRAMES)
def test_nuisances_are_no_peaks(name):
    for seed in range(2):
        counts = FRAMES[name](np.random.default_rng(seed))
        if counts.dtype == np.float64:
            counts = np.rint(counts).astype(np.int32)
        peaks = find_evidence(made(counts)).peaks
        most = MORE.get(name, 3)
        assert len(peaks) <= most, (
            len(peaks),
            peaks.z[:5].round(1),
            peaks.slow[:5],
            peaks.fast[:5],
        )


@pytest.mark.parametrize("fill", [0, -1, 7, 1000, 65535])
@pytest.mark.parametrize("light", [2.0, 50.0])
def test_gaps_of_any_value_without_a_mask_are_no_peaks(fill, light):
    """Modules, one of them missing, and a frame around, of a value that no mask names."""
    rng = np.random.default_rng(3)
    counts = flat(rng, light, SHAPE)
    gap = (SLOW % 195 < 17) | (FAST % 384 < 7) | ((SLOW > 390) & (SLOW < 585) & (FAST > 384))
    counts[gap] = fill
    valid = ~gaps(counts, np.ones(SHAPE, np.bool_), None, None)
    # zeros of a photon counter stay valid, and lower the level of what is beside them
    assert len(find_evidence(made(counts, valid)).peaks) <= (4 if fill == 0 else 1)
    # even where the gaps stay: edges are crests, not peaks
    assert len(find_evidence(made(counts)).peaks) <= 8


@pytest.mark.parametrize("gain", [None, 12.4])
@pytest.mark.parametrize("light", [0.01, 0.1, 0.4])
@pytest.mark.parametrize("scale", [1, 80])
def test_spots_are_found_where_single_photons_stand_out_of_the_noise(gain, light, scale):
    """As floats in keV, and as whole counts over a pedestal."""
    rng = np.random.default_rng(6)
    places = scattered(rng, 40, SHAPE)
    photons = flat(rng, light + spots(places, 60, 0.8, SHAPE), SHAPE)
    counts = scale * (12.4 * photons + rng.normal(0, 0.9, SHAPE))
    if scale > 1:
        counts = np.rint(counts + 2000).astype(np.int32)
    evidence = find_evidence(made(counts, gain=None if gain is None else scale * gain))
    assert len(evidence.peaks) == pytest.approx(40, abs=1)
    assert evidence.photon == pytest.approx(12.4 * scale, rel=0.1)
    assert np.median(evidence.peaks.photons) == pytest.approx(58, rel=0.15)


def test_numbers_are_finite_for_every_nuisance():
    for name, frame in FRAMES.items():
        found = numbers(find_evidence(made(np.asarray(frame(np.random.default_rng(5))))))
        assert all(np.isfinite(value) for value in found.values()), name
