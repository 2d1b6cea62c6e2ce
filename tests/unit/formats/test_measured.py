"""The rule for valid pixels, on bare arrays."""

import numpy as np
import pytest

from deepfreak.errors import FrameError
from deepfreak.formats.frame import Metadata
from deepfreak.formats.measured import counted, make_frame, missing_by_reason


def poisson(mean=60.0, shape=(256, 256), dtype=np.int32, seed=0):
    return np.random.default_rng(seed).poisson(mean, shape).astype(dtype)


def noise(mean=0.0, sigma=3.0, shape=(256, 256), dtype=np.int16, seed=0):
    values = np.random.default_rng(seed).normal(mean, sigma, shape)
    return np.rint(values).astype(dtype) if np.dtype(dtype).kind != "f" else values.astype(dtype)


def missing(counts, **known):
    known = {"counting": None, **known}
    found = missing_by_reason(counts, **known)
    total = np.zeros(counts.shape, dtype=bool)
    for where in found.values():
        total |= where
    return total


def frame(counts, **known):
    return make_frame(counts, file="f", index=0, metadata=Metadata(), **known)


# --- 1. always missing


@pytest.mark.parametrize("mask", [None, np.zeros((256, 256), bool)])
def test_undefined_values_and_those_below_the_underload_are_missing_whatever_the_mask(mask):
    counts = noise(dtype=np.float32)
    counts[3, 4], counts[5, 6], counts[7, 8], counts[9, 9] = np.nan, np.inf, -np.inf, -50
    found = missing(counts, mask=mask, underload=-40)
    assert np.argwhere(found).tolist() == [[3, 4], [5, 6], [7, 8], [9, 9]]


# --- 2. a mask decides


@pytest.mark.parametrize(
    ("dtype", "value"),
    [
        (np.uint16, 0xFFFF),
        (np.uint32, 0xFFFFFFFF),
        (np.uint32, 0xFFFFFFFE),
        (np.int32, -1),
        (np.int16, -32768),
    ],
)
def test_what_a_mask_calls_good_is_measured(dtype, value):
    counts = poisson(dtype=dtype)
    counts[10:12] = value
    mask = np.zeros(counts.shape, bool)
    mask[40] = True
    assert np.array_equal(missing(counts, counting=True, mask=mask), mask)


def test_a_mask_of_another_shape_is_refused():
    with pytest.raises(FrameError, match="expected a mask of the frame's shape"):
        frame(poisson(), mask=np.zeros((128, 512), bool))


# --- 3. without a mask the values decide


@pytest.mark.parametrize("number", [1, 3, 300])
@pytest.mark.parametrize(
    ("dtype", "value"),
    [
        (np.uint32, 0xFFFFFFFF),
        (np.uint32, 0xFFFFFFFE),
        (np.uint64, 0xFFFFFFFF),
        (np.uint64, 0xFFFFFFFFFFFFFFFF),
        (np.int64, 0xFFFFFFFF),
        (np.float64, 0xFFFFFFFF),
        (np.float32, 2.0**32),
        (np.int16, -32768),
        (np.int32, -(2**31)),
    ],
)
def test_values_for_no_measurement_are_missing_in_any_number(dtype, value, number):
    counts = poisson(dtype=dtype)
    places = np.random.default_rng(1).permutation(counts.size)[:number]
    counts.flat[places] = value
    assert sorted(np.flatnonzero(missing(counts, counting=False))) == sorted(places)


@pytest.mark.parametrize("dtype", [np.uint16, np.int32, np.uint32])
def test_an_eigers_16_bits_are_missing_in_wider_types_too(dtype):
    counts = poisson(dtype=dtype)
    counts[3, 4] = 0xFFFF
    assert missing(counts, counting=True, eiger=True)[3, 4]
    assert not missing(counts, counting=False)[3, 4]  # an overload of a CCD


@pytest.mark.parametrize("dtype", [np.int16, np.int32, np.float32])
def test_negative_counts_are_missing_on_a_counter_and_noise_on_a_ccd(dtype):
    counter = poisson(2.0, dtype=dtype)
    counter[0, 0], counter[0, 1] = -1, -2
    assert np.argwhere(missing(counter)).tolist() == [[0, 0], [0, 1]]
    integrating = noise(dtype=dtype)
    assert not missing(integrating).any()
    assert np.array_equal(missing(integrating, counting=True), integrating < 0)


def test_a_faint_integrating_frame_that_reaches_minus_two_keeps_its_counts():
    counts = noise(sigma=0.55)
    assert counts.min() == -2 or counts.min() == -3
    assert not missing(counts, counting=False).any()


@pytest.mark.parametrize("fill", [0, 1, 7, 65535, -30000, 12345])
@pytest.mark.parametrize("dtype", [np.int32, np.float32])
def test_a_gap_of_any_value_is_found_to_the_pixel(fill, dtype):
    counts = (poisson(dtype=np.int64) * 3 + 100).astype(dtype)
    gap = np.zeros(counts.shape, bool)
    gap[100:117], gap[:, 61:68], gap[:20, :20] = True, True, True
    counts[gap] = fill
    assert np.array_equal(missing(counts, counting=False), gap)


