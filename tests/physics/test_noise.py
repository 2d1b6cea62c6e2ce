"""What each stage of the detector must do to the statistics of photons."""

import numpy as np
import pytest
from scipy.signal import fftconvolve

from deepfreak.detector import CCD, Detector
from deepfreak.noise import calibration_map, detect, point_spread, point_spread_kernel, to_8_bits

SIZE = (256, 256)


def detector(**response: float) -> Detector:
    """Return a small panel with the given imperfections."""
    return Detector(image_size=SIZE, pixel_size_mm=0.172, distance_mm=80, response=CCD(**response))


def expected(photons: float) -> np.ndarray:
    """Return an even illumination."""
    return np.full(SIZE, photons, dtype=np.float32)


def test_counting_noise_has_its_mean_as_variance() -> None:
    counts = detect(expected(400), detector(), np.random.default_rng(0)).astype(float)
    assert counts.mean() == pytest.approx(400, rel=1e-3)
    assert counts.var() / counts.mean() == pytest.approx(1, abs=0.03)


def test_calibration_error_stays_with_the_pixel() -> None:
    device = detector(calibration_rms=0.04)
    shots = [
        detect(expected(1e4), device, np.random.default_rng(seed)).astype(float) for seed in (1, 2)
    ]
    assert np.corrcoef(shots[0].ravel(), shots[1].ravel())[0, 1] > 0.9
    gains = calibration_map(device.response, SIZE)
    assert gains.std() == pytest.approx(0.04, rel=0.02)
    other = calibration_map(CCD(calibration_rms=0.04, calibration_seed=9), SIZE)
    assert abs(np.corrcoef(gains.ravel(), other.ravel())[0, 1]) < 0.02


def test_point_spread_keeps_the_light_of_a_central_spot() -> None:
    photons = np.zeros(SIZE, dtype=np.float32)
    photons[128, 100] = 1e4
    spread = point_spread(photons, fwhm_mm=0.046, pixel_size_mm=0.172)
    # g / r of the light falls beyond r: 0.17 px / ~128 px
    assert spread.sum() == pytest.approx(1e4, rel=3e-3)
    assert spread[128, 100] / 1e4 == pytest.approx(0.70, abs=0.01)


def test_point_spread_equals_plain_convolution() -> None:
    photons = np.random.default_rng(3).poisson(5, (40, 50)).astype(np.float32)
    kernel = point_spread_kernel((39, 49), fwhm_mm=0.1, pixel_size_mm=0.172)
    plain = fftconvolve(photons.astype(float), kernel.astype(float))[39:79, 49:99]
    ours = point_spread(photons, fwhm_mm=0.1, pixel_size_mm=0.172)
    np.testing.assert_allclose(ours, plain, rtol=1e-4)


def test_dark_image_is_pedestal_and_read_out_noise() -> None:
    counts = detect(
        expected(0), detector(readout_noise_adu=3, adc_offset_adu=10), np.random.default_rng(4)
    ).astype(float)
    # whole counts are truncated: half a count lower than the pedestal
    assert counts.mean() == pytest.approx(9.5, abs=0.05)
    assert counts.std() == pytest.approx(3, rel=0.03)


def test_too_much_light_saturates() -> None:
    counts = detect(expected(1e6), detector(adc_offset_adu=10), np.random.default_rng(5))
    assert counts.min() == counts.max() == 65025


def test_eight_bits_are_the_floor_of_the_square_root() -> None:
    counts = np.array([0, 1, 3, 4, 99, 100, 64770, 65024, 65025, 65535], dtype=np.uint16)
    assert to_8_bits(counts).tolist() == [0, 1, 1, 2, 9, 10, 254, 254, 255, 255]
