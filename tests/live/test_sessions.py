"""Sessions as users run them, killed as users' machines kill them."""

import json
import os
import signal
import sqlite3
from itertools import chain

import numpy as np
import psutil
import pytest

from deepfreak.live.ledger import read_ledger
from tests.live.sessions import Detector, interrupt, made_scores, recorded, session, wait_until


@pytest.fixture(scope="module")
def scores(tmp_path_factory):
    return made_scores(tmp_path_factory.mktemp("scores") / "scores.json")


def listening(address, out, scores, *more):
    return ("listen", address, "--out", str(out), "--scores", str(scores), "--workers", "1", *more)


def numbers_in(out):
    rows = [json.loads(line) for line in (out / "verdicts.jsonl").read_text().splitlines()]
    assert [row["sequence"] for row in rows] == list(range(1, len(rows) + 1))
    return [row["number"] for row in rows], rows


def test_every_frame_gets_its_verdict_and_the_truth_stays_beside_it(tmp_path, scores):
    out, log = tmp_path / "out", tmp_path / "log"
    with Detector() as detector:
        command = listening(detector.address, out, scores, "--hits", "nxmx", "--queue", "1000")
        with session(*command, log=log) as child:
            detector.begin("series", 30)
            detector.send_frames(range(30), pause_s=0.01)
            detector.send_frames([4, 5])  # again
            assert detector.end(within_s=5)
            wait_until(lambda: recorded(out) == 30, "30 verdicts")
            assert interrupt(child) == 0, log.read_text()
    numbers, rows = numbers_in(out)
    assert sorted(numbers) == list(range(30))
    right = [row["label"] == row["truth"]["label"] for row in rows]
    assert sum(right) >= 26
    decisions = {row["number"]: row["decision"] for row in rows}
    assert {"keep", "discard"} <= set(decisions.values())
    assert len((out / "hits.lst").read_text().splitlines()) == list(decisions.values()).count(
        "keep"
    )
    summary = json.loads((out / "summary.json").read_text())
    assert (summary["received"], summary["missed"], summary["duplicates"]) == (30, 0, 2)
    assert not list((out / "spool").iterdir())
    with read_ledger(out / "ledger.sqlite") as ledger:
        (account,) = ledger.accounts()
        assert account.ended
        assert account.missed == ()


def test_kills_of_workers_and_of_the_whole_program_lose_nothing_that_was_received(tmp_path, scores):
    """What was sent is recorded once, or was not received and is missed by number."""
    out, log = tmp_path / "out", tmp_path / "log"
    count, done = 900, 0
    with Detector(high_water=10) as detector:
        command = listening(detector.address, out, scores, "--queue", "2000", "--hits", "cxi")
        rng = np.random.default_rng(0)
        for round_ in range(3):
            with session(*command, log=log) as child:
                if round_ == 0:
                    detector.begin("series", count)
                upto = count * (round_ + 1) // 3
                middle = (done + upto) // 2
                detector.send_frames(range(done, middle), wait_s=60, pause_s=0.001)
                workers = psutil.Process(child.pid).children()
                judges = [each for each in workers if "spawn_main" in " ".join(each.cmdline())]
                rng.choice(judges).kill()
                detector.send_frames(range(middle, upto), wait_s=60, pause_s=0.001)
                done = upto
                if round_ < 2:
                    os.killpg(child.pid, signal.SIGKILL)
                    child.wait()
                    continue
                assert detector.end(within_s=60)
                wait_until(lambda: _is_whole(out, count), "the end")
                assert interrupt(child) == 0, log.read_text()
    numbers, rows = numbers_in(out)
    assert len(numbers) == len(set(numbers))
    with read_ledger(out / "ledger.sqlite") as ledger:
        (account,) = ledger.accounts()
        missed = set(chain.from_iterable(range(a, b + 1) for a, b in account.missed))
    assert missed.isdisjoint(numbers)
    assert missed | set(numbers) == set(range(count))
    # what a killed program had not yet read from its socket, no more
    assert len(missed) <= 2 * (100 + 10 + 2)
    assert not list((out / "spool").iterdir())
    kept = [row["number"] for row in rows if row["decision"] == "keep"]
    listed = (out / "hits.lst").read_text().splitlines()
    assert len(listed) == len(set(listed)) == len(kept)
    assert _hits_in(out / "hits") == sorted(kept)


