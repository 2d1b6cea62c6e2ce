"""Damaged files of all kinds: read, or refused in one line, in seconds and with little memory.

The slow ones damage every real frame, and every kind of file that is read beside frames, as often
as `DEEPFREAK_FUZZ_COPIES` says; the others do the same to small files, a few times.
"""

import os

import h5py
import hdf5plugin
import numpy as np
import pytest

from tests import fuzz_samples, fuzzing
from tests.fuzzing import Fuzzer
from tests.live import folder_writers as writers
from tests.unit.formats import made

COPIES = int(os.environ.get("DEEPFREAK_FUZZ_COPIES", "500"))
FEW = 12
REAL = [
    "Cr8F8140k103.0026",
    "Mn23-1_diffScan_0167.tif",
    "MnC22-5_diffScan_0679.tif.bz2",
    "P40_1_3_00000.tif",
    "Sa1_40s_067.tif.bz2",
    "b191_1_9_1.img",
    "ceria_Pilatus2M.hdf5",
    "corkcont2_H_0089.mccd.bz2",
    "i01f0001.edf.bz2",
    "in16c_010001.cbf",
    "l-cyst_01_00001.cbf.bz2",
    "l-cyst_03_00008.cbf.bz2",
    "simtbx_FormatSMVJHSim_001.img",
    "snc_newhead_00001.img.bz2",
    "snc_newhead_00045.img.bz2",
    "snc_newhead_00093.img.bz2",
    "somedata_0001.mccd.bz2",
    "ximg2700_00001.cbf",
    "ximg2701_00001.cbf",
]
KINDS = [
    "geom", "poni", "expt", "recipe", "mmcif", "pdb", "mtz", "onnx", "forest", "model",
    "safetensors",
]  # fmt: skip
ARCHIVES = {"forest", "model", "safetensors"}
COUNTS = made.photons((200, 150))


@pytest.fixture
def fuzzer(tmp_path):
    (tmp_path / "copies").mkdir()
    fuzzer = Fuzzer(tmp_path / "copies")
    yield fuzzer
    fuzzer.process.close()


@pytest.fixture(scope="module")
def samples(tmp_path_factory):
    return fuzz_samples.samples(tmp_path_factory.mktemp("samples") / "made")


def require_harmless(fuzzer):
    """Fail on results that are not allowed; a process stopped by its limits is allowed."""
    told = dict(fuzzer.counts), round(fuzzer.longest_s, 1), fuzzer.most_bytes >> 20
    print("counts, seconds, MB:", *told, *fuzzer.stopped[:5], sep="\n  ")  # noqa: T201
    assert fuzzer.faults == []
    assert fuzzer.longest_s < fuzzing.MAX_DURATION_S
    assert fuzzer.most_bytes < fuzzing.MAX_BYTES


@pytest.mark.slow
@pytest.mark.parametrize("name", REAL)
def test_damaged_real_frames_harm_nothing(shared, fuzzer, name):
    path = shared / "real" / name
    if not path.is_file():
        pytest.skip(f"needs the real frame {name} in ../shared/real, which is not in this clone")
    fuzzer.run(path, fuzzing.frame, copies=COPIES, stops_allowed=True)
    require_harmless(fuzzer)
    assert len(fuzzer.stopped) < COPIES / 20


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_damaged_files_of_other_kinds_harm_nothing(samples, fuzzer, kind):
    path, read, arguments = samples[kind]
    fuzzer.run(path, read, *arguments, copies=COPIES)
    require_harmless(fuzzer)


@pytest.mark.parametrize("kind", ["cbf", "smv", "tiff", "edf", "mar", "hdf5", "eiger", "bz2"])
def test_a_few_damaged_frames_harm_nothing(tmp_path, fuzzer, kind):
    fuzzer.run(made_frame(tmp_path, kind), fuzzing.frame, copies=FEW, stops_allowed=True)
    require_harmless(fuzzer)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in ARCHIVES])
def test_a_few_damaged_files_of_other_kinds_harm_nothing(samples, fuzzer, kind):
    path, read, arguments = samples[kind]
    fuzzer.run(path, read, *arguments, copies=FEW)
    require_harmless(fuzzer)


def test_the_same_copies_are_made_again(tmp_path):
    import random

    path = made_frame(tmp_path, "cbf")
    one, other = (
        [fuzzing.damaged_file(path, rng) for _ in range(20)]
        for rng in (random.Random("a"), random.Random("a"))  # noqa: S311
    )
    assert one == other
    assert len({content for _, content in one}) > 15


def made_frame(folder, kind):
    """Write a small file of a format; return its path."""
    if kind == "eiger":
        return made.eiger(folder, np.stack([COUNTS, COUNTS]))
    if kind == "hdf5":
        with h5py.File(folder / "a.h5", "w") as file:
            packed = hdf5plugin.Bitshuffle(cname="lz4")
            file.create_dataset("entry/data/data", data=COUNTS[None], chunks=True, **packed)
        return folder / "a.h5"
    content = {
        "cbf": lambda: made.cbf(COUNTS),
        "smv": lambda: made.smv(COUNTS),
        "tiff": lambda: writers.tiff(COUNTS),
        "edf": lambda: made.edf(COUNTS),
        "mar": lambda: made.mar(COUNTS),
        "bz2": lambda: writers.content(3)[1],
    }[kind]()
    suffix = {"smv": "img", "tiff": "tif", "mar": "mccd", "bz2": "img.bz2"}.get(kind, kind)
    path = folder / f"a.{suffix}"
    path.write_bytes(content)
    return path
