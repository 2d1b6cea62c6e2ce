"""Files of other programs that were once read wrongly, and what is right (data/cases.tar.xz).

The same kinds are also synthesised, with variants, in `test_hdf5_virtual` (1, 7), `test_crystfel`
(2, 8, 13), `test_hdf5_metadata` (3, 5, 6, 11, 12, 14, 15, byte order), `test_cbf` (4, 10),
`test_tiff` (4, 9), `test_dials_and_pyfai` (bad numbers) and `test_killed_and_unlocked`.
"""

import shutil
import tarfile
from pathlib import Path

import numpy as np
import pytest

from deepfreak.errors import DeepFreakError, FrameError
from deepfreak.formats import find_files, open_frames, read_geometry
from deepfreak.reports.inspection import describe


@pytest.fixture(scope="module")
def cases(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cases")
    with tarfile.open(Path(__file__).parent / "data/cases.tar.xz") as archive:
        archive.extractall(folder, filter="data")
    return folder


def inspected(path, geometry=None, **options):
    if geometry is not None:
        options["geometry"] = read_geometry(geometry)
    with open_frames(path, reasons=True, **options) as file:
        return describe(file.read(0), file.count)


RIGHT = {
    "file-03-signed-with-pixel-mask/jf_master.h5": {"valid": 16384, "frames": 2, "gain": None},
    "file-03-signed-with-pixel-mask/jf_nomask.h5": {"valid": 16384, "frames": 2, "gain": None},
    "file-04-unsigned-sentinels/few_ffffffff.h5": {"valid": 16364, "gain": 1.0},
    "file-04-unsigned-sentinels/eiger_u4.cbf": {"valid": 15360, "gain": 1.0},
    "file-04-unsigned-sentinels/eiger_gap.tif": {"valid": 15360, "gain": 1.0},
    "file-04-unsigned-sentinels/ok_when_SLS_1.0.cbf": {"valid": 15360, "gain": 1.0},
    "file-05-saturated-at-the-top/s_master.h5": {
        "valid": 15872,
        "missing": {"detector's mask": 512},
        "saturated": 900,
    },
    "file-06-cutoff-in-detectorSpecific/c.h5": {"saturation": 38086.0, "saturated": 900},
    "file-09-bigtiff-stack/stack.tif": {"frames": 5},
    "file-09-bigtiff-stack/stack_big.tif": {"frames": 5},
    "file-11-scaling-factor/sf.h5": {"gain": 10.0, "valid": 16384},
    "file-12-id29-jungfrau-and-sacla/id29.h5": {
        "gain": 93.0,
        "missing": {"detector's mask": 640},
        "saturation": 2000000.0,
        "beam_center_px": [60.0, 70.0],
    },
    "file-14-two-thresholds/w_master.h5": {"frames": 3, "shape": [128, 128]},
    "file-15-mask-announced/mask_empty.h5": {"missing": {}, "notes": []},
}


@pytest.mark.parametrize("name", RIGHT)
def test_a_case_is_understood_as_its_readme_says(cases, name):
    found = inspected(cases / name)
    assert {key: found[key] for key in RIGHT[name]} == RIGHT[name]


@pytest.mark.parametrize(
    ("case", "data", "geometry", "right"),
    [
        ("file-02-crystfel-energy-from-file", "cspad.h5", "energy_path.geom", {"gain": 32.11}),
        ("file-02-crystfel-energy-from-file", "cspad.h5", "literal.geom", {"gain": 32.11}),
        ("file-08-crystfel-bad-pixels", "g.h5", "no_index.geom", {"valid": 8192}),
        ("file-08-crystfel-bad-pixels", "g.h5", "clen_mm.geom", {"distance_mm": 100.0}),
        ("file-08-crystfel-bad-pixels", "g.h5", "plain.geom", {"valid": 16384}),
    ],
)
def test_a_case_with_a_geometry_is_understood(cases, case, data, geometry, right):
    found = inspected(cases / case / data, cases / case / geometry)
    assert {key: found[key] for key in right} == pytest.approx(right, abs=0.01)


def test_a_stack_whose_source_is_an_external_link_to_nothing_names_the_file(cases):
    with pytest.raises(FrameError, match=r"therm_like_000001\.h5"):
        inspected(cases / "file-01-vds-through-own-link" / "therm_like.nxs")


def test_links_are_followed_as_hdf5_does(cases, tmp_path):
    shutil.copytree(cases / "file-07-links-that-hdf5-follows" / "run", tmp_path / "run")
    (tmp_path / "links").mkdir()
    for name in ("vds.h5", "master.h5"):
        (tmp_path / "links" / name).symlink_to(f"../run/{name}")
    names = ("links/vds.h5", "links/master.h5", "run/abs_master.h5", "run/abs_vds.h5")
    assert [inspected(tmp_path / name)["frames"] for name in names] == [2] * 4


def test_a_checksum_that_does_not_match_is_said(cases):
    folder = cases / "file-10-checksum-in-cbf"
    assert inspected(folder / "whole.cbf")["notes"] == []
    (note,) = inspected(folder / "flipped.cbf")["notes"]
    assert "Content-MD5" in note


def test_a_geometry_for_native_files_gives_the_whole_run(cases):
    folder = cases / "file-13-eiger-geometry-on-a-run-folder"
    geometry = read_geometry(folder / "eiger.geom")
    files = find_files([folder / "run"], geometry)
    assert sum(inspected(file, folder / "eiger.geom")["frames"] for file in files) == 6


def test_a_mask_that_is_announced_and_missing_is_said(cases):
    found = inspected(cases / "file-15-mask-announced" / "mask_linked_missing.h5")
    assert found["missing"] == {}
    (note,) = found["notes"]
    assert "run_meta.h5" in note


@pytest.mark.parametrize(
    "name", ["bad.poni", "d_gain.expt", "d_off.expt", "inf.poni", "regex1000.geom"]
)
def test_numbers_without_bounds_are_one_line(cases, name):
    with pytest.raises(DeepFreakError) as caught:
        read_geometry(cases / "break-geometry" / name)
    assert name in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 600


def test_big_endian_counts_are_native(cases):
    with open_frames(cases / "break-byte-order" / "be_u2be.h5") as file:
        counts = file.read(0).counts
    assert counts.dtype == np.dtype(np.uint16)
    assert counts.dtype.isnative