def test_a_gap_in_the_noise_around_zero_is_found():
    counts = noise()
    counts[100:120] = 0
    found = missing(counts, counting=False)
    assert found[100:120].all()
    assert found.sum() - 20 * 256 < 100  # zeros beside it that its columns run into


def test_a_round_active_area_is_cut_out():
    counts = poisson(dtype=np.uint16) + np.uint16(10)
    slow, fast = np.mgrid[:256, :256]
    outside = np.hypot(slow - 128, fast - 128) > 130
    counts[outside] = 0
    assert np.array_equal(missing(counts), outside)


@pytest.mark.parametrize("mean", [0.0, 0.003, 0.1, 0.7, 2.0])
@pytest.mark.parametrize("dtype", [np.uint16, np.uint32, np.int32, np.float32])
def test_zeros_of_a_counter_are_measurements(mean, dtype):
    counts = poisson(mean, dtype=dtype)
    counts[30:60, 40:80] = 0
    for counting in (None, True):
        assert not missing(counts, counting=counting).any()


@pytest.mark.parametrize("counting", [None, True])
def test_zeros_in_a_soft_shadow_are_measurements(counting):
    slow, fast = np.mgrid[:256, :256]
    light = 60 / (1 + np.exp(-(np.hypot(slow - 120, fast - 120) - 40) / 4))
    counts = np.random.default_rng(0).poisson(light * (light > 0.2))
    assert (counts == 0).sum() > 1000
    assert not missing(counts, counting=counting).any()


def test_zeros_beside_spots_are_measurements_whatever_the_gain():
    counts = poisson(6.0, dtype=np.int32) * 10
    counts[100:104, 100:104] = 9000
    assert not missing(counts).any()


def test_the_seams_of_a_mosaic_are_missing():
    counts = poisson(dtype=np.uint16)
    seams = np.zeros(counts.shape, bool)
    seams[100:103], seams[:, 200] = True, True
    counts[seams] = 0
    assert np.array_equal(missing(counts), seams)


@pytest.mark.parametrize("level", [3000, 65535])
def test_an_overload_is_no_gap(level):
    slow, fast = np.mgrid[:256, :256]
    light = 50 + 4e5 * np.exp(-np.hypot(slow - 90, fast - 140) / 5)
    counts = np.minimum(np.random.default_rng(0).poisson(light), level).astype(np.uint16)
    assert (counts == level).sum() > 200
    assert not missing(counts).any()
    assert not missing(counts, saturation=float(level)).any()


@pytest.mark.parametrize("level", [4095, 16383, 65535])
def test_columns_of_a_ccd_that_bloom_are_no_gap(level):
    slow, fast = np.mgrid[:256, :256]
    light = 100 + 5e6 * np.exp(-np.hypot(slow - 90, fast - 140) / 6)
    counts = np.minimum(np.random.default_rng(0).poisson(light), level).astype(np.uint16)
    counts[:, 135:145] = level
    assert not missing(counts, counting=False).any()


@pytest.mark.parametrize("mean", [0.5, 3.0, 20.0, 100.0])
@pytest.mark.parametrize("dtype", [np.uint16, np.int32, np.float32])
@pytest.mark.parametrize("counting", [None, True, False])
def test_zeros_in_a_sharp_shadow_are_measurements(mean, dtype, counting):
    counts = poisson(mean, dtype=dtype)
    counts[100:130, 100:130] = 0
    assert not missing(counts, counting=counting).any()


@pytest.mark.parametrize("value", [0, 1, 1000, 65535])
@pytest.mark.parametrize("dtype", [np.uint16, np.int32, np.float32])
def test_a_frame_of_one_value_is_measured(value, dtype):
    assert not missing(np.full((256, 256), value, dtype=dtype)).any()


def test_a_quantised_dark_has_no_gaps():
    counts = np.rint(np.random.default_rng(0).normal(100, 0.2, (256, 256))).astype(np.uint16)
    counts[80:90, 80:90] = 100
    assert not missing(counts).any()


# --- what becomes of it


def test_a_photon_counters_gain_is_one_and_known_others_are_unknown():
    counter = poisson(2.0)
    counter[0, 0] = -1
    assert frame(counter).gain == 1.0
    assert frame(poisson(), names=("EIGER2 16M",)).gain == 1.0
    assert frame(poisson()).gain is None
    assert frame(noise(), names=("JUNGFRAU 4M",)).gain is None
    assert frame(poisson()).counts_per_photon == 1.0


@pytest.mark.parametrize("dtype", [">u2", ">i4", ">f4", ">f8", "<f2"])
def test_counts_are_given_in_the_machines_own_numbers(dtype):
    counts = poisson(20.0).astype(dtype)
    native = frame(counts).counts
    assert native.dtype.isnative
    assert native.dtype.itemsize >= 2
    assert np.array_equal(native.astype(float), counts.astype(float))


def test_reasons_are_counted_once_a_pixel():
    one, other = np.zeros((4, 4), bool), np.zeros((4, 4), bool)
    one[0], other[:2] = True, True
    assert counted({"one": one, "other": other}) == {"one": 4, "other": 4}
