"""Rings about centres on and off the frame, given and searched for; and non-rings."""

import numpy as np
import pytest

from deepfreak.evidence import find_evidence, numbers
from deepfreak.evidence.rings import find_rings, gathered, gathering, over_full
from tests.unit.evidence.made import flat, made, on_circles, on_lattice, scattered, spots

SHAPE = (1024, 1024)
NO_CRESTS = np.zeros((0, 2))
WHOLE = np.ones((64, 64))
ON = ((512.0, 512.0), (210, 260, 340, 420, 480))
ASIDE = ((300.0, 800.0), (210, 260, 340, 420, 480, 560))
OFF = ((-200.0, 500.0), (320, 420, 500, 640, 780, 900))
FAR_OFF = ((-300.0, -300.0), (640, 780, 860, 1010, 1170))


def rings_of(places, given=None, crests=NO_CRESTS, valid=WHOLE):
    return find_rings(places, crests, SHAPE, valid, given)


@pytest.mark.parametrize(("center", "radii"), [ON, ASIDE, OFF, FAR_OFF])
@pytest.mark.parametrize("number", [30, 100, 300])
def test_grains_lie_on_rings_about_the_given_centre(center, radii, number):
    places = on_circles(np.random.default_rng(number), center, radii, number, SHAPE)
    rings = rings_of(places, center)
    assert rings.origin == "given"
    assert rings.share > 0.75
    assert rings.on_ring.mean() > 0.75
    for radius in rings.radii_px:
        assert np.abs(np.array(radii) - radius).min() <= 4


@pytest.mark.parametrize(("center", "radii"), [ON, ASIDE, OFF, FAR_OFF])
@pytest.mark.parametrize("number", [100, 300])
def test_a_centre_that_nobody_gives_is_found(center, radii, number):
    places = on_circles(np.random.default_rng(number), center, radii, number, SHAPE)
    rings = rings_of(places)
    assert rings.origin == "found"
    assert rings.share > 0.8
    # far off the frame rings are nearly straight: the centre slides along
    assert np.hypot(*np.subtract(rings.center_px, center)) < (6 if min(center) > 0 else 40)


def test_a_header_that_is_wrong_is_mended():
    places = on_circles(np.random.default_rng(1), *ON, 150, SHAPE)
    rings = rings_of(places, (540.0, 480.0))
    assert rings.origin == "found"
    assert rings.center_px == pytest.approx((512, 512), abs=4)
    assert rings.share > 0.8


@pytest.mark.parametrize("given", [None, (512.0, 512.0), (700.0, 300.0)])
@pytest.mark.parametrize("number", [10, 50, 300])
def test_peaks_at_random_lie_on_no_ring(given, number):
    shares = [
        rings_of(scattered(np.random.default_rng(seed), number, SHAPE, apart=8), given).share
        for seed in range(4)
    ]
    assert max(shares) < 0.15


@pytest.mark.parametrize("given", [None, (512.0, 512.0)])
def test_a_lattice_lies_on_no_ring(given):
    rng = np.random.default_rng(2)
    places = on_lattice(rng, (27.0, 9.0), (-12.0, 36.0), 0.3, SHAPE)
    assert rings_of(places, given).share < 0.15


def test_grains_beside_a_crystal_are_told_from_it():
    rng = np.random.default_rng(3)
    crystal = on_lattice(rng, (41.0, 9.0), (-12.0, 46.0), 0.3, SHAPE)
    ice = on_circles(rng, (512.0, 512.0), (250, 290, 400), len(crystal), SHAPE)
    rings = rings_of(np.concatenate([crystal, ice]), (512.0, 512.0))
    assert rings.share == pytest.approx(0.5, abs=0.1)
    assert rings.on_ring[: len(crystal)].mean() < 0.15
    assert rings.on_ring[len(crystal) :].mean() > 0.95


def test_the_centre_of_smooth_rings_is_told_by_their_crests():
    rng = np.random.default_rng(4)
    places = scattered(rng, 20, SHAPE)
    crests = on_circles(rng, *ON, 200, SHAPE)
    rings = rings_of(places, None, crests)
    assert rings.origin == "found"
    assert rings.center_px == pytest.approx((512, 512), abs=5)
    assert rings.share_with_crests > 0.6
    assert rings.share < 0.3


