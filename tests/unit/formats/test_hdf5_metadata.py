"""Metadata of HDF5 files: masks, gain, lengths, energies, in any location."""

import h5py
import numpy as np
import pytest

from deepfreak.errors import FrameError
from deepfreak.formats import open_frames, read_frames
from tests.unit.formats import made

SHAPE = (96, 128)
DETECTOR = "entry/instrument/detector"


def counts(n=2, *, mean=20.0, shape=SHAPE, dtype=np.uint16):
    return np.stack([made.photons(shape, mean=mean, seed=i) for i in range(n)]).astype(dtype)


def noise(n=2, *, dtype=np.int16, shape=SHAPE):
    return np.rint(np.random.default_rng(0).normal(0, 3.6, (n, *shape))).astype(dtype)


def file(path, images, *, place="entry/data/data", beside=None, units=None, links=None):
    with h5py.File(path, "w") as out:
        out.create_dataset(place, data=images, chunks=(1, *images.shape[1:]))
        for name, value in (beside or {}).items():
            out[name] = value
        for name, unit in (units or {}).items():
            out[name].attrs["units"] = unit
        for name, link in (links or {}).items():
            out[name] = link
    return path


def first(path, **options):
    return next(iter(quiet(path, **options)))


def quiet(path, **options):
    with open_frames(path, reasons=True, **options) as opened:
        return [opened.read(index) for index in range(opened.count)]


def bad_rows(*rows, shape=SHAPE, dtype=np.uint32, value=1):
    mask = np.zeros(shape, dtype)
    mask[list(rows)] = value
    return mask


def missing_rows(frame):
    return np.flatnonzero(~frame.valid.any(axis=1)).tolist()


# --- masks


@pytest.mark.parametrize("dtype", [bool, np.int8, np.uint8, np.int32, np.uint32, np.float32, ">u4"])
@pytest.mark.parametrize(
    "place", [f"{DETECTOR}/pixel_mask", f"{DETECTOR}/detectorSpecific/pixel_mask"]
)
def test_a_mask_of_any_type_decides(tmp_path, dtype, place):
    path = file(tmp_path / "a.h5", counts(), beside={place: bad_rows(3, 4, dtype=dtype)})
    for frame in quiet(path):
        assert missing_rows(frame) == [3, 4]
        assert (~frame.valid).sum() == 2 * SHAPE[1]


@pytest.mark.parametrize("lead", [(1,), (2,), (1, 1)])
def test_a_mask_may_have_an_axis_of_frames(tmp_path, lead):
    mask = np.zeros((*lead, *SHAPE), np.uint32)
    mask[..., 7, :] = 1
    if lead == (2,):
        mask[1, 9] = 1
    path = file(tmp_path / "a.h5", counts(), beside={f"{DETECTOR}/pixel_mask": mask})
    read = quiet(path)
    assert missing_rows(read[0]) == [7]
    assert missing_rows(read[1]) == ([7, 9] if lead == (2,) else [7])


@pytest.mark.parametrize("shape", [SHAPE[::-1], (96, 129), (48, 64), (3, *SHAPE), (96 * 128, 1)])
def test_a_mask_of_another_shape_is_an_error(tmp_path, shape):
    path = file(
        tmp_path / "a.h5", counts(), beside={f"{DETECTOR}/pixel_mask": np.zeros(shape, "u4")}
    )
    with pytest.raises(FrameError, match="mask"):
        quiet(path)


@pytest.mark.parametrize("shape", [(0, 0), (0, 128), (0,), ()])
def test_an_empty_mask_is_none(tmp_path, shape):
    path = file(
        tmp_path / "a.h5", counts(), beside={f"{DETECTOR}/pixel_mask": np.zeros(shape, "u4")}
    )
    read = quiet(path)
    assert all(frame.valid.all() for frame in read)


