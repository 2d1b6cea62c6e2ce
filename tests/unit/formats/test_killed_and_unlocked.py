"""Files left open by a killed program, and disks without locks."""

import os
import shutil
import signal
import subprocess
import sys

import h5py
import numpy as np
import pytest

from deepfreak.errors import FrameError
from deepfreak.formats import open_frames
from tests.unit.formats import made

WRITER = """
import sys, time, h5py, numpy as np
path, libver, mode = sys.argv[1:]
file = h5py.File(path, "w", libver=None if libver == "earliest" else libver)
data = file.create_dataset(
    "entry/data/data", (0, 64, 64), np.uint16, maxshape=(None, 64, 64), chunks=(1, 64, 64)
)
if mode == "swmr":
    file.swmr_mode = True
for n in range(3):
    data.resize(n + 1, axis=0)
    data[n] = n + 1
    data.flush()
if mode != "unflushed":
    file.flush()
print("written", flush=True)
time.sleep(600)
"""


def killed(path, libver, mode):
    writer = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(path), libver, mode], stdout=subprocess.PIPE, text=True
    )
    with writer:
        assert writer.stdout.readline() == "written\n"
        writer.send_signal(signal.SIGKILL)
    return path


@pytest.mark.parametrize(("libver", "mode"), [("latest", "swmr"), ("earliest", "flushed")])
def test_what_a_killed_writer_left_whole_is_read(tmp_path, libver, mode):
    with open_frames(killed(tmp_path / "a.h5", libver, mode)) as file:
        assert [file.read(index).counts.max() for index in range(file.count)] == [1, 2, 3]


def test_what_a_killed_writer_left_marked_as_open_is_one_line_that_says_what_to_do(tmp_path):
    killed(tmp_path / "d.h5", "latest", "flushed")
    with h5py.File(tmp_path / "m.h5", "w") as file:
        file["entry/data/data_000001"] = h5py.ExternalLink("d.h5", "/entry/data/data")
    layout = h5py.VirtualLayout((3, 64, 64), np.uint16)
    layout[:] = h5py.VirtualSource("d.h5", "entry/data/data", (3, 64, 64))
    with h5py.File(tmp_path / "v.h5", "w") as file:
        file.create_virtual_dataset("entry/data/data", layout)
    for name in ("d.h5", "m.h5", "v.h5"):
        with pytest.raises(FrameError, match="h5clear -s"), open_frames(tmp_path / name):
            pass


def test_what_a_killed_writer_never_finished_is_one_line(tmp_path):
    path = killed(tmp_path / "a.h5", "earliest", "unflushed")
    with pytest.raises(FrameError, match="expected"), open_frames(path):
        pass


LOCK = """
#include <errno.h>
#include <stdarg.h>
#include <fcntl.h>
int flock(int fd, int op) { errno = ENOLCK; return -1; }
"""
READER = """
import sys
from pathlib import Path
from deepfreak.formats import read_frames
from deepfreak.formats.options import read_mask
mask = read_mask(Path(sys.argv[1]))
for name in sys.argv[2:]:
    print(sum(int(frame.counts.sum()) for frame in read_frames(name, mask=mask)))
"""


@pytest.mark.skipif(shutil.which("cc") is None, reason="needs a C compiler")
def test_disks_without_locks_are_read(tmp_path):
    (tmp_path / "lock.c").write_text(LOCK)
    library = tmp_path / "lock.so"
    subprocess.run(
        ["cc", "-shared", "-fPIC", "-o", str(library), str(tmp_path / "lock.c")], check=True
    )
    frames = np.stack([made.photons((64, 64), seed=i) for i in range(3)]).astype(np.uint16)
    made.eiger(tmp_path, frames, files=1)
    with h5py.File(tmp_path / "plain.h5", "w") as file:
        file["entry/data/data"] = frames
    with h5py.File(tmp_path / "m.h5", "w") as file:
        file["mask"] = np.zeros((64, 64), np.uint8)
    layout = h5py.VirtualLayout(frames.shape, np.uint16)
    layout[:] = h5py.VirtualSource("plain.h5", "entry/data/data", frames.shape)
    with h5py.File(tmp_path / "v.h5", "w") as file:
        file.create_virtual_dataset("entry/data/data", layout)
    names = ["m.h5", "plain.h5", "run_master.h5", "v.h5"]
    said = subprocess.run(
        [sys.executable, "-c", READER, *names],
        env={**os.environ, "LD_PRELOAD": str(library)}, cwd=tmp_path,
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert said.returncode == 0, said.stderr[-500:]
    assert [int(line) for line in said.stdout.split()] == [frames.sum()] * 3
