import os
import signal
import sqlite3
import subprocess
import sys
import textwrap
from dataclasses import replace

import pytest

from deepfreak.errors import InputError, OutputError
from deepfreak.live.ledger import open_ledger, read_ledger
from deepfreak.live.messages import FrameOutcome, HitCopy, SeriesBegan
from deepfreak.screening.verdict import EvidenceSummary

ABOUT = {"model": "forest 1", "classes": ["blank", "weak"]}
BEGAN = SeriesBegan(
    series="run 1", kind="shot", context=b"\x00mask", expected=10, metadata={"a": 1}
)

SIGNS = EvidenceSummary(
    peaks=40,
    off_rings=38,
    strong_off_rings=12,
    ring_share=0.05,
    center_known=True,
    lattice_score=31.5,
    fullest_quarter=0.3,
)


def outcome(number: int, **changes) -> FrameOutcome:
    made = FrameOutcome(
        series="run 1",
        number=number,
        decision="keep",
        label="weak",
        probabilities=(0.25, 0.75),
        p_crystal=0.75,
        received=1.0,
        decided=2.0,
        truth={"label": "weak"},
    )
    return replace(made, **changes)


def test_verdicts_come_back_as_they_were_and_in_order(tmp_path):
    rows = [
        outcome(0),
        outcome(2, decision="unreadable", label=None, probabilities=(), error="x"),
    ]
    with open_ledger(tmp_path / "l.sqlite", ABOUT) as ledger:
        ledger.begin(BEGAN)
        ledger.record(rows[:1])
        ledger.record(rows[1:], {"duplicates": 3})
    with open_ledger(tmp_path / "l.sqlite", ABOUT) as ledger:
        found = [row for rows in ledger.after(0) for row in rows]
        assert [row.sequence for row in found] == [1, 2]
        for row, made in zip(found, rows, strict=True):
            assert {name: getattr(row.outcome, name) for name in FrameOutcome.__slots__} == {
                name: getattr(made, name) for name in FrameOutcome.__slots__
            }
        assert ledger.count("duplicates") == 3
        assert ledger.decisions()["keep"] == 1
        assert ledger.began("run 1") == BEGAN
        assert ledger.began("run 2") is None
        assert [ledger.seen("run 1").contiguous, ledger.seen("run 1").count] == [1, 2]


def test_it_goes_on_with_other_settings_only_where_these_may_follow(tmp_path):
    path, after = tmp_path / "l.sqlite", ABOUT | {"model": "forest 2"}
    with open_ledger(path, ABOUT) as ledger:
        assert ledger.begun_with == ABOUT
        ledger.begin(BEGAN)
        ledger.record([outcome(0)])
    refusing = open_ledger(path, after, may_follow=lambda found, wanted: found == wanted)
    with pytest.raises(InputError, match="its model is forest 1, not forest 2"), refusing:
        pass
    with open_ledger(path, after, may_follow=lambda found, wanted: found != wanted) as ledger:
        assert (ledger.begun_with, ledger.about, ledger.last) == (ABOUT, after, 1)
    with open_ledger(path, after) as ledger:
        assert ledger.begun_with == after


def test_no_frame_has_two_verdicts(tmp_path):
    with open_ledger(tmp_path / "l.sqlite", ABOUT) as ledger:
        ledger.begin(BEGAN)
        ledger.record([outcome(0)])
        with pytest.raises(sqlite3.IntegrityError):
            ledger.record([outcome(1), outcome(0)])
        assert ledger.last == 1
        assert ledger.seen("run 1").count == 1


def test_verdicts_of_two_models_are_not_mixed(tmp_path):
    with open_ledger(tmp_path / "l.sqlite", ABOUT):
        pass
    with (
        pytest.raises(InputError, match="its model is forest 1, not forest 2"),
        open_ledger(tmp_path / "l.sqlite", ABOUT | {"model": "forest 2"}),
    ):
        pass


def test_one_run_at_a_time(tmp_path):
    with (
        open_ledger(tmp_path / "l.sqlite", ABOUT),
        pytest.raises(OutputError, match="another run"),
        open_ledger(tmp_path / "l.sqlite", ABOUT),
    ):
        pass