@pytest.mark.parametrize("way", ["external", "soft", "external behind soft", "virtual"])
@pytest.mark.parametrize("place", ["pixel_mask", "detectorSpecific/pixel_mask", "mask"])
def test_a_mask_that_cannot_be_had_is_said_once(tmp_path, way, place):
    name = f"{DETECTOR}/{place}"
    links = {name: h5py.ExternalLink("meta.h5", "/mask")}
    if way == "soft":
        links = {name: h5py.SoftLink("/entry/nothing")}
    if way == "external behind soft":
        links = {"entry/m": links[name], name: h5py.SoftLink("/entry/m")}
    path = tmp_path / "a.h5"
    if way == "virtual":
        layout = h5py.VirtualLayout(SHAPE, np.uint32)
        layout[:] = h5py.VirtualSource("meta.h5", "mask", SHAPE)
        file(path, counts())
        with h5py.File(path, "a") as out:
            out.create_virtual_dataset(name, layout)
    else:
        file(path, counts(), links=links)
    with pytest.warns(UserWarning, match="mask") as said:
        list(read_frames(path))
    assert len(said) == 1
    expected = "/entry/nothing" if way == "soft" else "meta.h5"
    assert expected in str(said[0].message)


@pytest.mark.parametrize("chunks", [None, (32, 32)])
def test_a_mask_that_nobody_wrote_is_said(tmp_path, chunks):
    path = file(tmp_path / "a.h5", counts())
    with h5py.File(path, "a") as out:
        out.create_dataset(f"{DETECTOR}/pixel_mask", SHAPE, np.uint32, chunks=chunks)
    (note,) = first(path).notes
    assert "mask" in note


@pytest.mark.parametrize("kind", ["text", "one axis", "group"])
def test_what_is_called_a_mask_and_is_none_is_said(tmp_path, kind):
    beside = {"text": "see the other file", "one axis": np.zeros(96 * 128, "u4")}
    place = f"{DETECTOR}/pixel_mask"
    if kind == "group":
        path = file(tmp_path / "a.h5", counts(), beside={f"{place}/data": np.zeros(SHAPE, "u4")})
    else:
        path = file(tmp_path / "a.h5", counts(), beside={place: beside[kind]})
    (note,) = first(path).notes
    assert "pixel_mask" in note


def test_a_frame_whose_mask_calls_all_bad_has_no_pixel(tmp_path):
    path = file(
        tmp_path / "a.h5", counts(), beside={f"{DETECTOR}/pixel_mask": np.ones(SHAPE, "u4")}
    )
    assert not first(path).valid.any()


@pytest.mark.parametrize("dtype", [np.int16, np.int32, np.float32])
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("underload", [None, -10.0, -32764.0])
def test_negative_noise_of_a_jungfrau_is_measured(tmp_path, dtype, masked, underload):
    images = noise(dtype=dtype)
    images[:, 5, 5] = -32768
    beside = {f"{DETECTOR}/description": "PSI JUNGFRAU 4M"}
    if masked:
        beside[f"{DETECTOR}/pixel_mask"] = bad_rows(8, dtype=np.uint32)
    if underload is not None:
        beside[f"{DETECTOR}/underload_value"] = underload
    frame = first(file(tmp_path / "a.h5", images, beside=beside))
    lost = np.zeros(SHAPE, bool)
    lost[8] = masked
    lost |= False if underload is None else images[0] < underload
    lost[5, 5] |= not masked and dtype == np.int16
    assert np.array_equal(~frame.valid, lost)
    assert frame.gain is None


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.uint32])
def test_overloads_that_the_mask_calls_good_are_saturated(tmp_path, dtype):
    images = counts(dtype=dtype)
    images[:, 40:60, 40:60] = np.iinfo(dtype).max
    images[:, 10] = np.iinfo(dtype).max
    path = file(tmp_path / "a.h5", images, beside={f"{DETECTOR}/pixel_mask": bad_rows(10)})
    frame = first(path)
    assert missing_rows(frame) == [10]
    assert (~frame.valid).sum() == SHAPE[1]


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.uint32])
def test_a_counter_without_a_mask_marks_gaps_by_its_largest_value(tmp_path, dtype):
    images = counts(dtype=dtype)
    images[:, 40:42] = np.iinfo(dtype).max
    images[:, 3, 3] = np.iinfo(dtype).max
    path = file(tmp_path / "a.h5", images, beside={f"{DETECTOR}/description": "Dectris EIGER2 9M"})
    frame = first(path)
    assert (~frame.valid).sum() == 2 * SHAPE[1] + 1
    assert frame.gain == 1.0


