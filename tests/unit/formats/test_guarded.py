"""Files that could stop a program, read in a process with limits; other frames stay equal."""

import os
import time
from contextlib import closing
from dataclasses import fields, replace

import h5py
import numpy as np
import pytest

from deepfreak.errors import FrameError, GeometryError, ReadingStoppedError
from deepfreak.formats import guarded
from deepfreak.formats.files import find_files, open_frames
from deepfreak.formats.frame import Frame
from deepfreak.formats.geometry import read_geometry
from deepfreak.formats.guarded import (
    find_files_guarded,
    frame_from,
    load_guarded,
    open_guarded,
    plain_frame,
)
from deepfreak.formats.options import ReadSettings
from deepfreak.isolation import LimitedProcess, Limits
from deepfreak.models import load_model
from deepfreak.screening.screener import Screener, screen_files
from deepfreak.screening.verdict import Failure
from tests.unit.formats import made

SHAPE = (64, 96)
QUICK = Limits(cpu_s=1.0, idle_s=1.0)


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr(guarded, "limits_for", lambda _: QUICK)


def endless(folder):
    (folder / "b-endless.cbf.bz2").write_bytes(made.slow_bz2())


def group_at_a_pipe(folder):
    os.mkfifo(folder / "pipe")
    with h5py.File(folder / "b-group.h5", "w") as file:
        file["entry"] = h5py.ExternalLink("pipe", "/entry")


def pixels_at_a_pipe(folder):
    os.mkfifo(folder / "pipe")
    with h5py.File(folder / "b-pixels.h5", "w") as file:
        size = 2 * SHAPE[0] * SHAPE[1]
        file.create_dataset(
            "entry/data/data", (1, *SHAPE), "u2", external=[(str(folder / "pipe"), 0, size)]
        )


def frames_that_nobody_wrote(folder):
    with h5py.File(folder / "b-frames.h5", "w") as file:
        file.create_dataset("entry/data/data", (200_000_000, *SHAPE), "u2", chunks=(1, *SHAPE))


def huge_frame(folder):
    (folder / "b-huge.cbf").write_bytes(
        made.cbf(made.photons(SHAPE)).replace(
            b"Fastest-Dimension: 96", b"Fastest-Dimension: 9999999"
        )
    )


def rubbish(folder):
    (folder / "b-rubbish.img").write_bytes(bytes(3000))


HOSTILE = [
    endless,
    group_at_a_pipe,
    pixels_at_a_pipe,
    frames_that_nobody_wrote,
    huge_frame,
    rubbish,
]


def same(one, other):
    for each in fields(Frame):
        mine, theirs = getattr(one, each.name), getattr(other, each.name)
        if isinstance(mine, np.ndarray):
            np.testing.assert_array_equal(mine, theirs)
            assert mine.dtype == theirs.dtype
        else:
            assert mine == theirs
            assert type(mine) is type(theirs)


@pytest.mark.parametrize("growing", [False, True])
def test_frames_are_those_of_the_reader_itself(tmp_path, growing):
    (tmp_path / "a.cbf").write_bytes(made.cbf(made.photons(SHAPE)))
    (tmp_path / "a.img").write_bytes(made.smv(made.photons(SHAPE)))
    made.eiger(tmp_path, np.stack([made.photons(SHAPE, seed=i) for i in range(4)]))
    for path in find_files([tmp_path]):
        with (
            open_frames(path, growing=growing) as here,
            open_guarded(path, growing=growing) as there,
        ):
            assert there.count == here.count
            if growing or here.look is not None:
                assert there.look() == here.look()
            for index in range(here.count):
                same(there.read(index), here.read(index))


def test_mask_and_geometry_are_sent_once(tmp_path, monkeypatch):
    (tmp_path / "a.cbf").write_bytes(made.cbf(made.photons(SHAPE)))
    (tmp_path / "a.geom").write_text(
        "p/min_fs = 0\np/max_fs = 95\np/min_ss = 0\np/max_ss = 63\np/corner_x = -40\n"
        "p/corner_y = -30\np/fs = -x\np/ss = y\ndata = /data\n"
    )
    mask = np.zeros(SHAPE, np.bool_)
    mask[3, 5] = True
    np.save(tmp_path / "m.npy", mask)
    read = load_guarded(ReadSettings(mask=tmp_path / "m.npy"))["mask"]
    np.testing.assert_array_equal(read, mask)
    options = {"mask": read, "geometry": read_geometry(tmp_path / "a.geom")}
    with (
        open_frames(tmp_path / "a.cbf", **options) as here,
        open_guarded(tmp_path / "a.cbf", **options) as there,
    ):
        same(there.read(0), here.read(0))
    calls = []
    ask = type(guarded.shared_process()).call
    monkeypatch.setattr(
        type(guarded.shared_process()),
        "call",
        lambda self, function, *args, **more: (
            calls.append(function.__name__) or ask(self, function, *args, **more)
        ),
    )
    for changed in (options, dict(options), options | {"mask": None}):
        with (
            open_frames(tmp_path / "a.cbf", **changed) as here,
            open_guarded(tmp_path / "a.cbf", **changed) as there,
        ):
            same(there.read(0), here.read(0))
    assert calls.count("_remember") == 1
    with pytest.raises(GeometryError, match=r"none\.npy"):
        load_guarded(ReadSettings(mask=tmp_path / "none.npy"))