@pytest.mark.parametrize("content", [b"no database at all, but text" * 100, None])
def test_a_foreign_file_is_refused_and_kept(tmp_path, content):
    path = tmp_path / "l.sqlite"
    if content is None:
        with sqlite3.connect(path) as other:
            other.execute("CREATE TABLE theirs (a)")
        other.close()
    else:
        path.write_bytes(content)
    before = path.read_bytes()
    with pytest.raises(InputError, match="expected a ledger"), open_ledger(path, ABOUT):
        pass
    assert path.read_bytes()[:100] == before[:100]


def test_series_learn_what_to_expect(tmp_path):
    with open_ledger(tmp_path / "l.sqlite", ABOUT) as ledger:
        ledger.begin(replace(BEGAN, expected=None))
        ledger.begin(BEGAN)
        ledger.end("run 1", None)
        assert ledger.began("run 1") == BEGAN
        (account,) = ledger.series_reports()
        assert account.ended
        assert account.missed == ((0, 9),)
        assert "run 1" in ledger
        assert "run 2" not in ledger


def test_the_state_of_all_series_is_that_of_each(tmp_path):
    numbers = {"a": [0, 1, 5], "b": [], "c": [7], "d": [3, 1, 2]}
    with open_ledger(tmp_path / "l.sqlite", ABOUT) as ledger:
        for series in numbers:
            ledger.begin(replace(BEGAN, series=series))
        for place in range(3):  # rows of one series lie apart
            ledger.record(
                [
                    outcome(those[place], series=series)
                    for series, those in numbers.items()
                    if place < len(those)
                ]
            )
        lines = list(ledger.lines())
        assert [line.series for line in lines] == list(numbers)
        for line in lines:
            assert line.seen.count == len(numbers[line.series])
            assert all(number in line.seen for number in numbers[line.series])
            seen = ledger.seen(line.series)
            assert list(line.seen.missing(10)) == list(seen.missing(10))


def test_what_goes_wrong_meanwhile_is_not_taken_for_a_missing_folder(tmp_path):
    with (
        pytest.raises(FileNotFoundError, match="another file"),
        open_ledger(tmp_path / "l.sqlite", ABOUT),
    ):
        raise FileNotFoundError("another file")
    with (
        pytest.raises(OutputError, match="cannot write the ledger"),
        open_ledger(tmp_path / "none" / "l.sqlite", ABOUT),
    ):
        pass


def test_a_kill_leaves_whole_batches(tmp_path):
    program = f"""
        from pathlib import Path
        from deepfreak.live.ledger import open_ledger
        from tests.live.test_ledger import ABOUT, BEGAN, outcome
        with open_ledger(Path({str(tmp_path / "l.sqlite")!r}), ABOUT) as ledger:
            ledger.begin(BEGAN)
            number = ledger.last
            while True:
                ledger.record([outcome(number + i) for i in range(10)])
                number += 10
                print(number, flush=True)
    """
    told = 0
    for _ in range(3):
        with subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(program)],
            stdout=subprocess.PIPE,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        ) as child:
            for _ in range(20):
                told = int(child.stdout.readline())
            child.send_signal(signal.SIGKILL)
            rest = child.stdout.read().split()
        told = int(rest[-1]) if rest else told
        with open_ledger(tmp_path / "l.sqlite", ABOUT) as ledger:
            assert ledger.last in {told, told + 10}
            seen = ledger.seen("run 1")
            assert seen.contiguous == seen.count == ledger.last


