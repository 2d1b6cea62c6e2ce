import numpy as np
import pytest

from deepfreak.datasets.real_images.crop import clear_window, find_shadow, photons_of
from deepfreak.encoding import SIZE
from deepfreak.formats import Frame
from deepfreak.physics.detector.maps import gaps, missing_pixels, transmission_map
from deepfreak.physics.exposure import background_photons
from deepfreak.physics.noise import detect
from deepfreak.physics.recipe import load_recipe
from deepfreak.preparation import middle_window


def frame(counts, valid=None, **facts):
    valid = np.ones(counts.shape, bool) if valid is None else valid
    return Frame(file="a", index=0, counts=counts, valid=valid, **facts)


@pytest.fixture(scope="module")
def serial():
    """Return the sum of ten simulated frames with a bar across, and its true shadow."""
    experiment = load_recipe("serial_synchrotron")
    shot = experiment.draw(seed=0, index=0)
    detector = experiment.detector
    background = background_photons(shot)
    rng = np.random.default_rng(0)
    counts = sum(detect(background, detector, rng).astype(np.float32) for _ in range(10))
    dark = (transmission_map(detector) < 0.5) & ~gaps(detector)
    return frame(counts, ~missing_pixels(detector)), dark


def on_window(pixels, window):
    """Return the part of `pixels` that lies in the window."""
    spans = [slice(max(start, 0), max(start + SIZE * window.factor, 0)) for start in window.origin]
    return pixels[tuple(spans)]


@pytest.mark.parametrize("turned", [False, True])
def test_a_simulated_bars_shadow_is_found_and_is_not_in_the_crop(serial, turned):
    total, dark = serial
    if turned:
        total, dark = frame(total.counts.T, total.valid.T), dark.T
    shaded = find_shadow(total)
    assert shaded[dark & total.valid].mean() > 0.9
    assert np.count_nonzero(shaded & ~dark) < 0.5 * np.count_nonzero(dark)
    window = clear_window(total, shaded)
    assert window is not None
    assert not on_window(dark, window).any()
    assert on_window(dark, window).size >= 0.75 * (SIZE * window.factor) ** 2
    # the window in the middle would have had it
    assert on_window(dark, middle_window(total)).any()


def test_a_bar_is_followed_to_where_it_is_too_dark_to_see():
    slow, fast = np.mgrid[:1024, :1024]
    light = 2000 * np.exp(-((np.hypot(slow - 512, fast - 512) / 220) ** 2))
    bar = np.abs(slow - 512) < 40
    counts = np.random.default_rng(0).poisson(np.where(bar, 0, light))
    shaded = find_shadow(frame(counts))
    assert shaded[500:520].all()
    assert not shaded[:440].any()
    assert not shaded[584:].any()


def test_a_frame_without_a_shadow_is_cropped_as_classify_does():
    counts = np.random.default_rng(0).poisson(100, (1300, 1100))
    one = frame(counts, beam_center_px=(700.0, 500.0))
    shaded = find_shadow(one)
    assert not shaded.any()
    assert clear_window(one, shaded) == middle_window(one)


def test_the_crop_is_the_largest_beside_the_shadow_and_the_nearest_to_the_beam():
    one = frame(np.ones((4096, 4096), np.uint8), beam_center_px=(2060.0, 2000.0))
    shaded = np.zeros((4096, 4096), bool)
    shaded[2010:2110] = True
    window = clear_window(one, shaded)
    # 1882 rows are free above, 1858 below: three pixels a bin fit, four would hang over by 8 %
    assert window.factor == 3
    assert window.origin[0] == pytest.approx(2010 - 128 - 1536, abs=16)
    assert window.origin[1] == pytest.approx(2000 - 768, abs=16)


def test_a_crop_may_hang_over_the_frame_by_a_quarter_unbinned():
    one = frame(np.ones((1000, 1000), np.uint8))
    shaded = np.zeros((1000, 1000), bool)
    shaded[480:520] = True
    window = clear_window(one, shaded)
    assert window.factor == 1
    top = window.origin[0]
    assert -129 <= top <= 480 - 31 - 512 or 520 + 31 <= top <= 1000 - 383


@pytest.mark.parametrize("row", [250, 300])
def test_no_crop_is_better_than_one_with_the_shadow_on_it(row):
    one = frame(np.ones((600, 600), np.uint8))
    shaded = np.zeros((600, 600), bool)
    shaded[row : row + 30] = True
    assert clear_window(one, shaded) is None


def test_photons_are_counts_up_to_the_saturation_without_the_pedestal_over_the_gain():
    counts = np.array([[50, 10], [999, 999]])
    valid = np.array([[True, True], [True, False]])
    one = frame(counts, valid, pedestal=10.0, gain=4.0, saturation=410.0)
    assert photons_of(one).tolist() == [[10, 0], [100, 0]]
