import tracemalloc

import h5py
import numpy as np
import pytest

from deepfreak.errors import FrameError
from deepfreak.formats import open_frames
from deepfreak.formats.hdf5.coverage import Coverage, first_and_last
from deepfreak.formats.hdf5.links import writing_of

SHAPE = (64, 64)


def room(path, frames, written, *, chunks=(1, *SHAPE)):
    with h5py.File(path, "w") as file:
        data = file.create_dataset("entry/data/data", (frames, *SHAPE), np.uint16, chunks=chunks)
        for number in written:
            data[number] = 1 + number
    return path


def extent(path):
    with h5py.File(path) as file:
        return first_and_last(Coverage(file["entry/data/data"], 2).runs())


def test_frames_that_are_only_declared_cost_no_memory(tmp_path):
    path = room(tmp_path / "a.h5", 200_000_000, [0, 1, 7])
    tracemalloc.start()
    try:
        assert extent(path) == (2, 8)
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


def test_nobody_writes_a_file_that_is_closed(tmp_path):
    writing = writing_of(room(tmp_path / "a.h5", 1, [0]))
    assert (writing.line, writing.readable, writing.locked) == (None, True, False)


def test_a_writer_is_known_by_its_lock_and_by_its_mark(tmp_path):
    path = tmp_path / "a.h5"
    with h5py.File(path, "w"):
        assert writing_of(path).locked
    with h5py.File(path, "w", libver="latest", locking=False) as file:
        assert (writing_of(path).readable, writing_of(path).locked) == (False, False)
        with pytest.raises(FrameError, match="wait for it"), open_frames(path, growing=True):
            pass
        file.swmr_mode = True
        assert writing_of(path).readable
        assert "SWMR" in writing_of(path).line
    assert writing_of(path).line is None


def test_a_mark_behind_a_user_block_is_found(tmp_path):
    path = tmp_path / "a.h5"
    with h5py.File(path, "w", libver="latest", userblock_size=2048, locking=False):
        assert not writing_of(path).readable


@pytest.mark.parametrize("content", [b"", b"\x89HDF", b"x" * 5000, b"\x89HDF\r\n\x1a\n"])
def test_what_is_no_hdf5_has_no_writer(tmp_path, content):
    path = tmp_path / "a.h5"
    path.write_bytes(content)
    assert writing_of(path).line is None


@pytest.mark.parametrize(
    ("written", "expected"),
    [(range(4), (4, 4)), ([0, 1], (2, 2)), ([0, 1, 3], (2, 4)), ([2], (0, 3)), ([], (0, 0))],
)
def test_frames_that_were_written_are_told_from_room_for_them(tmp_path, written, expected):
    assert extent(room(tmp_path / "a.h5", 4, written)) == expected


def test_a_frame_counts_when_all_its_chunks_are_there(tmp_path):
    path = room(tmp_path / "a.h5", 3, [0], chunks=(1, 32, 64))
    with h5py.File(path, "a") as file:
        file["entry/data/data"][1, :32] = 5
    assert extent(path) == (1, 1)
    with open_frames(path) as file, pytest.raises(FrameError, match="frame 1.*none were written"):
        file.read(1)


def test_contiguous_data_are_there_once_anything_was_written(tmp_path):
    assert extent(room(tmp_path / "a.h5", 3, [], chunks=None)) == (0, 0)
    assert extent(room(tmp_path / "b.h5", 3, [0], chunks=None)) == (3, 3)


def test_a_virtual_stack_has_the_frames_of_its_sources(tmp_path):
    layout = h5py.VirtualLayout((6, *SHAPE), np.uint16)
    for place, name in enumerate(["a.h5", "b.h5"]):
        source = h5py.VirtualSource(name, "entry/data/data", (3, *SHAPE))
        layout[3 * place : 3 * place + 3] = source
    with h5py.File(tmp_path / "all.h5", "w") as file:
        file.create_virtual_dataset("entry/data/data", layout)
    assert extent(tmp_path / "all.h5") == (0, 0)
    room(tmp_path / "a.h5", 3, range(3))
    assert extent(tmp_path / "all.h5") == (3, 3)
    room(tmp_path / "b.h5", 3, [0, 1])
    assert extent(tmp_path / "all.h5") == (5, 5)


def test_a_frame_that_was_never_written_is_no_blank(tmp_path):
    with open_frames(room(tmp_path / "a.h5", 3, [0, 2])) as file:
        assert file.read(0).counts[0, 0] == 1
        with pytest.raises(FrameError, match="none were written"):
            file.read(1)
        assert file.read(2).counts[0, 0] == 3


def test_a_look_tells_what_is_awaited(tmp_path):
    path = room(tmp_path / "a.h5", 3, [0])
    with open_frames(path, growing=True) as file:
        extent = file.look()
    assert (extent.ready, extent.written, extent.expected) == (1, 1, 3)
    assert extent.waiting == "1 of its 3 frames were written"
    with h5py.File(tmp_path / "m.h5", "w") as file:
        file["entry/data/data_000001"] = h5py.ExternalLink("later.h5", "/entry/data/data")
    with open_frames(tmp_path / "m.h5", growing=True) as file:
        extent = file.look()
    assert (extent.ready, extent.expected, extent.missing_file) == (0, None, True)
    assert "later.h5" in extent.waiting
