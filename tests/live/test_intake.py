"""Intake: each frame once, an unbiased sample under load, and never more than the queue holds."""

import threading
import time
from multiprocessing.connection import wait
from pathlib import Path

import pytest

from deepfreak.errors import OutputError
from deepfreak.live.ledger import open_ledger
from deepfreak.live.messages import SeriesBegan, SeriesEnded, Trouble
from deepfreak.live.receive.intake import Intake, QueueLimits
from deepfreak.live.spool import Spool
from tests.live.examples import made_outcome
from tests.live.runs import BEGAN, Told, arrival, series_of
from tests.live.sessions import wait_until

OPEN = Path("/proc/self/fd")
IMPATIENT = QueueLimits(frames=100_000, retry_s=0.001)


@pytest.fixture
def ledger(tmp_path):
    with open_ledger(tmp_path / "ledger.sqlite", {}) as opened:
        yield opened


@pytest.fixture
def intake_of(tmp_path, ledger):
    made = []

    def make(events, *, limits=None, spool=None):
        spool = spool or Spool(tmp_path / "spool", ledger.id)
        limits = limits or QueueLimits(frames=100_000)
        made.append(Intake(Told(events), ledger=ledger, spool=spool, limits=limits))
        return made[-1]

    make.made = made
    yield make
    for intake in made:
        intake.close()


def received(intake):
    """Let it receive all there is."""
    intake.start()
    wait_until(lambda: not intake.receiving, "the end of the source")
    assert intake.failure is None
    return intake


def test_each_frame_is_taken_once(intake_of):
    came = [0, 1, 1, 3, 0, 2, 2]
    intake = received(intake_of(series_of(came)))
    assert [job.number for job in intake.queue] == [0, 1, 3, 2]
    assert (intake.received, intake.duplicates, intake.missed) == (4, 3, 6)


def test_a_file_that_is_looked_through_again_counts_no_duplicates(intake_of):
    began = SeriesBegan(series="a.cbf", kind="file")
    intake = received(intake_of(series_of([0, 0], began=began, payload=b"")))
    assert len(intake.queue) == 1
    assert intake.duplicates == 0


@pytest.mark.parametrize("number", [-1, -(2**70), 2**62, 2**200])
def test_frames_with_invalid_numbers_are_rejected(intake_of, number, said):
    intake = received(intake_of([BEGAN, arrival(number), arrival(1)]))
    assert [job.number for job in intake.queue] == [1]
    assert len(said) == 1
    assert "invalid frame number" in said[0]


@pytest.mark.parametrize("wild", [10_000, 999_999_999, 2**62 - 1])
def test_a_wild_frame_number_makes_no_missed_frames(intake_of, ledger, wild):
    intake = received(intake_of([BEGAN, *map(arrival, [0, 1, wild, 3])]))
    assert [job.number for job in intake.queue] == [0, 1, wild, 3]
    assert intake.missed == 1


def test_a_frame_of_no_series_is_refused(intake_of):
    intake = received(intake_of([arrival(1)]))
    assert not intake.queue
    assert "has not begun" in intake.notices[0].message


def test_when_the_queue_fills_a_part_is_left_out_whatever_is_in_it(intake_of, tmp_path):
    limits = QueueLimits(frames=100)
    one = received(intake_of(series_of(range(2000), payload=b"a"), limits=limits))
    taken = [job.number for job in one.queue]
    assert taken[:50] == list(range(50))
    assert len(taken) <= 100
    assert sorted(taken + [each.number for each in one.dropped]) == list(range(2000))
    assert one.received == 2000


