"""The steps of a run, their order, and kills between them."""

import threading
import time
from itertools import chain, repeat

import pytest

from deepfreak.errors import FrameError, OutputError
from deepfreak.live.ledger import Ledger
from deepfreak.live.messages import SeriesBegan
from deepfreak.live.receive.decoders import SERIES_KNOWN
from deepfreak.live.receive.intake import QueueLimits
from deepfreak.live.spool import Spool
from tests.live.runs import BEGAN, Answering, Listed, arrival, made_run, rows_of, series_of
from tests.live.sessions import wait_until

NEVER = threading.Event()


class Kept:
    """Collects frames to keep."""

    def __init__(self):
        self.numbers, self.decoded = [], []

    def keep(self, hit):
        self.numbers.append(hit.outcome.number)

    def close(self):
        pass


def test_a_frame_is_dropped_only_when_its_copy_and_its_verdict_are_safe(tmp_path, monkeypatch):
    steps = []

    def noted(owner, name):
        plain = getattr(owner, name)

        def do(self, *given):
            if name != "record" or given[0]:
                steps.append(name)
            return plain(self, *given)

        monkeypatch.setattr(owner, name, do)

    for owner, name in ((Kept, "keep"), (Ledger, "record"), (Listed, "write"), (Spool, "drop")):
        noted(owner, name)
    with made_run(tmp_path, series_of([0]), records=[Listed()], hits=[Kept()]) as (run, _):
        run.until(NEVER)
    # lists come last: missing lines are filled in from the ledger
    assert steps == ["keep", "record", "drop", "write"]


def test_unsure_frames_are_saved_as_those_to_keep_and_no_others(tmp_path):
    decisions = ["keep", "unsure", "discard", "unreadable", "unsure"]
    kept = Kept()
    workers = Answering(lambda job: decisions[job.number])
    with made_run(tmp_path, series_of(range(5)), workers=workers, hits=[kept]) as (run, _):
        run.until(NEVER)
    assert kept.numbers == [0, 1, 4]


class Killed(BaseException):
    """Stands in for `kill -9`."""


@pytest.mark.parametrize("place", ["keep", "record", "write", "drop"])
@pytest.mark.parametrize("after", [False, True])
def test_whatever_is_killed_at_whatever_instant_has_one_verdict(
    tmp_path, monkeypatch, place, after
):
    owner = {"keep": Kept, "record": Ledger, "write": Listed, "drop": Spool}[place]
    plain, left = getattr(owner, place), [3]

    def dies(self, *given):
        left[0] -= 1
        if left[0] == 0 and not after:
            raise Killed
        done = plain(self, *given)
        if left[0] == 0:
            raise Killed
        return done

    listed, workers = Listed(), Answering(room=1)
    with monkeypatch.context() as patch:
        patch.setattr(owner, place, dies)
        with (
            made_run(
                tmp_path, series_of(range(6)), workers=workers, records=[listed], hits=[Kept()]
            ) as (run, _),
            pytest.raises(Killed),
        ):
            run.until(NEVER)
    with made_run(tmp_path, series_of(range(6)), records=[listed]) as (run, ledger):
        run.until(NEVER)
        assert sorted(row.number for row in rows_of(ledger)) == list(range(6))
        assert [row.sequence for row in listed.rows] == list(range(1, 7))
        assert run.counts().received == 6
        assert run.counts().missed == 4
    assert not list((tmp_path / "spool").iterdir())


def test_a_full_disk_is_told_once_and_costs_no_verdict(tmp_path, monkeypatch, said):
    plain, tries = Ledger.record, []

    def record(self, outcomes, counts):
        tries.append(len(outcomes))
        if len(tries) <= 5:
            raise OutputError("cannot write the ledger: no space left on the disk")
        return plain(self, outcomes, counts)

    monkeypatch.setattr(Ledger, "record", record)
    kept = Kept()
    limits = QueueLimits(frames=1000, settle_s=0, write_s=0, retry_s=0.001)
    with made_run(tmp_path, series_of(range(10)), hits=[kept], limits=limits) as (run, ledger):
        run.until(NEVER)
        assert sorted(row.number for row in rows_of(ledger)) == list(range(10))
    assert sorted(kept.numbers) == list(range(10))  # each once, although they had arrived before
    assert len(said) == 1
    assert "verdicts wait" in said[0]


def test_a_full_disk_at_the_end_leaves_frames_to_the_next_run(tmp_path, monkeypatch):
    def record(self, outcomes, counts):
        raise OutputError("cannot write the ledger: no space left on the disk")

    stop = threading.Event()
    with monkeypatch.context() as patch:
        patch.setattr(Ledger, "record", record)
        with (
            made_run(tmp_path, [*series_of(range(10)), stop.set]) as (run, _),
            pytest.raises(OutputError, match="no space left"),
        ):
            run.until(stop)
    with made_run(tmp_path, []) as (run, ledger):
        run.until(NEVER)
        assert sorted(row.number for row in rows_of(ledger)) == list(range(10))


