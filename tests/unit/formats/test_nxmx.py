"""NXmx: other readers understand it, and the geometry survives."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import fabio
import h5py
import numpy as np
import pytest
from numpy.typing import NDArray

from deepfreak.formats import read_frames
from deepfreak.formats.hdf5.nxmx import nxmx_file, to_mcstas
from deepfreak.physics.detector import Detector
from deepfreak.physics.detector.panel import Modules, PlacedPanel
from tests.unit.formats.made_shots import OFF_CENTRE, counts_for, header_for

TILT = np.radians(15)
TILTED = Detector(
    image_size=(70, 90),
    pixel_size_mm=0.172,
    distance_mm=83.25,
    beam_center_px=(20.25, 61.5),
    fast_axis=(float(np.sin(TILT)), 0.0, float(np.cos(TILT))),
)
PANELS = Detector(
    image_size=(70, 90),
    pixel_size_mm=0.1,
    panels=(
        PlacedPanel(first=(0, 0), image_size=(30, 90), origin_mm=(60.0, 5.0, -4.0)),
        PlacedPanel(
            first=(40, 0),
            image_size=(30, 90),
            origin_mm=(60.0, -1.0, -4.0),
            slow_axis=(-0.6, -0.8, 0.0),
        ),
    ),
)


def write(
    path: Path, detector: Detector, *, count: int = 1, dtype: Any = np.uint16
) -> list[NDArray[Any]]:
    """Write `count` images and return them."""
    images = [counts_for(detector, seed=seed).astype(dtype) for seed in range(count)]
    wavelengths = [1.4876543 + 0.01 * number for number in range(count)]
    noiseless = dtype is np.float32
    with nxmx_file(path, header_for(detector), wavelengths, noiseless=noiseless) as put:
        for number, image in enumerate(images):
            put(number, image)
    return images


def chain(file: h5py.File, path: str) -> NDArray[np.float64]:
    """Return the translation in m that following `depends_on` from `path` adds up to."""
    total = np.zeros(3)
    while path != ".":
        step = file[path]
        assert step.attrs["transformation_type"] == "translation"
        assert step.attrs["units"] == "m"
        assert np.linalg.norm(step.attrs["vector"]) == pytest.approx(1)
        total += step[()] * step.attrs["vector"] + step.attrs["offset"]
        path = step.attrs["depends_on"]
    return total


def test_our_reader_finds_counts_and_geometry_again(tmp_path: Path) -> None:
    (counts,) = write(tmp_path / "shots.h5", OFF_CENTRE)
    (frame,) = read_frames(tmp_path / "shots.h5")
    np.testing.assert_array_equal(frame.counts, counts)
    assert frame.valid.all()
    assert frame.wavelength_A == pytest.approx(1.4876543)
    assert frame.distance_mm == pytest.approx(83.25)
    assert frame.pixel_size_mm == pytest.approx(0.172)
    assert frame.beam_center_px == pytest.approx((20.25, 61.5))
    assert frame.saturation == 65025


def test_each_frame_is_one_compressed_chunk_that_fabio_reads(tmp_path: Path) -> None:
    images = write(tmp_path / "shots.h5", OFF_CENTRE, count=3)
    with h5py.File(tmp_path / "shots.h5") as file:
        data = file["/entry/data/data"]
        assert data.chunks == (1, 70, 90)
        assert data.id.get_create_plist().get_filter(0)[0] == 32008  # bitshuffle
    with fabio.open(f"{tmp_path / 'shots.h5'}::/entry/data/data") as stack:
        assert stack.nframes == 3
        for number, image in enumerate(images):
            np.testing.assert_array_equal(stack.getframe(number).data, image)


def test_each_frame_has_its_wavelength(tmp_path: Path) -> None:
    write(tmp_path / "shots.h5", OFF_CENTRE, count=3)
    with h5py.File(tmp_path / "shots.h5") as file:
        wavelength = file["/entry/instrument/beam/incident_wavelength"]
        assert wavelength.attrs["units"] == "angstrom"
        np.testing.assert_allclose(wavelength[()], [1.4876543, 1.4976543, 1.5076543])


def test_the_groups_that_nxmx_demands_are_there(tmp_path: Path) -> None:
    write(tmp_path / "shots.h5", OFF_CENTRE)
    with h5py.File(tmp_path / "shots.h5") as file:
        assert file["/entry/definition"][()] == b"NXmx"
        for path, nx_class in {
            "/entry": "NXentry",
            "/entry/data": "NXdata",
            "/entry/sample": "NXsample",
            "/entry/source": "NXsource",
            "/entry/instrument": "NXinstrument",
            "/entry/instrument/beam": "NXbeam",
            "/entry/instrument/detector": "NXdetector",
            "/entry/instrument/detector/module": "NXdetector_module",
            "/entry/instrument/detector/transformations": "NXtransformations",
        }.items():
            assert file[path].attrs["NX_class"] == nx_class
        for name in ("start_time", "end_time_estimated", "sample/name", "sample/depends_on"):
            assert name in file["/entry"]
        # corrected = (data + data_offset) * data_scaling_factor
        assert file["/entry/data/data_offset"][()] == -10


@pytest.mark.parametrize("detector", [OFF_CENTRE, TILTED, PANELS])
def test_every_pixel_is_where_the_detector_has_it(detector: Detector, tmp_path: Path) -> None:
    write(tmp_path / "shots.h5", detector)
    expected = to_mcstas(detector.pixel_positions_mm()) * 1e-3
    found = np.full_like(expected, np.nan)
    with h5py.File(tmp_path / "shots.h5") as file:
        group = file["/entry/instrument/detector"]
        modules = [group[name] for name in group if name.startswith("module")]
        for module in modules:
            corner = chain(file, f"{module.name}/module_offset")
            steps = {}
            for axis in ("slow", "fast"):
                direction = module[f"{axis}_pixel_direction"]
                # the direction's own step is one pixel more than the corner
                steps[axis] = chain(file, direction.name) - corner
            first, size = module["data_origin"][()], module["data_size"][()]
            i, j = np.indices(size)[..., None] + 0.5
            region = tuple(slice(a, a + n) for a, n in zip(first, size, strict=True))
            found[region] = corner + i * steps["slow"] + j * steps["fast"]
    assert len(modules) == max(1, len(detector.panels))
    np.testing.assert_allclose(found, expected, atol=1e-9)


def test_mcstas_has_z_along_the_beam_and_y_up() -> None:
    lab = np.eye(3)
    turned = to_mcstas(lab)
    np.testing.assert_array_equal(turned, [[0, 0, 1], [0, 1, 0], [-1, 0, 0]])
    assert np.linalg.det(turned) == pytest.approx(1)
    # a detector that faces the beam, as DECTRIS's file writer describes it
    fast, slow = OFF_CENTRE.axes
    np.testing.assert_array_equal(to_mcstas(fast), [-1, 0, 0])
    np.testing.assert_array_equal(to_mcstas(slow), [0, -1, 0])


def test_gaps_are_in_the_pixel_mask(tmp_path: Path) -> None:
    detector = Detector(
        image_size=(70, 90),
        pixel_size_mm=0.1,
        distance_mm=50,
        modules=Modules(rows=2, columns=2, module_size=(30, 40), gap=(10, 10)),
    )
    write(tmp_path / "shots.h5", detector)
    (frame,) = read_frames(tmp_path / "shots.h5")
    np.testing.assert_array_equal(frame.valid, ~header_for(detector).missing)


def test_an_overload_of_16_bits_is_not_taken_for_a_missing_pixel(tmp_path: Path) -> None:
    counts = counts_for()
    counts[3, 4] = 65535
    header = replace(header_for(), saturation=65535)
    with nxmx_file(tmp_path / "shots.h5", header, [1.5]) as put:
        put(0, counts)
    (frame,) = read_frames(tmp_path / "shots.h5")
    assert frame.valid.all()
    np.testing.assert_array_equal(frame.counts, counts)


def test_expected_photons_stay_floats(tmp_path: Path) -> None:
    (image,) = write(tmp_path / "shots.h5", OFF_CENTRE, dtype=np.float32)
    (frame,) = read_frames(tmp_path / "shots.h5")
    assert frame.counts.dtype == np.float32
    np.testing.assert_array_equal(frame.counts, image)


def test_the_bytes_repeat(tmp_path: Path) -> None:
    write(tmp_path / "a.h5", OFF_CENTRE, count=2)
    write(tmp_path / "b.h5", OFF_CENTRE, count=2)
    assert (tmp_path / "a.h5").read_bytes() == (tmp_path / "b.h5").read_bytes()
