"""Real programs write files badly; each frame arrives once, and none is missed."""

import contextlib
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import h5py
import numpy as np
import pytest

from deepfreak.errors import FrameError, GeometryError, InputError
from deepfreak.formats.hdf5.links import writing_of
from deepfreak.formats.options import ReadSettings
from deepfreak.isolation import Limits
from deepfreak.live.messages import Arrival, SeriesBegan, SeriesEnded, Trouble
from deepfreak.live.receive.folder.decode import decoder
from deepfreak.live.receive.folder.inspect import InspectionPool
from deepfreak.live.receive.folder.source import FolderSource
from tests.live import folder_writers as writers
from tests.unit.formats import made

ROOT = Path(__file__).parents[2]
PROGRAM = [sys.executable, "-m", "tests.live.folder_writers"]
NATIVE = """photon_energy = 22000
adu_per_photon = 1
res = 13333.3
clen = 0.1
dim0 = %
dim1 = ss
dim2 = fs
data = /entry/data/data
0/min_fs = 0
0/max_fs = 149
0/min_ss = 0
0/max_ss = 129
0/corner_x = -64
0/corner_y = -64
"""
QUICK = {"settle_s": 0.1, "poll_s": 0.03, "patience_s": 0.6}


class Ledger:
    """The events of a source, and the recorded ones."""

    def __init__(self):
        self.began, self.arrived, self.ended, self.troubles = {}, [], {}, []
        self.recorded = {}

    def known(self, series):
        return self.recorded.get(series, 0)

    def context_of(self, series):
        return self.began[series].context if series in self.began else None

    def note(self, event):
        if isinstance(event, SeriesBegan):
            assert event.kind == "file"
            self.began.setdefault(event.series, event)
        elif isinstance(event, Arrival):
            assert event.series in self.began
            self.arrived.append((event.series, event.number))
            self.recorded[event.series] = max(self.known(event.series), event.number + 1)
        elif isinstance(event, SeriesEnded):
            self.ended[event.series] = event.expected
        elif isinstance(event, Trouble):
            assert "\n" not in event.message
            self.troubles.append(event.message)

    def frame(self, series, number=0):
        decode = decoder(self.began[series].context, series=series, patience_s=0.3)
        try:
            return decode(b"", number)
        finally:
            decode.close()

    def numbers(self, series):
        return [number for name, number in self.arrived if name == series]


class Watch:
    """A source that is polled until a condition holds."""

    def __init__(self, *paths, ledger=None, **settings):
        self.ledger = ledger or Ledger()
        source = FolderSource(
            paths,
            known=self.ledger.known,
            context_of=self.ledger.context_of,
            **(QUICK | settings),
        )
        self.events = source.events()

    def until(self, is_so, *, within_s=60.0):
        end = time.monotonic() + within_s
        for event in self.events:
            self.ledger.note(event)
            if is_so(self.ledger):
                return self.ledger
            assert time.monotonic() < end, (self.ledger.arrived[-5:], self.ledger.troubles)
        raise AssertionError("the source has ended")

    def run(self):
        for event in self.events:
            self.ledger.note(event)
        return self.ledger

    def for_a_while(self, seconds=0.4):
        end = time.monotonic() + seconds
        return self.until(lambda _: time.monotonic() > end)


