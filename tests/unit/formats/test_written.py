"""Pictures, SMV, CBF and TIFF: our readers and others recover counts and geometry."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fabio
import numpy as np
import pytest
from PIL import Image

from deepfreak.errors import OutputError
from deepfreak.formats import read_frames
from deepfreak.formats.cbf import write_cbf
from deepfreak.formats.pictures import write_pgm, write_png
from deepfreak.formats.smv import write_smv
from deepfreak.formats.tiff import write_tiff
from deepfreak.physics.detector import Detector
from deepfreak.physics.detector.panel import Modules
from tests.unit.formats.made_shots import OFF_CENTRE, counts_for, header_for

WRITERS: list[tuple[str, Callable[..., None]]] = [
    ("shot.img", write_smv),
    ("shot.cbf", write_cbf),
    ("shot.tif", write_tiff),
]
WITH_GAPS = Detector(
    image_size=(70, 90),
    pixel_size_mm=0.1,
    distance_mm=50,
    modules=Modules(rows=2, columns=2, module_size=(30, 40), gap=(10, 10)),
)


@pytest.mark.parametrize(("name", "write"), WRITERS)
def test_our_reader_finds_counts_and_geometry_again(
    name: str, write: Callable[..., None], tmp_path: Path
) -> None:
    counts = counts_for()
    write(tmp_path / name, counts, header_for())
    (frame,) = read_frames(tmp_path / name)
    assert frame.valid.all()
    np.testing.assert_array_equal(frame.counts, counts)
    assert frame.wavelength_A == pytest.approx(1.4876543, abs=1e-9)
    assert frame.distance_mm == pytest.approx(83.25, abs=1e-6)
    assert frame.pixel_size_mm == pytest.approx(0.172, abs=1e-9)
    assert frame.beam_center_px == pytest.approx((20.25, 61.5), abs=1e-4)
    assert frame.saturation == 65025


@pytest.mark.parametrize(("name", "write"), WRITERS)
def test_fabio_reads_the_same_counts(name: str, write: Callable[..., None], tmp_path: Path) -> None:
    counts = counts_for()
    write(tmp_path / name, counts, header_for())
    with fabio.open(str(tmp_path / name)) as image:
        np.testing.assert_array_equal(image.data, counts)


def test_fabio_finds_the_header_of_a_cbf_and_a_tiff(tmp_path: Path) -> None:
    write_cbf(tmp_path / "shot.cbf", counts_for(), header_for())
    write_tiff(tmp_path / "shot.tif", counts_for(), header_for())
    with fabio.open(str(tmp_path / "shot.cbf")) as image:
        text = image.header["_array_data.header_contents"]
        assert image.header["_array_data.header_convention"] == "PILATUS_1.2"
    with fabio.open(str(tmp_path / "shot.tif")) as image:
        assert type(image).__name__ == "PilatusImage"
        fields: dict[str, Any] = dict(image.header)
    assert "# Wavelength 1.4876543 A" in text
    assert "# Detector_distance 0.08325 m" in text
    assert "# Beam_xy (61.5000, 20.2500) pixels" in text
    assert fields["Wavelength"] == "1.4876543 A"
    assert fields["Beam_xy"].endswith("61.5000, 20.2500) pixels")


def test_pillow_reads_the_tiff(tmp_path: Path) -> None:
    write_tiff(tmp_path / "shot.tif", counts_for(), header_for())
    with Image.open(tmp_path / "shot.tif") as image:
        np.testing.assert_array_equal(np.asarray(image), counts_for())


@pytest.mark.parametrize(("name", "write"), WRITERS[1:])
def test_gaps_come_back_as_missing(name: str, write: Callable[..., None], tmp_path: Path) -> None:
    header = header_for(WITH_GAPS)
    assert 0 < header.missing.sum() < header.missing.size
    write(tmp_path / name, counts_for(WITH_GAPS), header)
    (frame,) = read_frames(tmp_path / name)
    np.testing.assert_array_equal(frame.valid, ~header.missing)


def test_a_tiff_holds_expected_photons_as_they_are(tmp_path: Path) -> None:
    photons = np.random.default_rng(1).random((70, 90)).astype(np.float32)
    write_tiff(tmp_path / "shot.tif", photons, header_for(WITH_GAPS))
    (frame,) = read_frames(tmp_path / "shot.tif")
    missing = header_for(WITH_GAPS).missing
    assert frame.counts.dtype == np.float32
    np.testing.assert_array_equal(frame.counts[~missing], photons[~missing])
    np.testing.assert_array_equal(frame.valid, ~missing)


# All fields of an image that nanoBragg has written.
NANOBRAGG = [
    "HEADER_BYTES",
    "DIM",
    "BYTE_ORDER",
    "TYPE",
    "SIZE1",
    "SIZE2",
    "PIXEL_SIZE",
    "DISTANCE",
    "WAVELENGTH",
    "BEAM_CENTER_X",
    "BEAM_CENTER_Y",
    "ADXV_CENTER_X",
    "ADXV_CENTER_Y",
    "MOSFLM_CENTER_X",
    "MOSFLM_CENTER_Y",
    "DENZO_X_BEAM",
    "DENZO_Y_BEAM",
    "DIALS_ORIGIN",
    "XDS_ORGX",
    "XDS_ORGY",
    "CLOSE_DISTANCE",
    "PHI",
    "OSC_START",
    "OSC_RANGE",
    "TIME",
    "TWOTHETA",
    "DETECTOR_SN",
    "ADC_OFFSET",
    "BEAMLINE",
]


def test_smv_has_the_fields_and_pixel_order_of_nanobragg(tmp_path: Path) -> None:
    counts = counts_for()
    write_smv(tmp_path / "shot.img", counts, header_for())
    content = (tmp_path / "shot.img").read_bytes()
    assert content[1024:] == counts.astype("<u2").tobytes()
    ours = re.findall(rb"(\w+)=([^;\n]*)", content[:1024])
    values = {name.decode(): value.decode() for name, value in ours}
    assert set(NANOBRAGG) <= values.keys()
    assert values["ADC_OFFSET"] == "10"
    assert float(values["BEAM_CENTER_X"]) == pytest.approx(61.5 * 0.172)
    assert float(values["BEAM_CENTER_Y"]) == pytest.approx((70 - 20.25) * 0.172)
    assert float(values["XDS_ORGX"]) == pytest.approx(62.0)
    # x right, y up, z towards the source, as nanoBragg writes the corner of the first pixel
    origin = [float(value) for value in values["DIALS_ORIGIN"].split(",")]
    assert origin == pytest.approx([-61.5 * 0.172, 20.25 * 0.172, -83.25])


def test_smv_reads_back_its_pedestal(tmp_path: Path) -> None:
    write_smv(tmp_path / "shot.img", counts_for(), header_for(pedestal=12.5))
    (frame,) = read_frames(tmp_path / "shot.img")
    assert frame.pedestal == 12.5
    assert frame.simulated


def test_a_tilted_detector_states_where_the_beam_meets_it() -> None:
    tilt = np.radians(20)
    detector = Detector(
        image_size=(70, 90),
        pixel_size_mm=0.172,
        distance_mm=83.25,
        beam_center_px=(20.25, 61.5),
        slow_axis=(float(np.sin(tilt)), float(-np.cos(tilt)), 0.0),
    )
    header = header_for(detector)
    assert header.distance_mm == pytest.approx(83.25)
    assert header.beam_center_px == pytest.approx((20.25, 61.5))
    assert header.main_panel.close_distance_mm == pytest.approx(83.25 * np.cos(tilt))
    # the foot of the perpendicular is off the beam by D tan(tilt) cos(tilt)
    foot = 20.25 - 83.25 * np.sin(tilt) / 0.172
    assert header.closest_px == pytest.approx((foot, 61.5))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_png_keeps_8_and_16_bits(dtype: type[Any], tmp_path: Path) -> None:
    image = np.arange(70 * 90).reshape(70, 90).astype(dtype)
    write_png(tmp_path / "shot.png", image)
    with Image.open(tmp_path / "shot.png") as picture:
        np.testing.assert_array_equal(np.asarray(picture), image)


def test_pgm_is_binary_and_starts_with_the_first_row(tmp_path: Path) -> None:
    image = np.arange(70 * 90).reshape(70, 90).astype(np.uint8)
    write_pgm(tmp_path / "shot.pgm", image)
    assert (tmp_path / "shot.pgm").read_bytes() == b"P5\n90 70\n255\n" + image.tobytes()
    with fabio.open(str(tmp_path / "shot.pgm")) as picture:
        np.testing.assert_array_equal(picture.data, image)


@pytest.mark.parametrize(("name", "write"), WRITERS)
def test_a_file_that_exists_is_kept_and_bytes_repeat(
    name: str, write: Callable[..., None], tmp_path: Path
) -> None:
    path = tmp_path / name
    write(path, counts_for(), header_for())
    before = path.read_bytes()
    with pytest.raises(OutputError, match="exists already"):
        write(path, counts_for(seed=1), header_for())
    assert path.read_bytes() == before
    write(path, counts_for(), header_for(), overwrite=True)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_the_detector_of_these_tests_is_off_centre() -> None:
    assert OFF_CENTRE.beam_center_px != (35, 45)