# --- gain, pedestal, saturation


@pytest.mark.parametrize(
    ("place", "key"),
    [
        ("entry/data/data", "entry/data/data_scaling_factor"),
        ("entry/data/data", "entry/data/data_scale_factor"),
        ("entry/data/data", "entry/data/scaling_factor"),
        ("entry/data/data", f"{DETECTOR}/data_scaling_factor"),
        ("entry/data/data", f"{DETECTOR}/data_scale_factor"),
        (f"{DETECTOR}/data", f"{DETECTOR}/data_scale_factor"),
        ("entry/data/raw", "entry/data/raw_scaling_factor"),
        ("entry1/data/data", "entry1/data/data_scaling_factor"),
        ("entry/data/data_000001", "entry/data/data_scaling_factor"),
    ],
)
def test_nxdatas_scaling_is_the_gain(tmp_path, place, key):
    path = file(tmp_path / "a.h5", counts(), place=place, beside={key: 0.1})
    frame = first(path)
    assert frame.gain == pytest.approx(10.0)
    assert frame.origins["gain"] == f"/{key}"


@pytest.mark.parametrize("value", [0.0, np.nan, -1.0, np.inf])
def test_a_scaling_without_sense_leaves_the_gain_unknown(tmp_path, value):
    path = file(tmp_path / "a.h5", counts(), beside={"entry/data/data_scaling_factor": value})
    assert first(path).gain is None


@pytest.mark.parametrize(
    "key", ["entry/data/data_offset", "entry/data/offset", f"{DETECTOR}/data_offset"]
)
def test_nxdatas_offset_is_the_pedestal(tmp_path, key):
    path = file(tmp_path / "a.h5", counts(), beside={key: -12.0})
    assert first(path).pedestal == 12.0


def test_of_detectors_that_integrate_the_gain_is_unknown_and_not_one(tmp_path):
    path = file(tmp_path / "a.h5", noise(), beside={f"{DETECTOR}/description": "JUNGFRAU"})
    frame = first(path)
    assert frame.gain is None
    assert "gain" not in frame.origins


@pytest.mark.parametrize(
    "place",
    [
        f"{DETECTOR}/saturation_value",
        f"{DETECTOR}/detectorSpecific/countrate_correction_count_cutoff",
        f"{DETECTOR}/detectorSpecific/saturation_value",
        f"{DETECTOR}/detectorSpecific/detectorModule_000/countrate_correction_count_cutoff",
        "entry/instrument/eiger/countrate_correction_count_cutoff",
    ],
)
def test_the_cutoff_is_found_wherever_it_stands(tmp_path, place):
    path = file(tmp_path / "a.h5", counts(), beside={place: 38086})
    frame = first(path)
    assert (frame.saturation, frame.origins["saturation"]) == (38086.0, f"/{place}")


def test_a_jungfrau_in_an_eigers_layout_is_no_eiger(tmp_path):
    images = noise(dtype=np.int32)
    images[:, 7, 7] = 0xFFFF
    beside = {f"{DETECTOR}/description": "JUNGFRAU 4M", f"{DETECTOR}/detectorSpecific/nimages": 2}
    frame = first(file(tmp_path / "a.h5", images, beside=beside))
    assert frame.valid.all()
    assert frame.gain is None


def test_a_saturation_of_nothing_leaves_it_unknown(tmp_path):
    path = file(tmp_path / "a.h5", counts(), beside={f"{DETECTOR}/saturation_value": 0})
    assert first(path).saturation is None