def test_a_list_that_cannot_be_written_is_told_of_once_and_catches_up(tmp_path, said):
    stuck, fine = Listed(), Listed()
    limits = QueueLimits(frames=1000, settle_s=0, write_s=0, retry_s=0.02)

    def heal():
        wait_until(lambda: stuck.tries > 3, "some tries")
        assert fine.numbers() == list(range(6))
        stuck.full = False
        # though no further frame comes
        wait_until(lambda: stuck.numbers() == list(range(6)), "the list")

    def fill():
        wait_until(lambda: len(fine.rows) == 3, "three rows")
        stuck.full = True

    events = [BEGAN, *map(arrival, range(3)), fill, *map(arrival, range(3, 6))]
    events += [lambda: wait_until(lambda: len(fine.rows) == 6, "six rows"), heal]
    with made_run(tmp_path, events, records=[stuck, fine], limits=limits) as (run, _):
        run.until(NEVER)
    assert len(said) == 1
    assert "no space left" in said[0]


def test_a_list_is_not_asked_to_write_more_often_than_now_and_then(tmp_path):
    stuck = Listed()
    stuck.full = True
    with made_run(tmp_path, series_of(range(500)), workers=Answering(room=1), records=[stuck]) as (
        run,
        ledger,
    ):
        start = time.monotonic()
        run.until(NEVER)
        assert ledger.last == 500
    assert stuck.tries <= 3 + (time.monotonic() - start) / 0.5
    stuck.full = False
    with made_run(tmp_path, [], records=[stuck]) as (run, _):
        run.until(NEVER)
    assert sorted(stuck.numbers()) == list(range(500))


def test_a_list_of_another_ledger_is_refused(tmp_path):
    listed = Listed()
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    with made_run(tmp_path / "one", series_of(range(5)), records=[listed]) as (run, _):
        run.until(NEVER)
    with (
        pytest.raises(OutputError, match="at most 0 verdicts"),
        made_run(tmp_path / "two", series_of(range(5)), records=[listed]),
    ):
        pass


def test_a_frame_of_a_series_that_began_long_ago_is_still_copied(tmp_path, monkeypatch, said):
    monkeypatch.setattr(
        "deepfreak.live.receive.decoders._decoder",
        lambda *_: lambda payload, _number: bytes(payload),
    )

    class Copied(Kept):
        def keep(self, hit):
            self.decoded.append(hit.frame())

    others = [SeriesBegan(series=str(i), kind="shot") for i in range(SERIES_KNOWN + 1)]
    copied = Copied()
    events = [BEGAN, *others, arrival(0)]
    with made_run(tmp_path, events, hits=[copied]) as (run, _):
        run.until(NEVER)
    assert copied.decoded == [b"photons"]
    assert said == []


def test_whatever_is_wrong_with_a_copy_ends_no_run(tmp_path, monkeypatch, said):
    def broken(payload, number):
        raise ZeroDivisionError("in some library")

    class Copied(Kept):
        def keep(self, hit):
            with pytest.raises(FrameError, match="ZeroDivisionError"):
                hit.frame()
            hit.frame()

    monkeypatch.setattr("deepfreak.live.receive.decoders._decoder", lambda *_: broken)
    with made_run(tmp_path, series_of([0, 1]), hits=[Copied()]) as (run, ledger):
        run.until(NEVER)
        assert ledger.last == 2
    assert len(said) == 2


def test_what_came_before_a_source_failed_is_judged(tmp_path):
    def fail():
        raise ZeroDivisionError

    with made_run(tmp_path, [*series_of(range(10)), fail]) as (run, ledger):
        with pytest.raises(ZeroDivisionError):
            run.until(NEVER)
        assert ledger.last == 10


def test_duplicates_are_on_record_though_nothing_follows_them(tmp_path):
    listed = Listed()
    came = [BEGAN, arrival(0), lambda: wait_until(listed.rows.__len__, "a row")]
    events = [*came, arrival(0), arrival(0)]
    with made_run(tmp_path, events, records=[listed]) as (run, ledger):
        run.until(NEVER)
        assert ledger.count("duplicates") == 2
    with made_run(tmp_path, [BEGAN, arrival(0)]) as (run, ledger):
        run.until(NEVER)
        assert run.counts().duplicates == ledger.count("duplicates") == 3


def test_stopped_it_receives_no_more_and_judges_what_has_come(tmp_path):
    stop = threading.Event()
    events = chain(series_of(range(7), ended=False), [stop.set], repeat(None))
    with made_run(tmp_path, events) as (run, ledger):
        run.until(stop)
        assert ledger.last == 7


def test_frames_behind_a_late_start_are_given_out_with_it(tmp_path):
    class Noting(Answering):
        def submit(self, job, began):
            self.told.append((job.number, began.context))
            super().submit(job, began)

    missed = SeriesBegan(series="7", kind="dectris-v1", lacks=("start",))
    start = SeriesBegan(series="7", kind="dectris-v1", context=b"mask")
    workers, listed = Noting(room=1), Listed()
    first = [arrival(number, series="7") for number in range(3)]
    events = [missed, *first, lambda: wait_until(lambda: len(listed.rows) == 3, "three rows")]
    events += [start, *(arrival(number, series="7") for number in range(3, 6))]
    with made_run(tmp_path, events, workers=workers, records=[listed]) as (run, _):
        run.until(NEVER)
    given = [each for each in workers.told if isinstance(each[0], int)]
    assert given == [(n, b"") for n in range(3)] + [(n, b"mask") for n in range(3, 6)]
