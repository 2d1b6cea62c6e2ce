"""Lattices against chance."""

import numpy as np
import pytest

from deepfreak.evidence import find_evidence
from deepfreak.evidence.lattice import differences, find_lattices
from tests.unit.evidence.made import flat, made, on_circles, on_lattice, scattered, spots

SHAPE = (1024, 1024)


def turned(degrees, a, b):
    turn = np.deg2rad(degrees)
    return (a * np.cos(turn), a * np.sin(turn)), (-b * np.sin(turn), b * np.cos(turn))


def lattices(seed, number, a, share):
    rng = np.random.default_rng(seed)
    parts = [on_lattice(rng, *turned(20 + 31 * i, a, 1.3 * a), share, SHAPE) for i in range(number)]
    places = np.concatenate(parts)
    return places[rng.permutation(len(places))]


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(("a", "share"), [(18.7, 0.25), (31.3, 0.3)])
def test_one_lattice_is_one(seed, a, share):
    found = find_lattices(lattices(seed, 1, a, share))
    assert found.score > 50
    assert found.number == 1


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("number", [2, 3])
def test_several_lattices_are_several_and_counted_to_within_one(seed, number):
    found = find_lattices(lattices(seed, number, 18.7, 0.5 / number))
    assert found.score > 20
    assert found.number >= 2
    assert abs(found.number - number) <= 1


@pytest.mark.parametrize("number", [0, 5, 30, 100, 300, 1000])
def test_places_at_random_are_no_lattice(number):
    places = scattered(np.random.default_rng(number), number, SHAPE, apart=8)
    found = find_lattices(places)
    assert abs(found.score) < 4
    assert found.number is None


def test_powders_and_clusters_are_no_lattice():
    rng = np.random.default_rng(1)
    powder = on_circles(rng, (512.0, 512.0), (200, 300, 410), 200, SHAPE)
    assert find_lattices(powder).score < 5
    cluster = np.concatenate([rng.normal(place, 15, (8, 2)) for place in scattered(rng, 20, SHAPE)])
    assert find_lattices(cluster).score < 5


def test_places_off_by_a_pixel_are_still_a_lattice():
    places = lattices(4, 1, 31.3, 0.4)
    places += np.random.default_rng(2).normal(0, 0.7, places.shape)
    assert find_lattices(places).score > 10


def test_differences_equal_the_histogram_of_all_pairs():
    places = np.random.default_rng(3).uniform(0, 200, (60, 2))
    a, b = np.triu_indices(60, 1)
    pairs = places[b] - places[a]
    pairs[pairs[:, 0] < 0] *= -1
    length = np.hypot(*pairs.T)
    pairs = pairs[(length >= 5) & (length < 60)]
    edges = np.arange(0, 63, 1.5), np.arange(-60, 63, 1.5)
    plain = np.histogram2d(*pairs.T, bins=edges)[0]
    counts = differences(places, 60.0, 5.0, 1.5)
    assert np.array_equal(counts[:41, :81], plain[:41, :81])
    assert counts.sum() == len(pairs)


def test_a_crystals_pixels_show_its_lattice_and_resolution():
    rng = np.random.default_rng(5)
    places = lattices(5, 1, 31.3, 0.3)
    radius = np.hypot(*(places - 512).T)
    places = places[(radius < 400) & (radius > 30)]
    counts = flat(rng, 1 + spots(places, 300, 0.8, SHAPE), SHAPE)
    facts = {"wavelength_A": 1.0, "distance_mm": 100.0, "pixel_size_mm": 0.1}
    evidence = find_evidence(made(counts, gain=1.0, beam_center_px=(512.0, 512.0), **facts))
    assert evidence.lattices.number == 1
    # lambda / (2 sin(theta)) 95 % of the way out
    reach = np.sort(np.hypot(*(places - 512).T))[int(0.95 * len(places))]
    expected = 1 / (2 * np.sin(np.arctan(reach * 0.1 / 100) / 2))
    assert evidence.d_min_A == pytest.approx(expected, rel=0.03)
    for missing in facts:
        some = {name: value for name, value in facts.items() if name != missing}
        frame = made(counts, gain=1.0, beam_center_px=(512.0, 512.0), **some)
        assert find_evidence(frame).d_min_A is None
    assert find_evidence(made(counts, gain=1.0, **facts)).d_min_A is None


def test_no_centre_of_rings_is_sought_where_there_is_a_lattice():
    rng = np.random.default_rng(6)
    # zones of a crystal: parts of circles about a place that is not the beam
    places = lattices(6, 1, 18.7, 0.6)
    radius = np.hypot(*(places - np.array((300.0, 600.0))).T)
    places = places[np.abs(radius / 90 - np.rint(radius / 90)) < 0.1]
    counts = flat(rng, 1 + spots(places, 300, 0.8, SHAPE), SHAPE)
    evidence = find_evidence(made(counts, gain=1.0))
    assert len(evidence.peaks) > 100
    assert evidence.lattices.score > 20
    assert (evidence.rings.origin, evidence.rings.share) == ("unknown", 0.0)
    given = find_evidence(made(counts, gain=1.0, beam_center_px=(512.0, 512.0)))
    assert given.rings.center_px == (512.0, 512.0)
    assert given.rings.share < 0.2
