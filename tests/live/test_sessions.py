"""Whole sessions as users run them, killed at random times."""

import json
import os
import signal
import sqlite3
from functools import lru_cache
from itertools import chain
from itertools import count as count_from
from pathlib import Path

import numpy as np
import psutil
import pytest
from click.testing import CliRunner

from deepfreak.cli.live import missing
from deepfreak.live.ledger import read_ledger
from deepfreak.live.receive.dectris.messages import Start
from deepfreak.live.receive.dectris.sender import StreamSender, encode_image, encode_pixels
from deepfreak.physics.exposure import scatter
from deepfreak.physics.noise import detect
from deepfreak.physics.recipe import load_recipe
from tests.live.sessions import (
    PATIENCE_S,
    Detector,
    interrupt,
    made_scores,
    recorded,
    session,
    wait_until,
)


@pytest.fixture(scope="module")
def scores(tmp_path_factory):
    return made_scores(tmp_path_factory.mktemp("scores") / "scores.json")


def listening(address, out, scores, *more):
    judged = ("--model", "diffranet", "--scores", str(scores), "--workers", "1")
    return ("listen", address, "--out", str(out), *judged, *more)


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
    assert sum(row["label"] == row["truth"]["label"] for row in rows) >= 26
    decisions = {row["number"]: row["decision"] for row in rows}
    assert {"keep", "discard"} <= set(decisions.values())
    assert len((out / "hits.lst").read_text().splitlines()) == list(decisions.values()).count(
        "keep"
    )
    summary = json.loads((out / "summary.json").read_text())
    assert (summary["received"], summary["missed"], summary["duplicates"]) == (30, 0, 2)
    assert not list((out / "spool").iterdir())
    with read_ledger(out / "ledger.sqlite") as ledger:
        (account,) = ledger.series_reports()
        assert account.ended
        assert account.missed == ()


def test_kills_of_workers_and_of_the_whole_program_lose_nothing_that_was_received(tmp_path, scores):
    """Each sent frame is recorded once, or counted as missing by number."""
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
                    require_listed_files(out)
                    continue
                assert detector.end(within_s=60)
                wait_until(lambda: _is_whole(out, count), "the end")
                assert interrupt(child) == 0, log.read_text()
    numbers, rows = numbers_in(out)
    assert len(numbers) == len(set(numbers))
    with read_ledger(out / "ledger.sqlite") as ledger:
        (account,) = ledger.series_reports()
        missed = set(chain.from_iterable(range(a, b + 1) for a, b in account.missed))
    assert missed.isdisjoint(numbers)
    assert missed | set(numbers) == set(range(count))
    # only what a killed program had not yet read from its socket
    assert len(missed) <= 2 * (100 + 10 + 2)
    assert not list((out / "spool").iterdir())
    kept = [row["number"] for row in rows if row["decision"] == "keep"]
    listed = require_listed_files(out)
    assert len(listed) == len(set(listed)) == len(kept)
    assert _hits_in(out / "hits") == sorted(kept)


def require_listed_files(out):
    """Return the lines of the list; each file that they name must be there."""
    lines = (out / "hits.lst").read_text().splitlines()
    assert all(Path(line.rpartition(" //")[0]).is_file() for line in lines)
    return lines


def _is_whole(out, count):
    if list((out / "spool").glob("*.frame")):
        return False
    with read_ledger(out / "ledger.sqlite") as ledger:
        return any(
            a.ended and a.received + a.missed_count == count for a in ledger.series_reports()
        )


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
    judged = np.array([row["number"] for row in rows if row["decision"] != "dropped"])
    assert 30 < len(judged) < 1500
    # all kinds of frame have the same chance
    share = np.bincount(judged % 7, minlength=7) / len(judged)
    assert np.abs(share - 1 / 7).max() < 5 * np.sqrt(6 / 49 / len(judged))