# --- lengths and energies


@pytest.mark.parametrize(
    ("unit", "mm"), [("m", 120.0), ("mm", 0.12), ("cm", 1.2), ("um", 0.00012), ("M", 120.0)]
)
@pytest.mark.parametrize("key", ["detector_distance", "distance"])
def test_a_distance_has_its_units(tmp_path, unit, mm, key):
    place = f"{DETECTOR}/{key}"
    path = file(tmp_path / "a.h5", counts(), beside={place: 0.12}, units={place: unit})
    assert first(path).distance_mm == pytest.approx(mm)


@pytest.mark.parametrize("unit", [None, "", "furlong", "pixel"])
def test_a_length_without_units_stays_unknown_and_is_said_once(tmp_path, unit):
    place = f"{DETECTOR}/detector_distance"
    units = {} if unit is None else {place: unit}
    path = file(tmp_path / "a.h5", counts(3), beside={place: 0.12}, units=units)
    with pytest.warns(UserWarning, match="detector_distance") as said:
        read = list(read_frames(path))
    assert len(said) == 1
    assert all(frame.distance_mm is None for frame in read)


def test_several_lengths_without_units_are_said_in_one_line(tmp_path):
    beside = {
        f"{DETECTOR}/detector_distance": 0.1,
        f"{DETECTOR}/x_pixel_size": 75e-6,
        "entry/instrument/beam/incident_wavelength": 1.0,
    }
    with pytest.warns(UserWarning, match="units") as said:
        (one, *_) = list(read_frames(file(tmp_path / "a.h5", counts(), beside=beside)))
    assert len(said) == 1
    assert (one.distance_mm, one.pixel_size_mm, one.wavelength_A) == (None, None, None)


@pytest.mark.parametrize(
    ("key", "value", "unit"),
    [
        ("incident_wavelength", 1.0332, "angstrom"),
        ("incident_wavelength", 0.10332, "nm"),
        ("incident_wavelength", 1.0332e-10, "m"),
        ("wavelength", 1.0332, "Angstrom"),
        ("incident_energy", 12000.0, "eV"),
        ("energy", 12.0, "keV"),
        ("photon_energy", 12000.0 * 1.602176634e-19, "J"),
    ],
)
@pytest.mark.parametrize(
    "group", ["entry/instrument/beam", "entry/sample/beam", "entry/instrument/detector"]
)
def test_the_wavelength_is_found_from_a_length_or_an_energy(tmp_path, key, value, unit, group):
    place = f"{group}/{key}"
    path = file(tmp_path / "a.h5", counts(), beside={place: value}, units={place: unit})
    assert first(path).wavelength_A == pytest.approx(1.0332, rel=1e-4)


def test_units_may_stand_in_an_array_of_one(tmp_path):
    place = f"{DETECTOR}/detector_distance"
    units = {place: np.array(["mm"], dtype=h5py.string_dtype())}
    path = file(tmp_path / "a.h5", counts(), beside={place: 120.0}, units=units)
    assert first(path).distance_mm == 120.0


def test_a_wavelength_for_each_frame_is_that_frames(tmp_path):
    place = "entry/instrument/beam/incident_wavelength"
    path = file(
        tmp_path / "a.h5", counts(3), beside={place: [1.0, 1.1, 1.2]}, units={place: "angstrom"}
    )
    assert [frame.wavelength_A for frame in quiet(path)] == pytest.approx([1.0, 1.1, 1.2])


# --- facilities