def test_texture_tells_one_side_from_all_sides():
    rng = np.random.default_rng(5)
    center = (512.0, 512.0)
    everywhere = scattered(rng, 150, SHAPE)
    assert rings_of(everywhere, center).texture < 0.02
    turn, radius = rng.uniform(0.2, 0.7, 150), rng.uniform(60, 480, 150)
    corner = np.stack([512 + radius * np.sin(turn), 512 + radius * np.cos(turn)], axis=1)
    assert rings_of(corner, center).texture > 0.2
    # half of the detector measures nothing: no texture
    half = WHOLE.copy()
    half[:, :32] = 0
    right = everywhere[everywhere[:, 1] > 512]
    assert rings_of(right, center, valid=half).texture < 0.03
    assert rings_of(right, center).texture > 0.04


def test_few_peaks_show_no_ring():
    rings = rings_of(on_circles(np.random.default_rng(6), *ON, 8, SHAPE), ON[0])
    assert (rings.share, len(rings.radii_px)) == (0.0, 0)
    assert rings_of(np.zeros((0, 2))).on_ring.shape == (0,)


@pytest.mark.parametrize("seed", range(4))
def test_ten_grains_gather_about_their_centre_and_peaks_at_random_do_not(seed):
    rng = np.random.default_rng(seed)
    grains = on_circles(rng, *ON, 10, SHAPE)
    assert rings_of(grains, ON[0]).gathering > 5.5
    assert rings_of(grains, (700.0, 300.0)).gathering < 4
    for number in (10, 60, 300):
        assert rings_of(scattered(rng, number, SHAPE, apart=8), ON[0]).gathering < 5


def test_half_of_grains_gather_about_the_centre_that_the_others_found():
    rng = np.random.default_rng(10)
    assert rings_of(on_circles(rng, *ON, 60, SHAPE)).gathering > 30
    assert abs(rings_of(scattered(rng, 60, SHAPE)).gathering) < 3


def test_parts_of_one_spot_do_not_gather():
    rng = np.random.default_rng(11)
    places = scattered(rng, 40, SHAPE, apart=60)
    split = np.concatenate([places, places + rng.uniform(-9, 9, places.shape)])
    assert gathering(split, ON[0]) < 5


def test_gathering_equals_the_plain_count():
    rng = np.random.default_rng(12)
    places = rng.uniform(0, 400, (60, 2))
    a, b = np.triu_indices(60, 1)
    apart = np.hypot(*(places[a] - places[b]).T) >= 24
    radii = np.hypot(*(places - (190.0, 210.0)).T)
    difference = np.abs(radii[a] - radii[b])[apart]
    same, other = (difference < 4).sum(), ((difference >= 8) & (difference < 24)).sum()
    plain = (same - other / 4) / np.sqrt(other * 5 / 16 + 1)
    assert gathering(places, (190.0, 210.0)) == pytest.approx(plain)


def test_the_sum_over_bins_equals_the_plain_one():
    rng = np.random.default_rng(7)
    places, centers = rng.uniform(0, 400, (50, 2)), rng.uniform(-100, 500, (7, 2))
    width = 8.0
    plain = []
    for center in centers:
        at = np.hypot(*(places - center).T) / width
        n = np.array([np.maximum(1 - abs(at - k - 0.5), 0).sum() for k in range(-10, 120)])
        m = sum(np.roll(n, s) for s in (-5, -4, -3, -2, 2, 3, 4, 5)) / 8
        plain.append((np.maximum(n - m, 0)[10:] ** 2 / (m[10:] + 1)).sum())
    assert gathered(places, centers, width) == pytest.approx(np.array(plain), rel=0.02)


def test_a_ring_across_two_bins_is_one():
    places = on_circles(np.random.default_rng(8), (512.0, 512.0), [400.0], 60, SHAPE)
    assert over_full(places, NO_CRESTS, (512.0, 512.0)).share > 0.95


@pytest.mark.parametrize("given", [None, ON[0]])
def test_a_grainy_powder_is_seen_in_its_pixels(given):
    rng = np.random.default_rng(9)
    places = on_circles(rng, *ON, 200, SHAPE)
    counts = flat(rng, 1 + spots(places, rng.lognormal(5, 1, 200), 0.8, SHAPE), SHAPE)
    evidence = find_evidence(made(counts, gain=1.0, beam_center_px=given))
    assert evidence.rings.share > 0.85
    assert len(evidence.off_rings) < 0.1 * len(evidence.peaks)
    assert evidence.lattices.score < 4
    found = numbers(evidence)
    assert found["off_rings_over_7"] < found["peaks_over_7"] - 1
