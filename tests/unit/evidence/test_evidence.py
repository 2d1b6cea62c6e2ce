"""The evidence as a whole: its numbers and planes, on frames of any kind."""

import numpy as np
import pytest

from deepfreak.evidence import find_evidence, numbers
from deepfreak.evidence.evidence import Evidence
from deepfreak.formats import read_frames
from tests.unit.evidence.made import flat, made, scattered, spots

DETECTOR_WORDS = ("gain", "noise", "level", "hot_", "size", "shape", "saturat")


def odd(shape, value, dtype=np.uint16):
    return made(np.full(shape, value, dtype))


ODD = {
    "one pixel": odd((1, 1), 3),
    "a row": odd((1, 700), 3),
    "a column": odd((700, 1), 3),
    "black": odd((512, 512), 0),
    "white": odd((512, 512), 65535),
    "all saturated": made(np.full((256, 256), 65535, np.uint16), saturation=65535.0),
    "constant and negative": odd((300, 200), -7, np.int32),
    "no valid pixel": made(np.full((256, 256), 9, np.int32), np.zeros((256, 256), np.bool_)),
    "one valid pixel": made(
        np.full((256, 256), 9, np.int32), np.indices((256, 256)).sum(axis=0) == 0
    ),
    "not finite": made(np.full((128, 128), np.nan, np.float32), np.zeros((128, 128), np.bool_)),
    "huge": made(np.full((128, 128), 1e30, np.float32)),
    "checks": made((np.indices((256, 256)).sum(axis=0) % 2 * 1000).astype(np.int32)),
    "bars": made((np.indices((256, 256))[1] // 5 % 2 * 1000).astype(np.int32)),
}


@pytest.mark.parametrize("name", ODD)
def test_odd_frames_give_finite_numbers_and_no_peaks(name):
    evidence = find_evidence(ODD[name])
    assert isinstance(evidence, Evidence)
    assert all(np.isfinite(value) for value in numbers(evidence).values())
    assert len(evidence.peaks) == 0
    planes = evidence.planes
    for plane in (planes.significance, planes.excess, planes.level, planes.valid):
        assert np.isfinite(plane).all()


def test_numbers_have_the_same_names_in_the_same_order_for_every_frame():
    rng = np.random.default_rng(1)
    full = made(flat(rng, 1 + spots(scattered(rng, 60), 300, 0.8)), beam_center_px=(256.0, 256.0))
    names = [list(numbers(find_evidence(frame))) for frame in (full, ODD["one pixel"])]
    assert names[0] == names[1]
    assert not [name for name in names[0] for word in DETECTOR_WORDS if word in name]


def test_numbers_do_not_tell_detectors_apart():
    """Frames without a crystal give the same numbers whatever gain, noise, level or size."""
    rng = np.random.default_rng(2)
    frames = [
        made(flat(rng, 0.01, (300, 400))),
        made(flat(rng, 50.0, (800, 700)), gain=1.0),
        made(np.rint(rng.normal(2000, 9, (512, 512))).astype(np.uint16)),
        made(rng.normal(0, 0.2, (512, 1024)).astype(np.float32)),
    ]
    found = [numbers(find_evidence(frame)) for frame in frames]
    for name in found[0]:
        values = [one[name] for one in found]
        assert max(values) - min(values) < 0.02, name


def test_planes_show_where_the_light_is():
    rng = np.random.default_rng(3)
    places = scattered(rng, 30, margin=24)
    light = 2 + spots(places, 400, 0.8)
    light[300:340, 300:340] += 0.5
    valid = np.ones((512, 512), np.bool_)
    valid[:16, :24] = False
    planes = find_evidence(made(flat(rng, light), valid, gain=1.0)).planes
    assert planes.significance.shape == (32, 32)
    lit = np.zeros((32, 32), np.bool_)
    lit[tuple((places // 16).astype(int).T)] = True
    assert (planes.significance[lit] > 10).mean() > 0.95
    assert (planes.significance[~lit] < 5).mean() > 0.98
    assert planes.valid[0, 0] == 0
    assert planes.valid[0, 1] == 0.5
    assert np.median(planes.level) == pytest.approx(2, rel=0.1)
    assert planes.significance[0, 0] == planes.level[0, 0] == planes.excess[0, 0] == 0


def test_a_frame_in_any_layout_is_read_alike():
    rng = np.random.default_rng(4)
    counts = flat(rng, 1 + spots(scattered(rng, 30), 300, 0.8))
    one = numbers(find_evidence(made(counts)))
    assert numbers(find_evidence(made(np.asfortranarray(counts)))) == one
    wide = np.zeros((512, 1024), np.int32)
    wide[:, ::2] = counts
    assert numbers(find_evidence(made(wide[:, ::2]))) == one
    frozen = counts.copy()
    frozen.setflags(write=False)
    assert numbers(find_evidence(made(frozen))) == one


# Peaks over 7 that the eye confirms, at least and at most.
REAL = {
    "Cr8F8140k103.0026": (10, 60),
    "Mn23-1_diffScan_0167.tif": (0, 5),
    "MnC22-5_diffScan_0679.tif.bz2": (0, 5),
    "P40_1_3_00000.tif": (0, 10),
    "b191_1_9_1.img": (10, 20),
    "i01f0001.edf.bz2": (25, 60),
    "in16c_010001.cbf": (200, 400),
    "l-cyst_01_00001.cbf.bz2": (5, 20),
    "l-cyst_03_00008.cbf.bz2": (5, 20),
    "snc_newhead_00001.img.bz2": (400, 700),
    "ximg2700_00001.cbf": (250, 450),
}


@pytest.mark.parametrize("name", REAL)
def test_real_frames_show_as_many_peaks_as_the_eye_sees(shared, name):
    path = shared / "real" / name
    if not path.is_file():
        pytest.skip(f"needs {name} in ../shared/real, which is not in this clone")
    (frame,) = read_frames(path)
    least, most = REAL[name]
    assert least <= np.count_nonzero(find_evidence(frame).peaks.z >= 7) <= most


def test_a_real_powder_lies_on_rings_and_real_crystals_do_not(shared):
    if not (shared / "real").is_dir():
        pytest.skip("needs the real frames in ../shared/real, which are not in this clone")
    (powder,) = read_frames(shared / "real" / "somedata_0001.mccd.bz2")
    assert find_evidence(powder).rings.share > 0.8
    for name in ("snc_newhead_00093.img.bz2", "ximg2701_00001.cbf", "in16c_010001.cbf"):
        (crystal,) = read_frames(shared / "real" / name)
        evidence = find_evidence(crystal)
        assert evidence.rings.share < 0.1
        assert evidence.lattices.score > 5