@pytest.mark.parametrize("entry", ["entry_0000", "entry_0007", "entry", "scan"])
@pytest.mark.parametrize("instrument", ["jungfrau4m_rr_smx", "jungfrau1m", "eiger4m"])
def test_esrfs_id29_keeps_its_facts_under_any_name(tmp_path, entry, instrument):
    base = f"{entry}/instrument/{instrument}"
    info = f"{base}/detector_information"
    path = file(
        tmp_path / "a.h5",
        counts(dtype=np.int32),
        place=f"{entry}/measurement/data",
        beside={
            f"{info}/adus_per_photon": 93.0,
            f"{info}/pixel_mask": bad_rows(2),
            f"{info}/saturation_value": 2_000_000,
            f"{info}/underload_value": -100,
            f"{info}/geometry/beam_center_x": 70.0,
            f"{info}/geometry/beam_center_y": 60.0,
        },
    )
    frame = first(path)
    assert frame.gain == 93.0
    assert missing_rows(frame) == [2]
    assert frame.saturation == 2_000_000
    assert frame.beam_center_px == (60.0, 70.0)


def sacla(path, *, name=None, mask=True, n=3):
    images = counts(n, dtype=np.float32) * 10
    with h5py.File(path, "w") as out:
        meta = out.create_group("metadata")
        if mask:
            meta["pixelmask"] = bad_rows(11, dtype=np.uint8)
        meta["pixelsize_in_um"] = [50.0, 50.0]
        meta["distance_in_mm"] = 51.5
        if name is not None:
            meta["detector"] = name
        for i, image in enumerate(images):
            tag = out.create_group(f"tag-{2000 + 2 * i}")
            tag["data"] = image
            tag["photon_energy_ev"] = 7000.0 + i
    return path, images


@pytest.mark.parametrize("name", [None, "MPCCD Phase III"])
def test_saclas_frames_have_their_gain_mask_and_energies(tmp_path, name):
    path, images = sacla(tmp_path / "a.h5", name=name)
    read = quiet(path)
    assert len(read) == 3
    for i, frame in enumerate(read):
        np.testing.assert_array_equal(frame.counts, images[i])
        assert frame.gain == 10.0
        assert missing_rows(frame) == [11]
        assert frame.wavelength_A == pytest.approx(12398.4198 / (7000 + i))
        assert frame.pixel_size_mm == pytest.approx(0.05)
        assert frame.distance_mm == pytest.approx(51.5)


def test_cxis_facts_are_in_si_units(tmp_path):
    base = "entry_1/instrument_1/detector_1"
    path = file(
        tmp_path / "a.cxi",
        counts(dtype=np.float32),
        place=f"{base}/data",
        beside={
            "cxi_version": 160,
            f"{base}/distance": 0.0815,
            f"{base}/x_pixel_size": 110e-6,
            f"{base}/adu_per_photon": 25.0,
            "entry_1/instrument_1/source_1/energy": 9500 * 1.602176634e-19,
        },
    )
    frame = first(path)
    assert frame.notes == ()
    assert frame.gain == 25.0
    assert frame.distance_mm == pytest.approx(81.5)
    assert frame.pixel_size_mm == pytest.approx(0.11)
    assert frame.wavelength_A == pytest.approx(12398.42 / 9500, rel=1e-6)


@pytest.mark.parametrize(
    ("flags", "lost"),
    [
        (0x1, True),
        (0x2, False),
        (0x4, True),
        (0x8, True),
        (0x100, False),
        (0x200, True),
        (0x20, False),
    ],
)
def test_cxis_mask_has_its_own_flags(tmp_path, flags, lost):
    base = "entry_1/instrument_1/detector_1"
    beside = {"cxi_version": 160, f"{base}/mask": bad_rows(6, dtype=np.uint16, value=flags)}
    path = file(tmp_path / "a.cxi", counts(), place=f"{base}/data", beside=beside)
    assert missing_rows(first(path)) == ([6] if lost else [])


# --- thresholds


