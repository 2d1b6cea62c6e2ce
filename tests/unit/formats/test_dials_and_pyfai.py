"""DIALS's .expt and pyFAI's .poni: numbers of any kind are honoured or refused in one line."""

import json
import time

import numpy as np
import pytest

from deepfreak.errors import DeepFreakError, GeometryError
from deepfreak.formats import read_frames, read_geometry
from tests.unit.formats import made

SHAPE = (64, 80)


@pytest.fixture
def image(tmp_path):
    path = tmp_path / "a.cbf"
    path.write_bytes(made.cbf(made.photons(SHAPE)))
    return path


def read(image, text, suffix):
    path = image.with_name(f"g{suffix}")
    path.write_text(text)
    return next(read_frames(image, geometry=read_geometry(path)))


def panel(**more):
    return {
        "origin": [-4.0, 3.2, -100],
        "fast_axis": [1, 0, 0],
        "slow_axis": [0, -1, 0],
        "image_size": [80, 64],
        "pixel_size": [0.1, 0.1],
        **more,
    }


def expt(panels=None, *, detector=None, **more):
    panels = [panel()] if panels is None else panels
    return json.dumps({"detector": [{"panels": panels, **(detector or {})}], **more})


# --- DIALS


def test_a_trusted_range_says_what_is_missing_and_what_saturated(image):
    frame = read(image, expt([panel(trusted_range=[15, 25])]), ".expt")
    assert np.array_equal(frame.valid, frame.counts >= 15)
    assert frame.saturation == 25


def test_rectangles_of_a_mask_are_left_out(image):
    frame = read(image, expt([panel(mask=[[0, 0, 5, 2], [70, 60, 80, 64]])]), ".expt")
    assert (~frame.valid).sum() == 10 + 40


def test_several_panels_of_one_image_are_laid_by_their_offsets(image):
    halves = [
        panel(image_size=[80, 32], raw_image_offset=[0, 0], mask=[[0, 0, 80, 1]]),
        panel(image_size=[80, 32], raw_image_offset=[0, 32], origin=[-4.0, -0.4, -100]),
    ]
    frame = read(image, expt(halves), ".expt")
    assert frame.counts.shape == (68, 80)
    assert np.flatnonzero(~frame.valid.all(axis=1)).tolist() == [0, 32, 33, 34, 35]


@pytest.mark.parametrize("mask", ["mask.pickle", ["mask.pickle"], {"filename": "m"}])
def test_a_mask_that_is_a_pickle_is_refused(image, mask):
    with pytest.raises(GeometryError, match="--mask"):
        read(image, expt(imageset=[{"mask": mask}]), ".expt")


def test_no_mask_is_no_pickle(image):
    for imagesets in ([{"mask": ""}], [{"mask": None}], [{}], None, []):
        assert read(image, expt(imageset=imagesets), ".expt").valid.all()


HUGE = "9" * 400
ONE = expt()


@pytest.mark.timing
@pytest.mark.parametrize(
    "text",
    [
        ONE.replace("-100", HUGE),
        ONE.replace("-100", "NaN"),
        ONE.replace("-100", "Infinity"),
        ONE.replace("-100", "1e999"),
        ONE.replace("[80, 64]", f"[{HUGE}, 64]"),
        ONE.replace("[80, 64]", "[1e9, 64]"),
        ONE.replace("[80, 64]", '"x"'),
        ONE.replace("[0.1, 0.1]", "[-0.1, 0.1]"),
        ONE.replace("[0.1, 0.1]", f"[1e-{'9' * 50}, 0.1]"),
        expt([panel(gain=int(HUGE))]),
        expt([panel(gain="x")]),
        expt([panel(pedestal=[1])]),
        expt([panel(trusted_range=[0, int(HUGE)])]),
        expt([panel(trusted_range=[1])]),
        expt([panel(raw_image_offset="x")]),
        expt([panel(raw_image_offset=[-1, 0])]),
        expt([panel(mask=[[1, 2]])]),
        expt([panel(mask=5)]),
        expt([panel(mask=["x"])]),
        expt([None]),
        expt([5]),
        expt([panel(fast_axis=[1, 0])]),
        expt([panel(fast_axis=[[1, 0, 0]])]),
        expt(detector={"hierarchy": {"panel": 7}}),
        expt(detector={"hierarchy": {"panel": -7}}),
        expt(detector={"hierarchy": {"panel": -1}}),
        expt(detector={"hierarchy": {"panel": 0.5}}),
        expt(detector={"hierarchy": {"panel": "x"}}),
        expt(detector={"hierarchy": {**panel(), "children": 5}}),
        expt(detector={"hierarchy": {**panel(), "children": [5]}}),
        expt(detector={"hierarchy": "x"}),
        expt(beam=[{"direction": [0, 0, "x"]}]),
        expt(beam=[{"direction": [int(HUGE), 0, 1]}]),
        '{"detector": {"0": 1}}',
        '{"detector": [[]]}',
        "[]",
        "5",
        HUGE * 20,
        '{"detector": [{"panels": ' + "[" * 50_000,
        ONE[:-30],
    ],
)
def test_a_dials_file_without_sense_is_one_line(image, text):
    start = time.process_time()
    with pytest.raises(DeepFreakError) as caught:
        read(image, text, ".expt")
    assert time.process_time() - start < 2
    line = str(caught.value)
    assert "g.expt" in line or "panel" in line
    assert "\n" not in line
    assert len(line) < 500


