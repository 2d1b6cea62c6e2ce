"""The frames in ../shared/real: read completely, with gaps and shadows where they are visible."""

import numpy as np
import pytest

from deepfreak.formats import find_files, read_frames
from deepfreak.preparation import prepare

# (factor, valid share of the prepared image, its median where valid)
EXPECTED = {
    "Cr8F8140k103.0026": (1, 0.821, 12),
    "Mn23-1_diffScan_0167.tif": (2, 0.888, 11),
    "MnC22-5_diffScan_0679.tif.bz2": (2, 0.888, 11),
    "Sa1_40s_067.tif.bz2": (2, 0.786, 23),
    "P40_1_3_00000.tif": (2, 0.894, 4),
    "b191_1_9_1.img": (1, 1.0, 3),
    "ceria_Pilatus2M.hdf5": (3, 0.874, 62),
    "corkcont2_H_0089.mccd.bz2": (4, 0.991, 0),
    "i01f0001.edf.bz2": (1, 1.0, 8),
    "in16c_010001.cbf": (1, 0.871, 4),
    "l-cyst_01_00001.cbf.bz2": (3, 0.879, 3),
    "l-cyst_03_00008.cbf.bz2": (3, 0.879, 3),
    "simtbx_FormatSMVJHSim_001.img": (2, 1.0, 3),
    "snc_newhead_00001.img.bz2": (2, 0.958, 52),
    "snc_newhead_00045.img.bz2": (2, 0.958, 39),
    "snc_newhead_00093.img.bz2": (2, 0.958, 40),
    "somedata_0001.mccd.bz2": (2, 0.784, 21),
    "ximg2700_00001.cbf": (1, 0.885, 21),
    "ximg2701_00001.cbf": (1, 0.885, 21),
}


@pytest.fixture(scope="module")
def real(shared):
    folder = shared / "real"
    if not folder.is_dir():
        pytest.skip("needs measured frames in ../shared/real: too large for the repository")
    return folder


def test_every_real_frame_is_found(real):
    assert {path.name for path in find_files([real])} == set(EXPECTED)


@pytest.mark.parametrize("name", EXPECTED)
def test_a_real_frame_is_read_and_prepared(real, name):
    (frame,) = read_frames(real / name)
    prepared = prepare(frame)
    factor, share, median = EXPECTED[name]
    assert prepared.factor == factor
    assert prepared.valid.mean() == pytest.approx(share, abs=0.003)
    assert np.median(prepared.image[prepared.valid]) == median


def test_beamstops_seen_by_eye_are_missing(real):
    (frame,) = read_frames(real / "in16c_010001.cbf")
    assert not prepare(frame).valid[240:265, 245:265].any()
    (frame,) = read_frames(real / "ximg2700_00001.cbf")
    assert not prepare(frame).valid[240:260, 14:24].any()