def test_errors_are_those_of_the_reader_itself(tmp_path):
    (tmp_path / "a.cbf").write_bytes(made.cbf(made.photons(SHAPE))[:-4000])
    for path in (tmp_path / "a.cbf", tmp_path / "nothing.cbf", tmp_path):
        said = []
        for opener in (open_frames, open_guarded):
            with pytest.raises(FrameError) as caught, opener(path) as file:
                file.read(0)
            said.append(str(caught.value))
        assert said[0] == said[1]


@pytest.mark.timing
@pytest.mark.parametrize("make", HOSTILE, ids=lambda one: one.__name__)
def test_a_file_that_could_stop_a_program_is_one_record_and_the_rest_goes_on(tmp_path, quick, make):
    (tmp_path / "a.cbf").write_bytes(made.cbf(made.photons((512, 512))))
    make(tmp_path)
    (tmp_path / "c.img").write_bytes(made.smv(made.photons((512, 512))))
    start = time.monotonic()
    files = find_files_guarded([tmp_path])
    results = list(screen_files(files, Screener(load_model())))
    assert time.monotonic() - start < 25
    good = [result for result in results if not isinstance(result, Failure)]
    assert [path.rpartition("/")[2] for path in (good[0].file, good[-1].file)] == ["a.cbf", "c.img"]
    (bad,) = (result for result in results if isinstance(result, Failure))
    assert "b-" in bad.file
    assert bad.error.startswith(("expected", "cannot be read"))
    assert bad.error.isprintable()


@pytest.mark.slow
@pytest.mark.parametrize(
    "make", [endless, frames_that_nobody_wrote, huge_frame], ids=lambda one: one.__name__
)
def test_memory_stays_bounded(tmp_path, make):
    make(tmp_path)
    (path,) = tmp_path.glob("b-*")
    process = guarded.shared_process()
    process.call(abs, 1)
    rss = process._running._rss
    before = most = rss()

    def watched():
        nonlocal most
        most = max(most, rss())
        return most

    process._running._rss = watched
    with pytest.raises(FrameError), open_guarded(path) as file:
        file.read(0)
    assert most - before < 1 << 30


def stuck_at_the_second(key, index):
    """Read a frame in the process with limits; the second one hangs."""
    time.sleep(60 if index == 1 else 0)
    return guarded._read(key, index)


def stuck_behind_the_first(key, index):
    time.sleep(60 if index else 0)
    return guarded._read(key, index)


def test_a_frame_at_which_reading_is_stopped_leaves_the_others(tmp_path, quick, monkeypatch):
    monkeypatch.setattr(guarded, "_read", stuck_at_the_second)
    made.eiger(tmp_path, np.stack([made.photons(SHAPE)] * 3), name="a")
    with open_guarded(tmp_path / "a_master.h5") as file:
        assert file.read(0).counts.shape == SHAPE
        with pytest.raises(ReadingStoppedError):
            file.read(1)
        assert file.read(2).counts.shape == SHAPE


@pytest.mark.timing
def test_a_file_whose_frames_stop_reading_again_and_again_is_given_up(tmp_path, quick, monkeypatch):
    monkeypatch.setattr(guarded, "_read", stuck_behind_the_first)
    made.eiger(tmp_path, np.stack([made.photons(SHAPE)] * 40), name="a")
    start = time.monotonic()
    results = list(screen_files([tmp_path / "a_master.h5"], Screener(load_model())))
    assert time.monotonic() - start < 20
    assert len(results) == 2 + guarded.MAX_STOPS
    assert "the others were not tried" in results[-1].error


def test_a_process_that_has_kept_much_is_replaced_at_the_next_file(tmp_path):
    (tmp_path / "a.cbf").write_bytes(made.cbf(made.photons(SHAPE)))
    with closing(LimitedProcess(modules=guarded.MODULES, max_kept_bytes=-1)) as process:
        process.call(abs, 1)
        generation = process.generation
        with open_guarded(tmp_path / "a.cbf", process=process) as file:
            file.read(0)
        assert process.generation != generation


def test_a_file_is_opened_again_when_another_one_has_ended_the_process(tmp_path, quick):
    (tmp_path / "a.cbf").write_bytes(made.cbf(made.photons(SHAPE)))
    endless(tmp_path)
    with open_guarded(tmp_path / "a.cbf") as file:
        with pytest.raises(ReadingStoppedError), open_guarded(tmp_path / "b-endless.cbf.bz2"):
            pass
        assert file.read(0).counts.shape == SHAPE


@pytest.mark.parametrize(
    "wrong",
    [
        {"valid": np.ones((3, 3), np.bool_)},
        {"valid": np.ones(SHAPE, np.uint8)},
        {"counts": np.zeros((2, *SHAPE), np.uint16)},
        {"counts": "text"},
        {"counts": np.zeros((0, 0)), "valid": np.zeros((0, 0), np.bool_)},
    ],
    ids=range(5),
)
def test_what_is_no_frame_is_refused(wrong):
    frame = Frame(file="a", index=0, counts=made.photons(SHAPE), valid=np.ones(SHAPE, np.bool_))
    same(frame_from(plain_frame(frame)), frame)
    with pytest.raises(FrameError):
        frame_from(plain_frame(replace(frame, **wrong)))


@pytest.mark.parametrize("dtype", [">u2", ">i4", ">f4", ">f8", "<f2", ">u8", "<i8"])
def test_counts_of_any_byte_order_are_native(tmp_path, dtype):
    image = made.photons((512, 512))
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["entry/data/data"] = image[None].astype(dtype)
    with open_guarded(tmp_path / "a.h5") as file:
        frame = file.read(0)
    assert frame.counts.dtype.isnative
    np.testing.assert_array_equal(frame.counts, image)
    Screener(load_model())(frame)
