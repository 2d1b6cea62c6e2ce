import numpy as np
import pytest

from deepfreak.encoding import (
    to_8_bits,
)
from deepfreak.features.background import subtract_background
from deepfreak.features.peaks import EDGE_SIGMA, MAX_PEAKS, find_peaks, find_spots
from deepfreak.physics.exposure import background_photons, bragg_photons
from deepfreak.physics.noise import (
    detect,
)
from deepfreak.physics.recipe import load_recipe
from tests.unit.features.test_background import measured

SIDE = 384
SLOW, FAST = np.mgrid[0.5:SIDE, 0.5:SIDE]
RADIUS = np.hypot(SLOW - 180, FAST - 200)
HALO = 60 + 500 * np.exp(-((RADIUS / 120) ** 2))


def with_spots(places, photons, *, width=0.8):
    """Return the halo with round spots of equal photons at places (n, 2)."""
    expected = HALO.copy()
    for slow, fast in places:
        spot = np.exp(-((SLOW - slow) ** 2 + (FAST - fast) ** 2) / (2 * width**2))
        expected += photons * spot / (2 * np.pi * width**2)
    return expected


def grid_of_places():
    rng = np.random.default_rng(7)
    slow, fast = np.mgrid[20:370:25, 20:370:25]
    return np.stack([slow.ravel(), fast.ravel()], axis=1) + rng.uniform(-4, 4, (slow.size, 2))


def test_spots_are_found_where_they_are():
    places = grid_of_places()
    peaks = find_peaks(measured(with_spots(places, 1500)))
    found = np.stack([peaks.slow, peaks.fast], axis=1)
    distance = np.linalg.norm(places[:, None] - found[None], axis=2)
    assert len(peaks) == len(places)
    assert (distance.min(axis=1) < 0.5).all()
    assert np.median(distance.min(axis=1)) < 0.15


def test_photons_and_sizes_are_those_of_the_spots():
    peaks = find_peaks(measured(with_spots(grid_of_places(), 5000)))
    # pixels below `EDGE_SIGMA`, 6 % of such a spot, are left out
    assert np.median(peaks.photons) == pytest.approx(4700, rel=0.04)
    # of a round spot of this width, half maximum is at 1.18 widths
    assert np.median(peaks.size_px) == pytest.approx(np.pi * (1.18 * 0.8) ** 2, abs=1.5)


def test_peaks_come_in_the_order_of_their_height():
    peaks = find_peaks(measured(with_spots(grid_of_places(), 800)))
    assert (np.diff(peaks.height_sigma) <= 0).all()
    assert peaks.height_sigma[-1] >= 5


def test_a_higher_threshold_keeps_the_highest():
    image = measured(with_spots(grid_of_places(), 800))
    every = find_peaks(image)
    some = find_peaks(image, least_sigma=12)
    assert 0 < len(some) < len(every)
    np.testing.assert_array_equal(some.photons, every.photons[: len(some)])
    assert some.height_sigma.min() >= 12


@pytest.mark.parametrize("photons", [0.0, 1.0, 30.0, 1000.0])
def test_noise_alone_makes_no_peaks(photons):
    found = [
        len(find_peaks(measured(np.full((SIDE, SIDE), photons), seed=seed))) for seed in range(6)
    ]
    # one in a million pixels would be allowed
    assert sum(found) <= 1


def test_the_halo_is_no_peak():
    assert len(find_peaks(measured(HALO))) == 0


@pytest.mark.parametrize("width", [0.7, 1.5, 4.0])
def test_smooth_rings_are_no_peaks(width):
    rings = sum(np.exp(-((RADIUS - r) ** 2) / (2 * width**2)) for r in (60, 95, 140, 165))
    image = measured(HALO + 3000 * rings)
    bright = np.count_nonzero((subtract_background(image).excess > 500) & (RADIUS > 20))
    assert bright > 1500
    assert len(find_peaks(image)) < bright / 200


def test_streaks_are_no_peaks():
    streak = 2000 * np.exp(-((SLOW - 200 - 0.3 * FAST) ** 2) / 4) * (FAST > 100)
    assert len(find_peaks(measured(HALO + streak))) <= 3