@pytest.mark.parametrize("fill", [0.6, 0.75, 0.9])
def test_the_sample_is_fair_to_every_column_of_a_scan(intake_of, monkeypatch, fill):
    intake = intake_of([])
    monkeypatch.setattr(intake, "_fill", lambda: fill)
    count, part = 10_000, (1 - fill) / 0.5
    for series in ("series", "run-1", "42"):
        chosen = [
            intake._is_chosen(arrival(number, series=series, payload=payload))
            for number in range(count)
            for payload in (b"one", b"another")
        ]
        assert chosen[::2] == chosen[1::2]
        taken = [number for number in range(count) if chosen[2 * number]]
        for period in (2, 3, 5, 7, 10, 20):
            expected = part * count / period
            for place in range(period):
                found = sum(number % period == place for number in taken)
                assert abs(found - expected) < 5 * (expected * (1 - part)) ** 0.5


def test_nothing_is_left_out_for_many_series_of_an_earlier_run(intake_of, ledger):
    for number in range(300):
        ledger.begin(SeriesBegan(series=str(number), kind="shot"))
    intake = received(intake_of(series_of(range(20)), limits=QueueLimits(frames=100)))
    assert len(intake.queue) == 20
    assert not intake.dropped


def test_files_wait(intake_of):
    intake = intake_of(
        series_of(range(50), payload=b""), limits=QueueLimits(frames=10, when_full="wait")
    )
    intake.start()
    taken = []
    while len(taken) < 50:
        wait_until(lambda: len(intake.queue) == min(10, 50 - len(taken)), "the queue")
        taken.append(intake.queue.popleft().number)
        assert len(intake.queue) <= 10
    assert taken == list(range(50))
    assert not intake.dropped


def test_who_waits_for_room_can_be_stopped(intake_of):
    intake = intake_of(series_of(range(50)), limits=QueueLimits(frames=2, when_full="wait"))
    intake.start()
    wait_until(lambda: len(intake.queue) >= 2, "the queue")
    intake.stop()
    wait_until(lambda: not intake.receiving, "the end")


def test_what_is_not_settled_is_bounded(intake_of):
    """As on a full disk, while the other thread receives nothing."""
    troubles = [Trouble(message="what?")] * 500
    intake = intake_of(
        [*series_of(range(1000)), *troubles], limits=QueueLimits(frames=2, unsettled=50)
    )
    intake.start()
    dropped = notices = 0
    while intake.receiving or intake.dropped or intake.notices:
        assert len(intake.dropped) + len(intake.notices) <= 52
        while intake.dropped:
            intake.dropped.popleft()
            dropped += 1
        while intake.notices:
            notices += isinstance(intake.notices.popleft(), Trouble)
    assert dropped + len(intake.queue) == 1000
    assert notices == 500


def test_a_full_disk_is_waited_for_and_told_of_once(intake_of, tmp_path, said):
    tries = []

    class Full(Spool):
        def put(self, frame):
            tries.append(frame.number)
            if 3 < len(tries) < 10:
                raise OutputError("cannot keep a frame: no space left on the disk")
            return super().put(frame)

    intake = received(
        intake_of(series_of(range(10)), spool=Full(tmp_path / "full", "a"), limits=IMPATIENT)
    )
    assert [job.number for job in intake.queue] == list(range(10))
    assert len(said) == 2
    assert "nothing is received" in said[0]
    assert "can be written again" in said[1]


def test_what_was_known_before_is_gone_on_with(intake_of, ledger, tmp_path):
    ledger.begin(BEGAN)
    ledger.record([made_outcome(number, series="s") for number in (0, 1, 4)])
    spool = Spool(tmp_path / "spool", ledger.id)
    for number in (4, 5):  # the verdict on one of them is in the ledger
        spool.put(arrival(number))
    intake = received(intake_of([*series_of([1, 5, 6])]))
    assert [job.number for job in intake.queue] == [5, 6]
    assert (intake.received, intake.duplicates) == (5, 2)
    assert intake.missed == 5  # 2, 3, and 7 to 9
    assert len(list((tmp_path / "spool").iterdir())) == 2