def test_a_start_replaces_what_was_known_and_nothing_else_does(tmp_path):
    missed = SeriesBegan(series="7", kind="dectris-v1", context=b"nothing", lacks=("start",))
    start = replace(missed, context=b"mask", lacks=("mask",), expected=9, metadata={"series": 7})
    with open_ledger(tmp_path / "l.sqlite", ABOUT) as ledger:
        ledger.begin(missed)
        ledger.record([outcome(0, series="7", judged_without=("start",))])
        ledger.begin(start)
        assert ledger.began("7") == start
        ledger.begin(missed)
        ledger.begin(SeriesBegan(series="7", kind="dectris-v1"))  # goes on after a restart
        assert ledger.began("7") == start
        (line,) = ledger.lines()
        assert (line.lacks, line.judged_without) == (("mask",), 1)
        assert (line.detector_number, line.last_received) == (7, 1.0)
        assert ledger.judged_without() == 1
        (row,) = next(ledger.after(0))
        assert row.outcome.judged_without == ("start",)


def test_a_locked_ledger_is_called_locked(tmp_path):
    path = tmp_path / "l.sqlite"
    with open_ledger(path, ABOUT) as ledger, sqlite3.connect(path) as other:
        ledger._connection.execute("PRAGMA busy_timeout = 1")
        other.execute("BEGIN IMMEDIATE")
        for write in (lambda: ledger.begin(BEGAN), lambda: ledger.record([])):
            with pytest.raises(OutputError, match="another program has locked it$"):
                write()
        other.rollback()
        ledger.begin(BEGAN)
    other.close()


@pytest.mark.parametrize(
    ("pragma", "reason"),
    [("max_page_count = 1", "no space left on the disk"), ("query_only = 1", "read-only")],
)
def test_why_the_ledger_cannot_be_written_is_told(tmp_path, pragma, reason):
    with open_ledger(tmp_path / "l.sqlite", ABOUT) as ledger:
        ledger._connection.execute(f"PRAGMA {pragma}")
        with pytest.raises(OutputError, match=reason):
            ledger.begin(replace(BEGAN, context=bytes(100_000)))


def test_a_damaged_ledger_is_called_damaged(tmp_path):
    path = tmp_path / "l.sqlite"
    with open_ledger(path, ABOUT) as ledger:
        ledger._connection.execute("PRAGMA journal_mode = DELETE")
        ledger.begin(BEGAN)
        head = path.read_bytes()[:100]
        head = head[:24] + b"\xff\xff\xff\xff" + head[28:]  # changed: what is cached is old
        path.write_bytes(head + bytes(path.stat().st_size - 100))
        with pytest.raises(OutputError, match="it is damaged"):
            ledger.begin(replace(BEGAN, series="another"))


def test_each_ledger_has_an_id_that_stays(tmp_path):
    ids = []
    for name in ("a", "a", "b"):
        with open_ledger(tmp_path / name, ABOUT) as ledger:
            ids.append(ledger.id)
    assert ids[0] == ids[1] != ids[2]
    with read_ledger(tmp_path / "a") as ledger:
        assert ledger.id == ids[0]


def test_a_ledger_of_another_version_is_refused_and_kept(tmp_path):
    path = tmp_path / "l.sqlite"
    with open_ledger(path, ABOUT) as ledger:
        ledger.begin(BEGAN)
        ledger.record([outcome(0)])
    with sqlite3.connect(path) as other:
        other.execute("PRAGMA user_version = 3")
    other.close()
    for opened in (read_ledger(path), open_ledger(path, ABOUT)):
        with pytest.raises(InputError, match="version 4.* found .*version 3"), opened:
            pass
    with sqlite3.connect(path) as other:
        assert other.execute("SELECT COUNT(*) FROM frames").fetchone() == (1,)
    other.close()


def test_all_that_is_known_of_a_frame_is_kept(tmp_path):
    more = {
        "judged_without": ("start",),
        "reasons": ("why", "b"),
        "signs": SIGNS,
        "copy": HitCopy("hits/hits-00001.h5", 7),
    }
    with open_ledger(tmp_path / "l.sqlite", ABOUT) as ledger:
        ledger.begin(BEGAN)
        assert ledger.last_copy("hits") is None
        ledger.record([outcome(0, **more), outcome(1)])
        (row, _) = next(ledger.after(0))
        assert {name: getattr(row.outcome, name) for name in more} == more
        assert ledger.last_copy("hits") == more["copy"]
        assert ledger.last_copy("hit") is None