def test_the_edge_of_a_shadow_is_no_peak():
    shadow = np.where(FAST + 0.2 * SLOW > 230, HALO, 0.1 * HALO)
    assert len(find_peaks(measured(shadow))) <= 3


def test_hot_pixels_and_bright_patches_are_no_peaks():
    image = measured(HALO)
    image[50, 60] = image[200, 300] = image[0, 5] = 255
    image[100:112, 300:312] = 150
    assert len(find_peaks(image)) == 0


def test_a_masked_pixel_is_no_peak_and_no_shape():
    places = grid_of_places()
    image = measured(with_spots(places, 1500))
    valid = np.ones(image.shape, np.bool_)
    valid[100:200] = False
    peaks = find_peaks(image, valid)
    outside = (places[:, 0] < 98) | (places[:, 0] > 202)
    inside = (places[:, 0] > 102) & (places[:, 0] < 198)
    assert outside.sum() <= len(peaks) <= (~inside).sum()
    assert not ((peaks.slow > 100.5) & (peaks.slow < 199.5)).any()


def test_equal_pixels_make_one_peak():
    image = np.full((96, 96), 12, np.uint8)
    image[40:42, 50:53] = 40
    peaks = find_peaks(image)
    assert len(peaks) == 1
    assert (peaks.slow[0], peaks.fast[0]) == pytest.approx((41.0, 51.5))
    assert peaks.size_px[0] == 6


def test_pixels_climb_to_the_nearest_summit():
    """The compiled loop against going up pixel by pixel."""
    rng = np.random.default_rng(11)
    image = measured(HALO + 400 * (rng.random((SIDE, SIDE)) < 0.02))
    residual = subtract_background(image)
    height = np.where(residual.excess > EDGE_SIGMA * residual.noise, residual.excess, -np.inf)
    total = {}
    for i, j in np.argwhere(np.isfinite(height)):
        at = (i, j)
        while True:
            around = [
                (s, f)
                for s in range(max(at[0] - 1, 0), min(at[0] + 2, SIDE))
                for f in range(max(at[1] - 1, 0), min(at[1] + 2, SIDE))
            ]
            # the first of equals, in the order of memory
            up = max(around, key=lambda place: (height[place], -place[0], -place[1]))
            if up == at:
                break
            at = up
        total[at] = total.get(at, 0.0) + float(residual.excess[i, j])
    spots = find_spots(residual)
    assert len(spots.summits) > 0.95 * len(total)
    sums = np.array(list(total.values()))
    found = spots.summits["photons"]
    difference = np.abs(sums[None] - found[:, None]).min(axis=1)
    assert (difference < 1e-5 * found).all()
    assert spots.pixels[:, 1].sum() == pytest.approx(found.sum())


def test_the_number_of_peaks_is_bounded():
    image = np.full((512, 512), 12, np.uint8)
    image[::4, ::4] = 30
    peaks = find_peaks(image)
    assert 0 <= len(peaks) <= MAX_PEAKS


def test_a_crystals_light_is_in_its_peaks():
    experiment = load_recipe("diffranet")
    index = next(i for i in range(50) if experiment.draw(seed=5, index=i).class_name == "good")
    shot = experiment.draw(seed=5, index=index)
    spots, background = bragg_photons(shot), background_photons(shot)
    image = to_8_bits(detect(spots + background, experiment.detector, np.random.default_rng(2)))
    peaks = find_peaks(image)
    assert len(peaks) > 100
    # on the brightest pixels there are
    rows, columns = peaks.slow[:50].astype(int), peaks.fast[:50].astype(int)
    assert (spots[rows, columns] > np.quantile(spots, 0.99)).all()
    assert 0.4 < peaks.photons.sum() / spots.sum() < 1


def test_a_longer_memory_layout_changes_nothing():
    image = measured(with_spots(grid_of_places()[:20], 2000))
    first, second = find_peaks(image), find_peaks(np.asfortranarray(image))
    np.testing.assert_array_equal(first.photons, second.photons)
