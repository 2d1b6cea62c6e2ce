"""The effect of each detector stage on the statistics of photons."""

import numpy as np
import pytest
from scipy.signal import fftconvolve

from deepfreak.encoding import to_8_bits
from deepfreak.physics.detector import (
    CCD,
    Bar,
    Detector,
    Modules,
    PhotonCounting,
    missing_pixels,
)
from deepfreak.physics.noise import (
    calibration_map,
    count_with_dead_time,
    detect,
    point_spread,
    point_spread_kernel,
)

SIZE = (256, 256)


def detector(response: PhotonCounting | None = None, **ccd: float) -> Detector:
    """Return a small panel that counts photons, or a CCD with the given imperfections."""
    return Detector(
        image_size=SIZE, pixel_size_mm=0.172, distance_mm=80, response=response or CCD(**ccd)
    )


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


@pytest.mark.parametrize("size", [(512, 512), (301, 457), (600, 90)])
@pytest.mark.parametrize("fwhm_mm", [0.046, 0.1, 0.13, 0.5])
def test_far_tails_on_the_coarse_grid_equal_plain_convolution(
    size: tuple[int, int], fwhm_mm: float
) -> None:
    # a ring as bright as water's, and spots on it, one of them in a corner
    slow, fast = np.indices(size)
    ring = 500 + 1500 * np.exp(-((np.hypot(slow - 200, fast - 50) - 150) ** 2) / 2000)
    ring[[0, 40, 200], [0, 60, 30]] += 1e5
    photons = np.random.default_rng(6).poisson(ring).astype(np.float32)
    kernel = point_spread_kernel((size[0] - 1, size[1] - 1), fwhm_mm=fwhm_mm, pixel_size_mm=0.172)
    plain = fftconvolve(photons.astype(float), kernel.astype(float))
    plain = plain[size[0] - 1 : 2 * size[0] - 1, size[1] - 1 : 2 * size[1] - 1]
    ours = point_spread(photons, fwhm_mm=fwhm_mm, pixel_size_mm=0.172)
    np.testing.assert_allclose(ours, plain, rtol=1e-4)


def test_far_from_the_light_what_spreads_is_right_too() -> None:
    photons = np.zeros((500, 500), dtype=np.float32)
    photons[230:270, 230:270] = 1e5
    spread = point_spread(photons, fwhm_mm=0.046, pixel_size_mm=0.172)
    g = 0.652383 * 0.046 / 0.172
    total = photons.sum(dtype=float)
    for distance in (70, 90, 110, 130, 180, 240):
        wanted = total * g / (2 * np.pi * distance**3)
        # the square's light comes from 20 pixels nearer and further
        nearer = 1 + 5 * 20**2 / distance**2 / 2
        assert spread[250, 250 + distance] == pytest.approx(wanted * nearer, rel=0.1)
    far = fftconvolve(
        photons.astype(float),
        point_spread_kernel((499, 499), fwhm_mm=0.046, pixel_size_mm=0.172).astype(float),
    )[499:999, 499:999]
    np.testing.assert_allclose(spread[:, 320:], far[:, 320:], rtol=0.02, atol=0.01)


def test_light_does_not_spread_from_module_to_module() -> None:
    device = Detector(
        image_size=(64, 130),
        pixel_size_mm=0.172,
        distance_mm=80,
        modules=Modules(columns=2, module_size=(64, 64), gap=(0, 2)),
        response=CCD(psf_fwhm_mm=0.5),
    )
    photons = np.zeros((64, 130), dtype=np.float32)
    photons[:, 62:68] = 1e4
    photons[:, 66:] = 0
    counts = detect(photons, device, np.random.default_rng(0))
    assert counts[:, 40:64].min() > 0
    assert not counts[:, 64:].any()


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


def test_counting_photons_adds_no_noise_of_its_own() -> None:
    device = detector(response=PhotonCounting(kind="photon-counting"))
    counts = detect(expected(7), device, np.random.default_rng(0)).astype(float)
    assert counts.mean() == pytest.approx(7, rel=5e-3)
    assert counts.var() == pytest.approx(7, rel=0.02)
    assert not detect(expected(0), device, np.random.default_rng(0)).any()


