"""How peaks are arranged: each number by a frame made for it."""

import numpy as np
import pytest

from deepfreak.evidence import find_evidence, numbers
from tests.unit.evidence.made import ccd, flat, made, on_lattice, scattered, spots

SHAPE = (768, 768)
CENTER = (384.0, 384.0)
SLOW, FAST = np.indices(SHAPE)
RADIUS = np.hypot(SLOW - 384, FAST - 384)
NAMES = ("edge_share", "fullest_line", "spacing", "brightness", "radius", "falloff")


def of(places, strength=300.0, light=1.0, valid=None, **facts):
    rng = np.random.default_rng(0)
    counts = flat(rng, light + spots(places, strength, 0.8, SHAPE), SHAPE)
    return numbers(find_evidence(made(counts, valid, gain=1.0, beam_center_px=CENTER, **facts)))


def at_random(number, apart=0.0):
    return scattered(np.random.default_rng(1), number, SHAPE, apart=apart)


def test_places_at_random_have_no_arrangement():
    found = of(at_random(150), np.random.default_rng(2).lognormal(6, 1, 150))
    for name in NAMES:
        # a spot brightens its own block
        assert found[name] == pytest.approx(0, abs=0.35 if name == "brightness" else 0.2), name


def test_no_and_two_peaks_have_none():
    for places in (np.zeros((0, 2)), at_random(2)):
        assert [of(places)[name] for name in NAMES] == [0.0] * len(NAMES)


def test_peaks_beside_gaps_are_told():
    valid = SLOW % 96 < 90
    places = np.floor(at_random(80))
    beside = places.copy()
    beside[:, 0] = (places[:, 0] // 96) * 96 + 86.5
    assert of(beside, valid=valid)["edge_share"] > 0.7
    beside[:, 0] -= 40
    assert of(beside, valid=valid)["edge_share"] < 0.1


def test_peaks_on_one_row_are_told():
    places = at_random(60)
    places[:30, 0] = 301.5
    assert of(places)["fullest_line"] > 0.3


def test_clusters_and_lattices_are_told_from_chance():
    rng = np.random.default_rng(3)
    middles = at_random(12, apart=60)
    clusters = (middles[:, None] + rng.uniform(-25, 25, (12, 8, 2))).reshape(-1, 2)
    lattice = on_lattice(rng, (40.0, 10.0), (-10.0, 40.0), 1.0, SHAPE)
    assert of(clusters)["spacing"] < -0.3
    assert of(lattice)["spacing"] > 0.3


def test_strength_and_places_that_fall_off_with_the_radius_are_told():
    places = at_random(300)
    radii = np.hypot(*(places - CENTER).T)
    assert of(places, 3000 * np.exp(-radii / 120) + 80)["falloff"] < -0.6
    assert of(places[radii < 150])["radius"] < -0.5
    assert of(places[radii > 350])["radius"] > 0.5


def test_peaks_in_bright_light_are_told():
    bright = np.where(FAST < 150, 20.0, 1.0)
    places = at_random(200)
    assert of(places[places[:, 1] < 140], 600, bright)["brightness"] > 0.5


def test_zingers_are_as_sharp_as_the_point_spread_allows_and_spots_are_wider():
    """Where light makes the noise: read noise would hide the spread."""
    found = []
    for sigma in (0.05, 0.7, 1.2):
        rng = np.random.default_rng(4)
        # a zinger falls on the middle of a pixel
        places = np.floor(scattered(rng, 40, SHAPE)) + (0.5 if sigma < 0.1 else 0.0)
        light = 30 + spots(places, 1000, sigma, SHAPE)
        frame = made(ccd(rng, light, sigma=0.8, read=1.0))
        found.append(numbers(find_evidence(frame))["width_over_spread"])
    assert found[0] == pytest.approx(0, abs=0.1)
    assert found[1] > 0.25
    assert found[2] > found[1] + 0.1


def test_elongated_spots_are_told():
    places = at_random(40, apart=20)
    drawn = np.concatenate([places + np.array((d, 0)) for d in (-1.5, -0.5, 0.5, 1.5)])
    assert of(drawn, 200)["elongation_median"] > 0.3
    assert of(places, 800)["elongation_median"] < 0.15