def _is_whole(out, count):
    if list((out / "spool").glob("*.frame")):
        return False
    with read_ledger(out / "ledger.sqlite") as ledger:
        return any(a.ended and a.received + a.missed_count == count for a in ledger.accounts())


def _hits_in(folder):
    import h5py

    found = []
    for path in folder.glob("*.cxi"):
        with h5py.File(path) as file:
            found += file["/entry_1/deepfreak_1/number"][()].tolist()
    return sorted(found)


def test_when_the_machine_cannot_keep_up_a_fair_part_is_judged_and_all_is_counted(tmp_path, scores):
    out, log = tmp_path / "out", tmp_path / "log"
    with Detector() as detector:
        command = listening(detector.address, out, scores, "--queue", "8")
        with session(*command, log=log) as child:
            detector.begin("series", 1500)
            detector.send_frames(range(1500), wait_s=60, pause_s=0.003)
            assert detector.end(within_s=60)
            wait_until(lambda: recorded(out) == 1500, "1500 rows")
            assert interrupt(child) == 0, log.read_text()
    numbers, rows = numbers_in(out)
    assert sorted(numbers) == list(range(1500))
    judged = np.array([row["number"] for row in rows if row["decision"] != "left-out"])
    assert 30 < len(judged) < 1500
    # all kinds of frame have the same chance
    share = np.bincount(judged % 7, minlength=7) / len(judged)
    assert np.abs(share - 1 / 7).max() < 5 * np.sqrt(6 / 49 / len(judged))


def test_a_full_disk_stops_the_intake_and_loses_nothing(tmp_path, scores, monkeypatch):
    # in this process, so that the disk can be filled at will
    import threading
    import time

    from deepfreak.errors import OutputError
    from deepfreak.live.dectris.receive import Listener
    from deepfreak.live.intake import Limits
    from deepfreak.live.ledger import Ledger
    from deepfreak.live.session import Settings, open_session

    said, full = [], threading.Event()
    record = Ledger.record

    def no_room(self, *given):
        if full.is_set():
            raise OutputError("cannot write the ledger: no space left on the disk")
        return record(self, *given)

    monkeypatch.setattr(Ledger, "record", no_room)
    settings = Settings(out=tmp_path / "out", scores=scores, workers=1, limits=Limits(frames=1000))
    stop = threading.Event()
    with (
        Detector() as detector,
        open_session(
            settings, lambda _: Listener(detector.address), name="x", say=said.append
        ) as opened,
    ):
        runner = threading.Thread(target=opened.until, args=(stop,))
        runner.start()
        detector.begin("series", 40)
        detector.send_frames(range(10))
        wait_until(lambda: recorded(tmp_path / "out") == 10, "10 verdicts")
        full.set()
        detector.send_frames(range(10, 40))
        wait_until(lambda: any("no space" in line for line in said), "the line")
        time.sleep(0.3)
        assert recorded(tmp_path / "out") == 10
        full.clear()
        wait_until(lambda: recorded(tmp_path / "out") == 40, "40 verdicts")
        detector.end(within_s=5)
        stop.set()
        runner.join(30)
        assert not runner.is_alive()
    assert sorted(numbers_in(tmp_path / "out")[0]) == list(range(40))


def test_another_session_in_the_folder_is_refused(tmp_path, scores):
    out, log = tmp_path / "out", tmp_path / "log"
    out.mkdir()
    with sqlite3.connect(out / "ledger.sqlite") as other:
        other.execute("CREATE TABLE theirs (a)")
    other.close()
    with session(*listening("tcp://127.0.0.1:1", out, scores), log=log) as child:
        assert child.wait(120) == 2
    assert "expected a ledger" in log.read_text()
    assert log.read_text().count("\n") == 1
