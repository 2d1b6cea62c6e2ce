import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deepfreak.errors import FrameError
from deepfreak.formats import Frame
from deepfreak.preparation import prepare


def frame(counts, valid=None, **facts):
    valid = np.ones(counts.shape, bool) if valid is None else valid
    return Frame(file="a", index=0, counts=counts, valid=valid, **{"simulated": True, **facts})


def slow_prepare(frame, size):
    """Prepare pixel by pixel, as the docstring says."""
    slow, fast = frame.counts.shape
    factor = max(1, round(min(slow, fast) / size))
    photons = (np.minimum(frame.counts, frame.saturation or np.inf) - frame.pedestal) / frame.gain
    center = frame.beam_center_px or (slow / 2, fast / 2)
    origin = []
    for length, middle in zip((slow, fast), center, strict=True):
        window = size * factor
        if length <= window:
            origin.append(-((window - length) // 2))
        else:
            origin.append(min(max(round(middle - window / 2), 0), length - window))
    image, valid = np.zeros((size, size), np.uint8), np.zeros((size, size), bool)
    for i in range(size):
        for j in range(size):
            values = [
                photons[y, x]
                for y in range(origin[0] + i * factor, origin[0] + (i + 1) * factor)
                for x in range(origin[1] + j * factor, origin[1] + (j + 1) * factor)
                if 0 <= y < slow and 0 <= x < fast and frame.valid[y, x]
            ]
            if 2 * len(values) >= factor**2:
                valid[i, j] = True
                value = np.mean(values) * factor**2 + 10
                image[i, j] = int(np.sqrt(np.clip(value, 0, 65025)) + 1e-5)
    return image, valid


@given(
    shape=st.tuples(st.integers(64, 120), st.integers(64, 120)),
    size=st.sampled_from([20, 32, 70]),
    beam=st.none() | st.tuples(st.floats(1, 60), st.floats(1, 60)),
    pedestal=st.sampled_from([0.0, 10.0]),
    gain=st.sampled_from([1.0, 4.0]),
    saturation=st.sampled_from([None, 300.0]),
    seed=st.integers(0, 99),
)
@settings(max_examples=25, deadline=None)
def test_preparing_is_what_its_slow_definition_says(
    shape, size, beam, pedestal, gain, saturation, seed
):
    rng = np.random.default_rng(seed)
    counts = rng.poisson(rng.uniform(0, 400), shape).astype(np.int32)
    valid = rng.random(shape) < 0.7
    valid[0, 0] = True
    facts = {"beam_center_px": beam, "pedestal": pedestal, "gain": gain, "saturation": saturation}
    one = frame(counts, valid, **facts)
    if np.count_nonzero(valid) < 4096:
        with pytest.raises(FrameError):
            prepare(one, size)
        return
    prepared = prepare(one, size)
    image, expected_valid = slow_prepare(one, size)
    np.testing.assert_array_equal(prepared.valid, expected_valid)
    # a value next to a square may fall to either side in single precision
    difference = prepared.image.astype(int) - image
    assert np.abs(difference).max() <= 1
    assert np.count_nonzero(difference) <= 0.002 * difference.size


def test_an_image_of_the_models_size_is_the_square_root_of_its_counts():
    counts = np.arange(512 * 512).reshape(512, 512) % 66_000
    prepared = prepare(frame(counts, pedestal=10))
    expected = np.minimum(np.sqrt(np.minimum(counts, 65025)), 255).astype(np.uint8)
    np.testing.assert_array_equal(prepared.image, expected)
    assert (prepared.factor, prepared.origin) == (1, (0, 0))


def test_masked_pixels_do_not_count():
    counts = np.full((1024, 1024), 50)
    valid = np.ones(counts.shape, bool)
    valid[::2, ::2] = False
    counts[~valid] = 1_000_000
    prepared = prepare(frame(counts, valid))
    assert prepared.valid.all()
    assert (prepared.image == int(np.sqrt(210))).all()


def test_a_bin_is_missing_when_less_than_half_of_it_is_measured():
    valid = np.ones((1024, 1024), bool)
    valid[0:2, 0] = valid[0:2, 2] = valid[0, 3] = False
    prepared = prepare(frame(np.full((1024, 1024), 50), valid))
    assert np.argwhere(~prepared.valid).tolist() == [[0, 1]]
    assert prepared.image[0, 1] == 0


def test_binning_keeps_counting_noise_at_one_half():
    rng = np.random.default_rng(0)
    for factor in (1, 2, 4):
        counts = rng.poisson(400, (512 * factor, 512 * factor))
        image = prepare(frame(counts)).image
        assert image.std() == pytest.approx(np.hypot(0.5, np.sqrt(1 / 12)), rel=0.06)


def test_small_frames_are_padded_as_missing():
    prepared = prepare(frame(np.full((100, 200), 90)))
    assert prepared.origin == (-206, -156)
    assert np.count_nonzero(prepared.valid) == 100 * 200
    assert prepared.valid[206:306, 156:356].all()
    assert set(np.unique(prepared.image)) == {0, 10}


@pytest.mark.parametrize(
    ("beam", "origin"),
    [
        (None, (144, 44)),
        ((350.0, 300.0), (94, 44)),
        ((20.0, 590.0), (0, 88)),
        ((-5.0, 300.0), (144, 44)),
    ],
)
def test_the_window_follows_the_beam_and_stays_inside(beam, origin):
    assert prepare(frame(np.ones((800, 600), int), beam_center_px=beam)).origin == origin


def test_brightness_is_never_adjusted_to_the_frame():
    blank = np.random.default_rng(0).normal(0, 3, (512, 512))
    assert prepare(frame(blank)).image.max() < 6


@pytest.mark.parametrize(
    "counts", [np.ones((1, 1)), np.ones((63, 64)), np.full((600, 600), np.nan), np.ones((0, 0))]
)
def test_frames_that_measured_next_to_nothing_are_refused(counts):
    with pytest.raises(FrameError, match="64 x 64 measured pixels"):
        prepare(frame(counts, np.isfinite(counts)))


def test_a_large_frame_with_few_measured_pixels_is_refused():
    valid = np.zeros((4000, 4000), bool)
    valid[1000:1070, 1000:1070] = True
    with pytest.raises(FrameError, match="mask inverted"):
        prepare(frame(np.ones((4000, 4000), np.uint8), valid))


def test_a_measured_frames_beamstop_is_missing_and_a_simulated_ones_dark_area_is_not():
    counts = np.random.default_rng(0).poisson(100, (512, 512))
    counts[240:270, 240:270] = 3
    assert not prepare(frame(counts, simulated=False)).valid[242:268, 242:268].any()
    assert prepare(frame(counts, simulated=True)).valid.all()