@pytest.mark.parametrize("paralyzable", [False, True])
@pytest.mark.parametrize(("mean", "dead"), [(1000, 1e-4), (3000, 2e-5), (800, 5e-4)])
def test_dead_time_takes_counts_and_spread_as_counter_statistics_say(
    mean: float, dead: float, paralyzable: bool
) -> None:
    counts = count_with_dead_time(
        expected(mean), np.random.default_rng(1), dead_share=dead, paralyzable=paralyzable
    ).astype(float)
    load = mean * dead
    if paralyzable:
        wanted = mean * np.exp(-load)
        variance = wanted * (1 - 2 * load * np.exp(-load))
    else:
        wanted = mean / (1 + load)
        variance = mean / (1 + load) ** 3
    # the formulas are those of a long exposure: half a photon is their uncertainty
    assert counts.mean() == pytest.approx(wanted, abs=0.5)
    assert counts.var() == pytest.approx(variance, rel=0.03)


def test_without_dead_time_all_photons_are_counted() -> None:
    for paralyzable in (False, True):
        counts = count_with_dead_time(
            expected(150), np.random.default_rng(2), dead_share=0.0, paralyzable=paralyzable
        ).astype(float)
        assert counts.mean() == pytest.approx(150, rel=1e-3)
        assert counts.var() == pytest.approx(150, rel=0.03)


@pytest.mark.parametrize("paralyzable", [False, True])
def test_jumping_over_many_photons_equals_following_each(paralyzable: bool) -> None:
    mean, dead = 130.0, 3e-3
    rng = np.random.default_rng(3)
    counts = np.empty(4000)
    for i in range(len(counts)):
        arrivals = np.sort(rng.uniform(0, 1, rng.poisson(mean)))
        awake, counts[i] = 0.0, 0
        for arrival in arrivals:
            if arrival >= awake:
                counts[i] += 1
            if arrival >= awake or paralyzable:
                awake = arrival + dead
    ours = count_with_dead_time(expected(mean), rng, dead_share=dead, paralyzable=paralyzable)
    error = counts.std() / np.sqrt(len(counts))
    assert ours.mean() == pytest.approx(counts.mean(), abs=4 * error)
    assert ours.var() == pytest.approx(counts.var(), rel=4 * np.sqrt(2 / len(counts)))


def test_a_paralyzed_counter_counts_less_when_it_gets_more() -> None:
    device = PhotonCounting(
        kind="photon-counting", dead_time_ns=5000, count_time_s=1e-3, paralyzable=True
    )
    faint, bright = (
        detect(expected(photons), detector(response=device), np.random.default_rng(0)).mean()
        for photons in (200, 800)
    )
    assert bright < faint / 4


def test_a_bar_over_the_beam_shows_as_a_stripe_of_the_pedestal() -> None:
    response = CCD(calibration_rms=0.04, psf_fwhm_mm=0.046, adc_offset_adu=10)
    device = Detector(
        image_size=SIZE,
        pixel_size_mm=0.172,
        distance_mm=80,
        response=response,
        obstacles=(Bar(width_mm=3.44),),
    )
    counts = detect(expected(900), device, np.random.default_rng(0)).astype(float)
    # 20 rows, and within them only what spreads from their neighbours
    assert counts[120:136].max() < 60
    assert counts[:110].mean() == pytest.approx(910, rel=0.02)
    assert not missing_pixels(device).any()


def test_a_count_is_cut_off_at_its_largest_value() -> None:
    device = PhotonCounting(kind="photon-counting", saturation_value=1000)
    counts = detect(expected(1e5), detector(response=device), np.random.default_rng(0))
    assert (counts == 1000).all()


def test_the_same_generator_gives_the_same_counts() -> None:
    device = detector(
        response=PhotonCounting(kind="photon-counting", dead_time_ns=100, count_time_s=1e-3)
    )
    first, again, other = (
        detect(expected(300), device, np.random.default_rng(seed)) for seed in (8, 8, 9)
    )
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()