def test_groups_nested_ever_deeper_are_one_line(image):
    group = {"panel": 0}
    for _ in range(200):
        group = {**panel(), "origin": [0, 0, 0], "slow_axis": [0, 1, 0], "children": [group]}
    read(image, expt(detector={"hierarchy": group}), ".expt")
    text = expt(detector={"hierarchy": "H"}).replace(
        '"H"', '{"origin":[0,0,0],"fast_axis":[1,0,0],"slow_axis":[0,1,0],"children":[' * 3000
        + '{"panel": 0}' + "]}" * 3000
    )  # fmt: skip
    with pytest.raises(GeometryError, match="expected"):
        read(image, text, ".expt")


# --- pyFAI


def poni(**more):
    entries = {
        "poni_version": "2.1",
        "Detector": "Detector",
        "Detector_config": json.dumps({"pixel1": 1e-4, "pixel2": 1e-4, "orientation": 3}),
        "Distance": "0.1",
        "Poni1": "0.0032",
        "Poni2": "0.0020",
        "Rot1": "0",
        "Rot2": "0",
        "Rot3": "0",
        "Wavelength": "1e-10",
        **more,
    }
    return "".join(f"{key}: {value}\n" for key, value in entries.items() if value is not None)


def config(**more):
    return json.dumps({"pixel1": 1e-4, "pixel2": 1e-4, **more})


@pytest.mark.parametrize(
    ("orientation", "beam"),
    [
        (0, (32, 20)),
        (1, (32, 60)),
        (2, (32, 20)),
        (3, (32, 20)),
        (4, (32, 60)),
        ("3", (32, 20)),
        (None, (32, 20)),
    ],
)
def test_every_orientation_of_version_2_1_is_honoured(image, orientation, beam):
    more = {} if orientation is None else {"orientation": orientation}
    frame = read(image, poni(Detector_config=config(**more), Poni1="0.0032"), ".poni")
    assert frame.beam_center_px == pytest.approx(beam)
    low = read(image, poni(Detector_config=config(**more), Poni1="0.0010"), ".poni")
    assert low.beam_center_px[0] == pytest.approx(54 if orientation in {1, 2} else 10)


@pytest.mark.parametrize("pixel", ["1e-4", "0.0001", 0.0001])
def test_pixels_may_be_text(image, pixel):
    frame = read(image, poni(Detector_config=config(pixel1=pixel, pixel2=pixel)), ".poni")
    assert frame.pixel_size_mm == pytest.approx(0.1)
    assert frame.distance_mm == pytest.approx(100)
    assert frame.wavelength_A == pytest.approx(1.0)


@pytest.mark.parametrize("key", ["Wavelength", "Rot1", "Rot2", "Rot3"])
@pytest.mark.parametrize("value", [None, "None", ""])
def test_what_pyfai_does_not_know_stays_unknown(image, key, value):
    frame = read(image, poni(**{key: value}), ".poni")
    assert frame.beam_center_px == pytest.approx((32, 20))
    of_the_image = 1.5
    assert frame.wavelength_A == pytest.approx(of_the_image if key == "Wavelength" else 1.0)


@pytest.mark.parametrize(
    "key", ["mask", "mask_file", "filename", "splineFile", "spline", "maskfile"]
)
def test_a_detector_with_files_of_its_own_is_refused(image, key):
    with pytest.raises(GeometryError, match="expected a detector without files"):
        read(image, poni(Detector_config=config(**{key: "m.edf"})), ".poni")
    assert read(image, poni(Detector_config=config(**{key: None})), ".poni").valid.all()


@pytest.mark.timing
@pytest.mark.parametrize(
    "more",
    [
        *({key: value} for key in ("Distance", "Poni1", "Poni2", "Rot1", "Rot2", "Wavelength")
          for value in ("nan", "inf", "-inf", "x", "9" * 400, "1e999", "1e308", "0x10")
          if not (key in {"Poni1", "Poni2", "Distance", "Wavelength"} and value == "1e308")),
        {"Rot1": "1.5707963"},
        {"Rot2": "3.1"},
        {"Distance": None},
        {"Poni1": None},
        {"Detector_config": config(pixel1="x")},
        {"Detector_config": config(pixel1=0)},
        {"Detector_config": config(pixel1=-1e-4)},
        {"Detector_config": config(orientation=5)},
        {"Detector_config": config(orientation="x")},
        {"Detector_config": config(orientation=2.5)},
        {"Detector_config": "[" * 50_000},
        {"Detector_config": '{"pixel1": ' + "9" * 6000 + "}"},
    ],
)  # fmt: skip
def test_a_poni_file_without_sense_is_one_line(image, more):
    start = time.process_time()
    with pytest.raises(GeometryError) as caught:
        read(image, poni(**more), ".poni")
    assert time.process_time() - start < 2
    assert "g.poni" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 500
