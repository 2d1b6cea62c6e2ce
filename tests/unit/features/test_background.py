from dataclasses import replace

import numpy as np
import pytest

from deepfreak.encoding import (
    to_8_bits,
)
from deepfreak.errors import FrameError
from deepfreak.features.background import subtract_background
from deepfreak.physics.exposure import background_photons
from deepfreak.physics.noise import (
    detect,
)
from deepfreak.physics.recipe import load_recipe

SLOW, FAST = np.mgrid[0.5:300, 0.5:340]
SMOOTH = 100 + 0.8 * SLOW + 400 * np.exp(-((SLOW - 120) ** 2 + (FAST - 200) ** 2) / 2e4)


def measured(expected, *, seed=0, readout=3.0):
    """Return the 8-bit image of expected photons with counting and read-out noise."""
    rng = np.random.default_rng(seed)
    counts = rng.poisson(expected) + rng.normal(10, readout, expected.shape)
    return np.sqrt(np.clip(np.floor(counts), 0, 65025)).astype(np.uint8)


def test_the_background_of_water_and_air_is_found():
    experiment = load_recipe("diffranet")
    shot = replace(experiment.draw(seed=3, index=1), photons=1e12, crystal_volume_mm3=0.0)
    expected = background_photons(shot)
    image = to_8_bits(detect(expected, experiment.detector, np.random.default_rng(1)))
    found = subtract_background(image).background
    error = found / expected - 1
    assert abs(error.mean()) < 0.01
    assert error.std() < 0.025


@pytest.mark.parametrize("photons", [0.0, 5.0, 40.0, 1000.0])
def test_level_and_noise_of_flat_light_are_found(photons):
    flat = np.full((320, 320), photons)
    residual = subtract_background(measured(flat))
    # a gray level is 3 photons wide without light
    assert residual.background.mean() == pytest.approx(photons, abs=0.5, rel=0.01)
    true = np.sqrt(photons + 9)
    assert true < residual.noise.mean() < 1.8 * true


def test_spots_hardly_lift_the_background():
    rng = np.random.default_rng(4)
    spotted = SMOOTH.copy()
    at = rng.integers(0, 300, (2, 1500))
    spotted[tuple(at)] += rng.exponential(4000, 1500)
    without, with_spots = (subtract_background(measured(x)).background for x in (SMOOTH, spotted))
    assert (spotted - SMOOTH).mean() > 0.1 * SMOOTH.mean()
    assert np.abs(with_spots / without - 1).mean() < 0.03


def test_excess_and_background_make_up_the_image():
    image = measured(SMOOTH)
    residual = subtract_background(image)
    level = image.astype(float)
    np.testing.assert_allclose(
        residual.excess + residual.background, level**2 + level + 1 / 3 - 10, atol=0.01
    )


def test_missing_pixels_have_no_excess_and_no_influence():
    image = measured(SMOOTH)
    valid = np.ones(image.shape, np.bool_)
    valid[:, 100:130] = valid[200:280, 40:200] = False
    images = [np.where(valid, image, fill).astype(np.uint8) for fill in (0, 255)]
    dark, bright = (subtract_background(each, valid) for each in images)
    assert np.isnan(dark.excess[~valid]).all()
    assert np.isfinite(dark.excess[valid]).all()
    for name in ("excess", "background", "noise"):
        np.testing.assert_array_equal(getattr(dark, name), getattr(bright, name))
    whole = subtract_background(image)
    assert np.abs(dark.background / whole.background - 1).max() < 0.2


def test_a_gap_is_filled_from_its_sides():
    flat = measured(np.full((320, 320), 400.0))
    valid = np.ones(flat.shape, np.bool_)
    valid[96:256, 96:256] = False
    residual = subtract_background(flat, valid)
    assert np.abs(residual.background - 400).max() < 20
    assert (residual.noise > 0).all()


@pytest.mark.parametrize("shape", [(1, 1), (7, 5), (33, 500), (512, 31), (100, 70)])
def test_any_size_will_do(shape):
    residual = subtract_background(measured(np.full(shape, 200.0)))
    assert residual.excess.shape == shape
    assert np.isfinite(residual.excess).all()
    assert (residual.noise > 0).all()


@pytest.mark.parametrize("level", [0, 3, 255])
def test_a_constant_image_is_all_background(level):
    residual = subtract_background(np.full((64, 96), level, np.uint8))
    assert np.abs(residual.excess).max() < 0.01
    assert (residual.noise > 0).all()


def test_few_scattered_pixels_still_have_a_background():
    image = measured(np.full((128, 128), 300.0))
    valid = np.zeros(image.shape, np.bool_)
    valid[::16, ::16] = True
    residual = subtract_background(image, valid)
    assert np.abs(residual.background - 300).max() < 20


def test_an_image_without_valid_pixels_is_refused():
    with pytest.raises(FrameError, match="valid pixel"):
        subtract_background(np.zeros((64, 64), np.uint8), np.zeros((64, 64), np.bool_))


def test_arrays_of_another_kind_are_refused():
    with pytest.raises(FrameError, match="uint8"):
        subtract_background(np.zeros((64, 64), np.float32))


def test_noise_of_a_background_clipped_at_nothing_comes_from_above():
    rng = np.random.default_rng(5)
    # a pedestal far below 0, as where a detector subtracts a dark image that was brighter
    photons = rng.normal(-22, 12, (256, 256))
    image = np.sqrt(np.clip(photons + 10, 0, 65025)).astype(np.uint8)
    assert np.median(image) == 0
    residual = subtract_background(image)
    assert np.count_nonzero(residual.excess > 5 * residual.noise) < 10