@contextlib.contextmanager
def writer(name, *arguments):
    """Run one of `folder_writers`; yield the function that makes it take a step."""
    with subprocess.Popen(
        [*PROGRAM, name, *map(str, arguments)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    ) as process:

        def step(line=""):
            process.stdin.write(f"{line}\n")
            process.stdin.flush()
            assert process.stdout.readline() == "ready\n"

        assert process.stdout.readline() == "ready\n"
        step.process = process
        try:
            yield step
        finally:
            process.stdin.close()
            process.wait()


def write(path, number):
    path.write_bytes(made.smv(writers.counts(number)))
    return path


def has(*arrivals):
    return lambda ledger: set(arrivals) <= set(ledger.arrived)


@pytest.mark.parametrize("each", [400, pytest.param(3000, marks=pytest.mark.slow)])
def test_each_of_thousands_of_files_that_are_written_badly_arrives_once_and_whole(tmp_path, each):
    count = 3 * each
    programs = [
        subprocess.Popen(
            [*PROGRAM, "small_files", str(tmp_path), str(first), str(each), "4"],
            cwd=ROOT,
        )
        for first in range(0, count, each)
    ]
    ledger = Watch(tmp_path).until(lambda ledger: len(ledger.arrived) >= count, within_s=300)
    assert [program.wait() for program in programs] == [0, 0, 0]
    Watch(tmp_path, ledger=ledger, until_idle_s=0.3).run()
    assert len(ledger.arrived) == len(set(ledger.arrived)) == count
    assert ledger.troubles == []
    names = {series for series, _ in ledger.arrived}
    assert names == {
        f"run{number % 3}/a{number:06d}{writers.content(number)[0]}" for number in range(count)
    }
    for series in sorted(names)[::37]:
        number = int(series.split("/a")[1][:6])
        assert writers.number_of(ledger.frame(series)) == number


def test_a_file_is_announced_with_its_name_and_how_many_frames_it_has(tmp_path):
    write(tmp_path / "a.img", 5)
    ledger = Watch(tmp_path, until_idle_s=0.3).run()
    assert ledger.began["a.img"].expected == 1
    assert ledger.ended == {"a.img": 1}
    frame = ledger.frame("a.img")
    assert (frame.file, frame.index, writers.number_of(frame)) == ("a.img", 0, 5)


@pytest.mark.parametrize("kind", [0, 1, 2, 3])
def test_a_half_written_file_is_waited_for(tmp_path, kind):
    suffix, data = writers.content(kind)
    watch = Watch(tmp_path, patience_s=60)
    path = tmp_path / f"a{suffix}"
    path.write_bytes(data[: len(data) * 2 // 3])
    assert watch.for_a_while().arrived == []
    with path.open("ab") as file:
        file.write(data[len(data) * 2 // 3 :])
    ledger = watch.until(has((path.name, 0)))
    assert writers.number_of(ledger.frame(path.name)) == kind


def test_a_file_that_stays_half_is_given_out_to_be_recorded_and_once_more_when_it_is_whole(
    tmp_path,
):
    data = made.smv(writers.counts(3))
    path = tmp_path / "a.img"
    path.write_bytes(data[:3000])
    watch = Watch(tmp_path)
    ledger = watch.until(has(("a.img", 0)))
    with pytest.raises(FrameError, match="truncated"):
        ledger.frame("a.img")
    path.write_bytes(data)
    watch.until(has(("a.img (2)", 0)))
    assert writers.number_of(ledger.frame("a.img (2)")) == 3
    assert len(ledger.arrived) == 2


def cbf_that_lacks_its_end(number):
    whole = made.cbf(writers.counts(number))
    return whole[: whole.rindex(b"--CIF")], whole


def test_a_file_whose_writer_pauses_before_its_end_is_given_out_once(tmp_path):
    part, whole = cbf_that_lacks_its_end(5)
    path = tmp_path / "a.cbf"
    path.write_bytes(part)
    watch = Watch(tmp_path)
    with contextlib.suppress(AssertionError):  # a reader may also wait for the end
        watch.until(has(("a.cbf", 0)), within_s=2)
    with path.open("ab") as file:
        file.write(whole[len(part) :])
    watch.until(has(("a.cbf", 0)))
    ledger = watch.for_a_while(1.0)
    assert ledger.arrived == [("a.cbf", 0)]
    assert writers.number_of(ledger.frame("a.cbf")) == 5
    Watch(tmp_path, ledger=ledger, until_idle_s=0.3).run()
    assert ledger.arrived == [("a.cbf", 0)]


def test_images_that_are_added_to_a_file_are_further_frames_of_it(tmp_path):
    path = tmp_path / "a.edf"
    path.write_bytes(made.edf(writers.counts(3)))
    watch = Watch(tmp_path)
    watch.until(has(("a.edf", 0)))
    with path.open("ab") as file:
        file.write(made.edf(writers.counts(4), writers.counts(5), first=2))
    ledger = watch.until(has(("a.edf", 2)))
    assert ledger.arrived == [("a.edf", 0), ("a.edf", 1), ("a.edf", 2)]
    assert [writers.number_of(ledger.frame("a.edf", number)) for number in range(3)] == [3, 4, 5]


def stuck_file(folder, kind):
    """Make a file that keeps a reader busy or exhausts memory; return its name."""
    if kind == "slow":
        (folder / "b.cbf.bz2").write_bytes(made.slow_bz2())
        return "b.cbf.bz2"
    with h5py.File(folder / "b.h5", "w") as file:
        if kind == "pipe":
            os.mkfifo(folder / "pipe")
            file["entry"] = h5py.ExternalLink("pipe", "/entry")
        else:
            file.create_dataset("entry/data/data", (200_000_000, 64, 64), "u2", chunks=(1, 64, 64))
    return "b.h5"


QUICK_LIMITS = Limits(cpu_s=1.0, idle_s=1.0, memory_bytes=256 << 20)


@pytest.mark.parametrize("kind", ["slow", "pipe", "frames"])
def test_a_file_that_holds_its_reader_is_one_unreadable_frame_and_the_rest_comes(tmp_path, kind):
    write(tmp_path / "a.img", 1)
    name = stuck_file(tmp_path, kind)
    for number in range(5):
        write(tmp_path / f"c{number}.img", number)
    watch = Watch(tmp_path, inspections=InspectionPool(limits_of=lambda _: QUICK_LIMITS))
    rest = [("a.img", 0), *((f"c{number}.img", 0) for number in range(5))]
    ledger = watch.until(has(*rest, (name, 0)), within_s=30)
    assert sorted(ledger.arrived) == sorted([*rest, (name, 0)])
    with pytest.raises(FrameError, match="expected (a file that|a list of pages|counts)"):
        ledger.frame(name)  # at once, without another try
    assert watch.for_a_while(1.0).arrived == ledger.arrived


def test_nobody_waits_for_a_stuck_file_at_the_end(tmp_path):
    stuck_file(tmp_path, "pipe")
    watch = Watch(tmp_path)
    watch.for_a_while(1.0)
    start = time.monotonic()
    watch.events.close()
    assert time.monotonic() - start < 5


@pytest.mark.parametrize("name", ["a.img.tmp", ".a.img", "a.img.part", "a.tmp.img", "a.partial.h5"])
def test_unfinished_names_are_left_alone_until_they_are_renamed(tmp_path, name):
    path = write(tmp_path / name, 1)
    watch = Watch(tmp_path)
    assert watch.for_a_while(0.3).arrived == []
    path.rename(tmp_path / "b.img")
    assert watch.until(has(("b.img", 0))).troubles == []


def test_only_new_files_come_after_a_restart(tmp_path):
    for number in range(6):
        write(tmp_path / f"a{number}.img", number)
    ledger = Watch(tmp_path, until_idle_s=0.2).run()
    write(tmp_path / "a6.img", 6)
    before = len(ledger.arrived)
    Watch(tmp_path, ledger=ledger, until_idle_s=0.2).run()
    assert ledger.arrived[before:] == [("a6.img", 0)]


def test_without_contexts_a_name_is_trusted_after_a_restart(tmp_path):
    write(tmp_path / "a.img", 1)
    source = FolderSource([tmp_path], known=lambda _: 1, until_idle_s=0.3, **QUICK)
    assert [event for event in source.events() if event] == []


def test_a_file_with_new_content_is_a_new_series(tmp_path):
    path = write(tmp_path / "a.img", 1)
    watch = Watch(tmp_path)
    ledger = watch.until(has(("a.img", 0)))
    write(tmp_path / "new.tmp", 2).rename(path)
    watch.until(has(("a.img (2)", 0)))
    write(path, 3)  # in place, which does not change the directory's modification time
    watch.until(has(("a.img (3)", 0)))
    assert writers.number_of(ledger.frame("a.img (3)")) == 3
    with pytest.raises(FrameError, match="another one of the same name"):
        ledger.frame("a.img")
    os.utime(path)
    assert len(watch.for_a_while().arrived) == 3
    write(path, 4)  # between two polls
    Watch(tmp_path, ledger=ledger, until_idle_s=0.3).run()
    assert ledger.arrived[3:] == [("a.img (4)", 0)]
    path.unlink()
    write(path, 5)
    Watch(tmp_path, ledger=ledger, until_idle_s=0.3).run()
    assert ledger.arrived[4:] == [("a.img (5)", 0)]


def test_a_deleted_file_does_not_come_back_but_another_of_its_name_does(tmp_path):
    watch = Watch(tmp_path)
    path = write(tmp_path / "a.img", 1)
    watch.until(has(("a.img", 0)))
    path.unlink()
    watch.for_a_while(0.2)
    write(path, 1)
    watch.for_a_while(0.3)
    write(tmp_path / "b.img", 2)
    ledger = watch.until(has(("b.img", 0)))
    assert ledger.arrived == [("a.img", 0), ("b.img", 0)]
    path.unlink()
    watch.for_a_while(0.2)
    write(path, 9)
    watch.until(has(("a.img (2)", 0)))


def test_a_file_that_vanishes_unread_is_told_and_the_others_come(tmp_path):
    watch = Watch(tmp_path, settle_s=3.0)
    path = write(tmp_path / "a.img", 1)
    watch.for_a_while(0.15)
    path.unlink()
    write(tmp_path / "b.img", 2)
    ledger = watch.until(has(("b.img", 0)))
    assert ledger.troubles == ["a.img vanished before it could be read"]


def test_a_folder_that_vanishes_and_returns_is_told_once_each(tmp_path):
    folder, elsewhere = tmp_path / "data", tmp_path / "elsewhere"
    folder.mkdir()
    write(folder / "a.img", 1)
    watch = Watch(folder)
    ledger = watch.until(has(("a.img", 0)))
    folder.rename(elsewhere)
    watch.until(lambda ledger: ledger.troubles)
    watch.for_a_while()
    write(elsewhere / "b.img", 2)
    elsewhere.rename(folder)
    watch.until(has(("b.img", 0)))
    gone, back = ledger.troubles
    assert "cannot be read" in gone
    assert "can be read again" in back
    assert str(tmp_path) not in gone + back
    assert len(ledger.arrived) == 2


def test_loops_of_links_end_and_nothing_comes_twice(tmp_path):
    below = tmp_path / "below"
    below.mkdir()
    write(below / "a.img", 1)
    (below / "up").symlink_to(tmp_path)
    (tmp_path / "again").symlink_to(below)
    (tmp_path / "latest.img").symlink_to(below / "a.img")
    (tmp_path / "broken.img").symlink_to(tmp_path / "nothing")
    ledger = Watch(tmp_path, until_idle_s=0.4).run()
    assert len(ledger.arrived) == 1
    assert ledger.arrived[0][0].endswith("a.img")


def test_several_folders_and_single_files_are_told_apart(tmp_path):
    for name in ("one/data", "two/data", "three"):
        (tmp_path / name).mkdir(parents=True)
    for number, name in enumerate(["one/data/a.img", "two/data/a.img", "three/b.img"]):
        write(tmp_path / name, number)
    write(tmp_path / "three/c.img", 9)
    paths = [tmp_path / "one/data", tmp_path / "two/data", tmp_path / "three/b.img"]
    ledger = Watch(*paths, until_idle_s=0.3).run()
    assert sorted(series for series, _ in ledger.arrived) == [
        "one/data/a.img",
        "three/b.img",
        "two/data/a.img",
    ]


def test_names_that_could_move_a_cursor_or_are_no_text_are_spelled_out(tmp_path):
    for name in (b"a\x1b[2J.img", b"b\xff.img", "µ.img".encode()):
        Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + name)).write_bytes(
            made.smv(writers.counts(1))
        )
    ledger = Watch(tmp_path, until_idle_s=0.3).run()
    assert sorted(ledger.began) == ["a\\x1b[2J.img", "b\\udcff.img", "µ.img"]
    assert all(writers.number_of(ledger.frame(series)) == 1 for series in ledger.began)


def test_a_pipe_or_folder_with_a_detectors_name_blocks_nothing(tmp_path):
    os.mkfifo(tmp_path / "pipe.img")
    (tmp_path / "folder.cbf").mkdir()
    write(tmp_path / "folder.cbf" / "a.img", 1)
    assert Watch(tmp_path, until_idle_s=0.3).run().arrived == [("folder.cbf/a.img", 0)]


def test_frames_of_a_file_that_is_written_for_readers_come_as_they_are_written(tmp_path):
    path = tmp_path / "a.h5"
    watch = Watch(tmp_path)
    with writer("swmr", path) as step:
        step(3)
        ledger = watch.until(has(("a.h5", 2)))
        decode = decoder(ledger.began["a.h5"].context, series="a.h5")
        assert [writers.number_of(decode(b"", i)) for i in range(3)] == [0, 1, 2]
        for number in range(3, 20):
            step(1)
            watch.until(has(("a.h5", number)))
            assert writers.number_of(decode(b"", number)) == number  # the file is still open
        assert ledger.ended == {}
    watch.until(lambda ledger: ledger.ended)
    decode.close()
    assert ledger.ended == {"a.h5": 20}
    assert ledger.numbers("a.h5") == list(range(20))


def test_a_restart_in_the_middle_of_a_growing_file_goes_on_behind_what_is_known(tmp_path):
    with writer("swmr", tmp_path / "a.h5") as step:
        step(4)
        ledger = Watch(tmp_path).until(has(("a.h5", 3)))
        step(3)
        Watch(tmp_path, ledger=ledger).until(has(("a.h5", 6)))
    Watch(tmp_path, ledger=ledger, until_idle_s=0.3).run()
    assert ledger.arrived == [("a.h5", number) for number in range(7)]
    assert ledger.ended == {"a.h5": 7}


def test_what_a_killed_writer_left_is_read_and_the_rest_is_not_waited_for_at_the_end(tmp_path):
    with writer("swmr", tmp_path / "a.h5") as step:
        step(5)
        step.process.kill()
        step.process.wait()
        ledger = Watch(tmp_path, until_idle_s=0.5).run()
    assert ledger.numbers("a.h5") == list(range(5))
    assert writers.number_of(ledger.frame("a.h5", 4)) == 4
    assert ledger.ended == {"a.h5": None}


def test_a_file_that_its_writer_has_locked_is_waited_for_beyond_all_patience(tmp_path):
    watch = Watch(tmp_path, patience_s=0.2)
    with writer("locked", tmp_path / "a.h5") as step:
        step()
        step()
        assert writing_of(tmp_path / "a.h5").locked
        assert watch.for_a_while(0.8).arrived == []
        step()
    ledger = watch.until(lambda ledger: ledger.ended)
    assert ledger.arrived == [("a.h5", number) for number in range(3)]
    assert [writers.number_of(ledger.frame("a.h5", i)) for i in range(3)] == [0, 1, 2]


def test_a_killed_writer_of_a_locked_file_leaves_one_unreadable_frame(tmp_path):
    with writer("locked", tmp_path / "a.h5") as step:
        step.process.kill()
        step.process.wait()
    ledger = Watch(tmp_path).until(has(("a.h5", 0)))
    with pytest.raises(FrameError):
        ledger.frame("a.h5")


def test_room_for_frames_that_nobody_has_written_gives_no_blanks(tmp_path):
    watch = Watch(tmp_path)
    with writer("unlocked", tmp_path / "a.h5", 10) as step:
        for number in range(4):
            step()
            ledger = watch.until(has(("a.h5", number)))
            assert writers.number_of(ledger.frame("a.h5", number)) == number
    watch.until(lambda ledger: ledger.ended)
    assert ledger.numbers("a.h5") == [0, 1, 2, 3]
    assert ledger.ended == {"a.h5": 10}


def test_a_master_comes_first_and_its_data_files_later(tmp_path):
    whole = tmp_path / "whole"
    whole.mkdir()
    made.eiger(whole, np.stack([writers.counts(i) for i in range(9)]).astype("u4"), files=3)
    folder = tmp_path / "data"
    folder.mkdir()
    watch = Watch(folder)
    (whole / "run_master.h5").rename(folder / "run_master.h5")
    watch.for_a_while(0.3)
    for part, last in ((1, 2), (2, 5), (3, 8)):
        name = f"run_data_{part:06d}.h5"
        data = (whole / name).read_bytes()
        (folder / name).write_bytes(data[: len(data) // 2])
        watch.for_a_while(0.15)
        (folder / name).write_bytes(data)
        ledger = watch.until(has(("run_master.h5", last)))
        assert writers.number_of(ledger.frame("run_master.h5", last)) == last
        if part < 3:
            assert ledger.ended == {}
    watch.until(lambda ledger: ledger.ended)
    assert ledger.arrived == [("run_master.h5", number) for number in range(9)]
    assert watch.for_a_while(0.3).troubles == []


def test_data_files_wait_for_their_master(tmp_path):
    whole = tmp_path / "whole"
    whole.mkdir()
    made.eiger(whole, np.stack([writers.counts(i) for i in range(4)]).astype("u4"), files=2)
    folder = tmp_path / "data"
    folder.mkdir()
    watch = Watch(folder)
    for part in (2, 1):
        (whole / f"run_data_{part:06d}.h5").rename(folder / f"run_data_{part:06d}.h5")
    watch.for_a_while(0.3)
    (whole / "run_master.h5").rename(folder / "run_master.h5")
    ledger = watch.until(lambda ledger: ledger.ended)
    assert watch.for_a_while(0.8).arrived == [("run_master.h5", number) for number in range(4)]
    Watch(folder, ledger=ledger, until_idle_s=1.0).run()
    assert len(ledger.arrived) == 4


def test_a_data_file_without_a_master_comes_by_itself_and_the_late_master_is_left_out(tmp_path):
    made.eiger(tmp_path, np.stack([writers.counts(i) for i in range(4)]).astype("u4"), files=2)
    master = (tmp_path / "run_master.h5").rename(tmp_path / "hidden.tmp")
    watch = Watch(tmp_path)
    ledger = watch.until(has(("run_data_000001.h5", 1), ("run_data_000002.h5", 1)))
    master.rename(tmp_path / "run_master.h5")
    watch.until(lambda ledger: ledger.troubles)
    assert "run_master.h5 is skipped" in ledger.troubles[0]
    Watch(tmp_path, ledger=ledger, until_idle_s=1.0).run()
    assert len(ledger.arrived) == 4


def test_a_virtual_stack_grows_with_its_sources(tmp_path):
    source = tmp_path / "raw_data_000001.h5"
    layout = h5py.VirtualLayout((6, *writers.SHAPE), np.uint16)
    layout[:] = h5py.VirtualSource(source.name, "entry/data/data", (6, *writers.SHAPE))
    with h5py.File(tmp_path / "run.nxs", "w") as file:
        file.create_virtual_dataset("entry/data/data", layout)
    watch = Watch(tmp_path)
    with writer("swmr", source) as step:
        step(2)
        ledger = watch.until(has(("run.nxs", 1)))
        assert writers.number_of(ledger.frame("run.nxs", 1)) == 1
        step(4)
        watch.until(has(("run.nxs", 5)))
    watch.until(lambda ledger: ledger.ended)
    assert ledger.arrived == [("run.nxs", number) for number in range(6)]


def test_a_growing_data_file_is_followed_through_its_master(tmp_path):
    with h5py.File(tmp_path / "run_master.h5", "w") as file:
        file["entry/data/data_000001"] = h5py.ExternalLink("run_data_000001.h5", "/entry/data/data")
        file["entry/instrument/detector/detectorSpecific/nimages"] = 5
        file["entry/instrument/detector/detectorSpecific/ntrigger"] = 2
    watch = Watch(tmp_path)
    with writer("swmr", tmp_path / "run_data_000001.h5") as step:
        step(2)
        ledger = watch.until(has(("run_master.h5", 1)))
        decode = decoder(ledger.began["run_master.h5"].context, series="run_master.h5")
        step(2)
        watch.until(has(("run_master.h5", 3)))
        assert [writers.number_of(decode(b"", i)) for i in range(4)] == [0, 1, 2, 3]
        decode.close()
    watch.until(lambda ledger: ledger.ended)
    assert ledger.began["run_master.h5"].expected == 10
    assert ledger.ended == {"run_master.h5": 10}
    assert ledger.numbers("run_master.h5") == [0, 1, 2, 3]


def test_another_hdf5_file_of_the_same_name_is_a_new_series(tmp_path):
    def stack(path, numbers):
        with h5py.File(path, "w") as file:
            images = np.stack([writers.counts(i) for i in numbers]).astype("u2")
            file.create_dataset("entry/data/data", data=images, chunks=(1, *writers.SHAPE))

    path = tmp_path / "a.h5"
    stack(path, [1, 2])
    watch = Watch(tmp_path)
    ledger = watch.until(lambda ledger: ledger.ended)
    stack(path, [3, 4, 5])
    watch.until(lambda ledger: len(ledger.ended) == 2)
    assert ledger.numbers("a.h5 (2)") == [0, 1, 2]
    assert writers.number_of(ledger.frame("a.h5 (2)", 0)) == 3
    stack(path, [3, 4, 5, 6])  # the same one with a further frame
    watch.until(has(("a.h5 (2)", 3)))
    assert len(ledger.arrived) == 6


def test_mask_and_geometry_apply_in_the_worker(tmp_path):
    mask = np.zeros(writers.SHAPE, np.uint8)
    mask[5] = 1
    np.save(tmp_path / "mask.npy", mask)
    (tmp_path / "g.poni").write_text(
        "poni_version: 2\nDetector: Detector\n"
        'Detector_config: {"pixel1": 1e-4, "pixel2": 1e-4}\n'
        "Distance: 0.25\nPoni1: 0.003\nPoni2: 0.002\nRot1: 0\nRot2: 0\nRot3: 0\nWavelength: 1e-10\n"
    )
    write(tmp_path / "a.img", 1)
    reading = ReadSettings(
        mask=tmp_path / "mask.npy", geometry=tmp_path / "g.poni", gain=3.0, pedestal=2.0
    )
    frame = Watch(tmp_path, until_idle_s=0.3, reading=reading).run().frame("a.img")
    assert not frame.valid[5].any()
    assert frame.distance_mm == pytest.approx(250)
    assert (frame.gain, frame.pedestal) == (3, 2)


def test_a_master_without_the_geometrys_place_leaves_its_data_files_to_themselves(tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    made.eiger(folder, np.ones((4, 130, 150), np.uint32), files=2)
    (tmp_path / "native.geom").write_text(NATIVE)
    reading = ReadSettings(geometry=tmp_path / "native.geom")
    ledger = Watch(folder, until_idle_s=0.5, reading=reading).run()
    assert "run_master.h5 is skipped" in ledger.troubles[0]
    assert sorted(ledger.arrived) == [
        ("run_data_000001.h5", 0), ("run_data_000001.h5", 1),
        ("run_data_000002.h5", 0), ("run_data_000002.h5", 1),
    ]  # fmt: skip


def test_what_is_wrong_with_the_arguments_is_said_at_once(tmp_path):
    with pytest.raises(InputError, match="nothing at"):
        FolderSource([tmp_path / "nothing"], known=lambda _: 0)
    with pytest.raises(GeometryError):
        FolderSource(
            [tmp_path], known=lambda _: 0, reading=ReadSettings(mask=tmp_path / "nothing.npy")
        )


@pytest.mark.parametrize(
    "context",
    [
        b"",
        b"[]",
        b'{"identity": {}}',
        b"\xff",
        b"[" * 60_000,
        b"x" * 100_000,
        b'{"identity": {"path": 1, "inode": 1, "size": 1, "mtime_ns": 1, "digest": ""}}',
    ],
)
def test_a_context_of_something_else_is_refused(context):
    with pytest.raises(FrameError, match="context of a file"):
        decoder(context, series="a")


def test_a_frame_that_is_not_there_is_one_line(tmp_path):
    write(tmp_path / "a.img", 1)
    ledger = Watch(tmp_path, until_idle_s=0.3).run()
    (tmp_path / "a.img").unlink()
    with pytest.raises(FrameError, match="expected a file, found nothing") as error:
        ledger.frame("a.img")
    assert str(tmp_path) not in str(error.value)


def test_an_idle_source_gives_signs_of_life_and_holds_no_file_open(tmp_path):
    for number in range(20):
        write(tmp_path / f"a{number}.img", number)
    before = open_files()
    watch = Watch(tmp_path)
    watch.until(lambda ledger: len(ledger.ended) == 20)
    end = last = time.monotonic()
    silences = []
    for event in watch.events:
        assert event is None
        silences.append(time.monotonic() - last)
        last = time.monotonic()
        if last > end + 0.5:
            break
    assert np.median(silences) < 0.1
    assert open_files() == before
    watch.events.close()


def open_files():
    return len(list(Path("/proc/self/fd").iterdir()))


def test_files_that_come_while_others_are_given_out_are_not_missed(tmp_path):
    stop = threading.Event()
    written = []

    def keep_writing():
        while not stop.is_set():
            name = f"a{len(written):05d}.img"
            write(tmp_path / f"{name}.tmp", len(written)).rename(tmp_path / name)
            written.append((name, 0))

    thread = threading.Thread(target=keep_writing)
    watch = Watch(tmp_path)
    thread.start()
    watch.for_a_while(1.0)
    stop.set()
    thread.join()
    ledger = watch.until(has(*written))
    assert sorted(ledger.arrived) == written
