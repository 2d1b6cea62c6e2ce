"""Counts per photon, from the noise alone."""

import numpy as np
import pytest

from deepfreak.evidence.blocks import find_steps, measure_blocks
from deepfreak.evidence.scale import find_scale
from tests.unit.evidence.made import ccd, flat, with_hot_pixels

FALLING = 40 * np.exp(-np.hypot(*(np.indices((512, 512)) - 256)) / 150)


def scale_of(counts, gain=None):
    valid = np.ones(counts.shape, np.bool_)
    steps = find_steps(counts, valid)
    return find_scale(counts, valid, steps, measure_blocks(counts, valid, steps), gain), steps


@pytest.mark.parametrize("gain", [1, 4, 25])
@pytest.mark.parametrize("pedestal", [0, 1000])
def test_the_gain_is_the_slope_of_variance_over_level(gain, pedestal):
    rng = np.random.default_rng(1)
    counts = gain * rng.poisson(FALLING) + rng.normal(pedestal, 1.5, FALLING.shape)
    scale, steps = scale_of(np.rint(counts).astype(np.int32))
    assert scale.photon * steps.step == pytest.approx(gain, rel=0.15)
    assert not scale.known
    assert scale.spread_3 == pytest.approx(1, abs=0.05)


@pytest.mark.parametrize("light", [0.001, 0.05, 0.5])
@pytest.mark.parametrize("hot", [0, 300])
def test_a_photon_is_the_step_where_light_is_sparse(light, hot):
    rng = np.random.default_rng(2)
    counts = with_hot_pixels(rng, flat(rng, light), hot) * 3 + 100
    scale, steps = scale_of(counts)
    assert scale.photon * steps.step == 3


def test_zeros_with_hot_pixels_are_sparse():
    counts = with_hot_pixels(np.random.default_rng(3), np.zeros((512, 512), np.int32), 300)
    assert scale_of(counts)[0].photon == 1


def test_point_spread_is_measured_and_gain_found_in_spite_of_it():
    counts = ccd(np.random.default_rng(4), FALLING, gain=6.0, sigma=0.8, read=1.0)
    scale, steps = scale_of(counts)
    # sums of 3 x 3 of a Gaussian of 0.8 pixels vary this much more
    kernel = np.exp(-(np.arange(-6, 7) ** 2) / (4 * 0.8**2))
    expected = [((3 - abs(np.arange(-2, 3))) / 3 * kernel[4:9]).sum() ** 2]
    expected += [((5 - abs(np.arange(-4, 5))) / 5 * kernel[2:11]).sum() ** 2]
    assert (scale.spread_3, scale.spread_5) == pytest.approx(expected, rel=0.2)
    assert scale.photon * steps.step == pytest.approx(6, rel=0.35)


def test_light_in_clumps_cut_off_at_zero_is_not_counted_photons():
    rng = np.random.default_rng(5)
    counts = np.clip(
        ccd(rng, np.full((512, 512), 0.5), gain=20.0, pedestal=100).astype(int), 109, None
    )
    counts -= 109
    assert (counts == 0).mean() > 0.35
    assert scale_of(counts.astype(np.uint16))[0].photon > 5


def test_a_headers_gain_is_taken():
    scale, steps = scale_of(2 * flat(np.random.default_rng(6), 5.0), gain=2.0)
    assert (scale.photon * steps.step, scale.known) == (2.0, True)


def test_a_dark_frames_photon_is_a_third_of_its_noise():
    counts = np.rint(np.random.default_rng(7).normal(200, 6, (512, 512))).astype(np.uint16)
    scale, steps = scale_of(counts)
    assert scale.photon * steps.step == pytest.approx(6 / 3.1, rel=0.1)