def test_frames_of_another_session_are_left_alone(intake_of, tmp_path, ledger):
    # of a series of this session, and a frame that it has recorded
    path = Spool(tmp_path / "spool", "fedcba9876543210").put(arrival(1))
    before = path.read_bytes()
    ledger.begin(BEGAN)
    ledger.record([made_outcome(1, series="s")])
    intake = intake_of([])
    with pytest.raises(OutputError, match="some of another one"):
        intake.start()
    assert path.read_bytes() == before


def test_a_series_that_goes_on_is_open_again_here_and_on_record(intake_of, ledger):
    intake = received(intake_of(series_of(range(3))))
    assert intake.missed == 7
    intake = received(intake_of([BEGAN]))
    assert intake.missed == 0  # they may still come
    (account,) = ledger.series_reports()
    assert not account.ended


def test_who_came_in_the_middle_knows_less_than_the_ledger(intake_of, ledger):
    late = SeriesBegan(series="s", kind="shot", context=b"")
    ledger.begin(SeriesBegan(series="s", kind="shot", context=b"mask", expected=10))
    intake = received(intake_of([late, arrival(8), SeriesEnded(series="s")]))
    assert intake.missed == 9
    assert ledger.began("s").context == b"mask"
    assert ledger.began("s").expected == 10


def test_the_first_frame_of_a_series_wakes_the_other_thread(intake_of):
    heard = threading.Event()
    intake = intake_of([BEGAN, arrival(0), heard.wait])
    intake.start()
    assert wait([intake.wake_up_fd], 5)  # the end of the source would ring as well
    heard.set()


def test_it_leaves_nothing_open(intake_of):
    before = len(list(OPEN.iterdir())), threading.active_count()
    intake_of([]).close()  # it was never started
    started = intake_of(series_of(range(3)))
    started.start()
    started.close()
    intake_of.made.clear()
    assert (len(list(OPEN.iterdir())), threading.active_count()) == before


def test_each_reason_why_nothing_can_be_written_is_told_once(intake_of, ledger, monkeypatch, said):
    reasons = iter(["locked"] * 3 + ["no space left"] * 3)
    begin = ledger.begin

    def fails(event):
        reason = next(reasons, None)
        if reason is not None:
            raise OutputError(f"cannot write the ledger: {reason}")
        begin(event)

    monkeypatch.setattr(ledger, "begin", fails)
    received(intake_of(series_of(range(3)), limits=IMPATIENT))
    assert [line.split(";")[0] for line in said[:2]] == [
        "cannot write the ledger: locked",
        "cannot write the ledger: no space left",
    ]
    assert said[2:] == ["it can be written again, and frames are received"]


def test_a_start_that_comes_late_is_announced_before_the_frames_behind_it(intake_of, ledger):
    missed = SeriesBegan(series="7", kind="dectris-v1", lacks=("start",))
    start = SeriesBegan(series="7", kind="dectris-v1", context=b"mask")
    frames = [arrival(number, series="7") for number in range(3)]
    seen = []
    intake = intake_of([])
    intake._source = Told(
        [missed, frames[0], lambda: seen.append(list(intake.restarted)), start, frames[1]]
    )
    received(intake)
    assert seen == [[]]
    assert list(intake.restarted) == ["7"]
    assert ledger.began("7") == start


def test_latencies_count_from_the_receipt_whatever_the_clock_says(intake_of, monkeypatch):
    """A step of the wall clock between receipt and verdict, in either direction."""
    intake = received(intake_of(series_of(range(1))))
    (job,) = intake.queue
    for step_s in (-1e9, -3600.0, 3600.0, 1e9):
        stepped = time.time() + step_s
        with monkeypatch.context() as patch:
            patch.setattr("deepfreak.live.decide.time.time", lambda at=stepped: at)
            assert 0 <= job.now() - job.received < 60


def test_a_frame_of_an_earlier_run_is_timed_by_the_wall_clock(intake_of, ledger, tmp_path):
    ledger.begin(BEGAN)
    Spool(tmp_path / "spool", ledger.id).put(arrival(5))
    (job,) = received(intake_of([])).queue
    assert job.since is None
    assert job.now() == pytest.approx(time.time(), abs=60)