def test_a_full_disk_stops_the_intake_and_loses_nothing(tmp_path, scores, monkeypatch):
    # in this process, so that the disk can be filled at will
    import threading
    import time

    from deepfreak.errors import OutputError
    from deepfreak.live.ledger import Ledger
    from deepfreak.live.receive.dectris.stream import StreamSource
    from deepfreak.live.receive.intake import QueueLimits
    from deepfreak.live.session import Settings, open_session

    said, full = [], threading.Event()
    record = Ledger.record

    def no_room(self, *given):
        if full.is_set():
            raise OutputError("cannot write the ledger: no space left on the disk")
        return record(self, *given)

    monkeypatch.setattr(Ledger, "record", no_room)
    settings = Settings(
        out=tmp_path / "out", model=Path("diffranet"), scores=scores, workers=1,
        limits=QueueLimits(frames=1000),
    )  # fmt: skip
    stop = threading.Event()
    with (
        Detector() as detector,
        open_session(
            settings, lambda _: StreamSource(detector.address), name="x", say=said.append
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


@lru_cache(maxsize=1)
def hot_frame():
    """Return counts of a shot without a crystal and with 300 hot pixels, and where these are."""
    experiment = load_recipe("diffranet")
    names = experiment.classes.names
    shots = (experiment.draw(seed=3, index=index) for index in count_from())
    shot = next(shot for shot in shots if names[shot.label] == "no-crystal")
    counts = detect(scatter(shot), experiment.detector, shot.noise_generator()).astype(np.uint16)
    hot = np.zeros(counts.shape, np.bool_)
    hot.flat[np.random.default_rng(1).choice(hot.size, 300, replace=False)] = True
    counts[hot] = counts.max() * 2
    return counts, hot


@pytest.mark.parametrize("protocol", ["v1", "v2"])
def test_frames_without_a_start_are_marked_until_it_comes(tmp_path, scores, protocol):
    out, log = tmp_path / "out", tmp_path / "log"
    start = Start(
        series_id=7,
        expected=10,
        shape=(512, 512),
        channels=("one",),
        metadata={"saturation": 60000.0},
        masks={"one": hot_frame()[1]},
    )
    with (
        StreamSender("tcp://127.0.0.1:*", protocol=protocol) as detector,
        session(*listening(detector.address, out, scores), log=log) as child,
    ):
        assert detector.wait(PATIENCE_S)
        for number in range(10):
            if number == 5:
                wait_until(lambda: recorded(out) == 5, "5 verdicts")
                assert detector.start(start, within_s=5)
            pixels = hot_frame()[0]
            detector.send(encode_image(number, pixels, start=start, protocol=protocol))
        assert detector.end(within_s=5)
        wait_until(lambda: recorded(out) == 10, "10 verdicts")
        assert interrupt(child) == 0, log.read_text()
    rows = sorted(numbers_in(out)[1], key=lambda row: row["number"])
    assert [row["judged_without"] for row in rows] == [["start"]] * 5 + [[]] * 5
    # hot pixels look like reflections unless a mask names them
    assert min(row["p_crystal"] for row in rows[:5]) > max(row["p_crystal"] for row in rows[5:])
    said = log.read_text()
    assert "series 7: its start was missed; classified without the detector's mask" in said
    assert "series 7: its start came late; later frames are classified with it" in said
    summary = json.loads((out / "summary.json").read_text())
    assert (summary["judged_without"], summary["troubles"]) == (5, 2)
    shown = CliRunner().invoke(missing, [str(out)], standalone_mode=False)
    assert "7: 10 of 10, ended, missed 0; 5 judged without the detector's start" in shown.output
    shown = CliRunner().invoke(missing, [str(out), "--json"], standalone_mode=False)
    found = json.loads(shown.output)
    assert found["judged_without"] == found["series"][0]["judged_without"] == 5


def test_a_start_that_was_never_heard_is_told_of_everywhere(tmp_path, scores):
    out, log = tmp_path / "out", tmp_path / "log"
    start = Start(series_id=7, channels=("one",))
    with (
        StreamSender("tcp://127.0.0.1:*", protocol="v1") as detector,
        session(*listening(detector.address, out, scores), log=log) as child,
    ):
        assert detector.wait(PATIENCE_S)
        for number in (0, 1, 999_999_999, 3):
            pixels = hot_frame()[0]
            detector.send(encode_image(number, pixels, start=start, protocol="v1"))
        wait_until(lambda: recorded(out) == 4, "4 verdicts")
        assert interrupt(child) == 0, log.read_text()
    shown = CliRunner().invoke(missing, [str(out)], standalone_mode=False)
    assert (
        "7: 4, open, missed 1: 2; no start of it is known; 4 judged without the detector's start "
        "or mask; far from all others: 999999999"
    ) in shown.output


def test_restarts_of_detector_and_program_without_ids_lose_no_frame_as_a_duplicate(
    tmp_path, scores
):
    out, log = tmp_path / "out", tmp_path / "log"
    start, images = Start(series_id=1, channels=("one",), shape=(512, 512)), 12
    pixels = encode_pixels(hot_frame()[0], protocol="v1")
    address, sent = None, 0
    for round_ in range(3):
        with session(*listening(address or "tcp://127.0.0.1:31979", out, scores), log=log) as child:
            address = "tcp://127.0.0.1:31979"
            for _ in range(2):  # each is another detector that counts from 1 and 0
                with StreamSender(address, protocol="v1") as detector:
                    assert detector.wait(PATIENCE_S)
                    if round_ != 1:  # else its start is missed
                        assert detector.start(start, within_s=5)
                    for number in range(images):
                        assert detector.send(
                            encode_image(number, pixels, start=start, protocol="v1")
                        )
                    sent += images
                    wait_until(lambda count=sent: _received(out) == count, "all of them")
            if round_ == 0:
                os.killpg(child.pid, signal.SIGKILL)
                child.wait()
                continue
            assert interrupt(child) == 0, log.read_text()
    with read_ledger(out / "ledger.sqlite") as ledger:
        series_reports = ledger.series_reports()
        assert ledger.last == sent
        assert ledger.count("duplicates") == 0
    assert [each.series for each in series_reports] == ["1", *(f"1 ({n})" for n in range(2, 7))]
    assert all((each.received, each.missed) == (images, ()) for each in series_reports)
    assert [each.judged_without for each in series_reports] == [0, 0, images, images, 0, 0]


def _received(out):
    """Return how many frames have a verdict or wait for one."""
    waiting = {path.name for path in (out / "spool").glob("*.frame")}
    return recorded(out) + len(waiting)