def thresholds(path, *, axes=None, names=None, beside=None, n=3, channels=2):
    images = np.stack([counts(n), counts(n) // 2, counts(n) // 3], axis=1)[:, :channels]
    with h5py.File(path, "w") as out:
        out.create_dataset("entry/data/data", data=images, chunks=(1, 1, *SHAPE))
        if axes is not None:
            out["entry/data"].attrs["axes"] = axes
        if names is not None:
            out["entry/data/channel"] = names
        for name, value in (beside or {}).items():
            out[name] = value
    return path, images


AXES = ["image_id", "channel", ".", "."]


@pytest.mark.parametrize(
    ("wanted", "number"), [(None, 0), ("1", 0), ("2", 1), ("threshold_1", 0), ("threshold_2", 1)]
)
@pytest.mark.parametrize("how", ["list", "text", "names"])
def test_the_threshold_that_is_asked_for_is_read(tmp_path, wanted, number, how):
    path, images = thresholds(
        tmp_path / "a.h5",
        axes={"list": AXES, "text": "image_id:channel:.:.", "names": None}[how],
        names=["threshold_1", "threshold_2"] if how == "names" else None,
    )
    read = quiet(path, channel=wanted)
    assert len(read) == 3
    for frame, expected in zip(read, images[:, number], strict=True):
        np.testing.assert_array_equal(frame.counts, expected)


@pytest.mark.parametrize("wanted", ["0", "3", "threshold_3", "-1", "x", "9" * 400])
def test_a_threshold_that_is_not_there_is_an_error_that_names_those_that_are(tmp_path, wanted):
    path, _ = thresholds(tmp_path / "a.h5", axes=AXES)
    with pytest.raises(FrameError, match="threshold_1, threshold_2"):
        quiet(path, channel=wanted)


@pytest.mark.parametrize("channel", [None, "2"])
def test_each_threshold_has_its_own_mask_and_cutoff(tmp_path, channel):
    beside = {}
    for n in (1, 2):
        beside[f"{DETECTOR}/threshold_{n}_channel/pixel_mask"] = bad_rows(10 * n)
        beside[f"{DETECTOR}/threshold_{n}_channel/saturation_value"] = 1000 * n
    path, _ = thresholds(tmp_path / "a.h5", axes=AXES, beside=beside)
    number = 1 if channel is None else 2
    for frame in quiet(path, channel=channel):
        assert missing_rows(frame) == [10 * number]
        assert frame.saturation == 1000 * number


def test_masks_of_all_thresholds_in_one_data_set_are_told_apart(tmp_path):
    mask = np.zeros((2, *SHAPE), np.uint32)
    mask[0, 5], mask[1, 6] = 1, 1
    path, _ = thresholds(tmp_path / "a.h5", axes=AXES, beside={f"{DETECTOR}/pixel_mask": mask})
    assert missing_rows(first(path)) == [5]
    assert missing_rows(first(path, channel="2")) == [6]


def test_a_fourth_axis_that_nothing_explains_is_an_error_of_one_line(tmp_path):
    path, _ = thresholds(tmp_path / "a.h5")
    with pytest.raises(FrameError, match="expected one assembled image a frame"):
        quiet(path)


def test_a_channel_of_a_file_without_channels_is_an_error(tmp_path):
    path = file(tmp_path / "a.h5", counts())
    assert first(path, channel="1").valid.all()
    with pytest.raises(FrameError, match="one image a frame"):
        quiet(path, channel="threshold_2")


# --- numbers


@pytest.mark.parametrize("dtype", [">u2", ">i2", ">u4", ">i4", ">f4", ">f8", "<f2", ">i8"])
def test_any_byte_order_gives_the_same_numbers(tmp_path, dtype):
    images = counts()
    frame = first(file(tmp_path / "a.h5", images.astype(dtype)))
    assert frame.counts.dtype.isnative
    np.testing.assert_array_equal(frame.counts, images[0])


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", ["<f4", ">f8", "<f2"])
def test_what_is_not_finite_is_missing(tmp_path, value, dtype):
    images = counts().astype(dtype)
    images[:, 3, 4] = value
    for beside in ({}, {f"{DETECTOR}/pixel_mask": np.zeros(SHAPE, "u4")}):
        frame = first(file(tmp_path / "a.h5", images, beside=beside))
        assert np.argwhere(~frame.valid).tolist() == [[3, 4]]
