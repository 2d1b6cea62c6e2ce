"""The loop: what a source gives goes through the spool to the workers and into the ledger.

Verdicts are settled in this order: frames to save go to their sinks, all verdicts into the ledger,
then a frame's file is dropped, and lists follow the ledger. Whatever is killed at
whatever instant, a frame that had reached us gets exactly one verdict.
"""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np

from deepfreak.errors import FrameError, InputError, OutputError
from deepfreak.formats.frame import Frame
from deepfreak.formats.guarded import open_guarded
from deepfreak.formats.options import ReadSettings
from deepfreak.live.decide import Job, payload_of
from deepfreak.live.messages import (
    SAVED,
    Hit,
    HitSink,
    Outcome,
    Peaks,
    Recorded,
    RecordSink,
    SeriesBegan,
    Source,
)
from deepfreak.live.receive.decoders import SERIES_KNOWN, Decoders
from deepfreak.live.receive.intake import SECONDS_TO_RETRY, Intake, Limits, Notice
from deepfreak.live.results.ledger import Ledger
from deepfreak.live.results.sink_updater import Follower
from deepfreak.live.spool import Spool
from deepfreak.live.workers import Workers

MAX_WAIT_S = 0.05
MAX_UNSETTLED = 256
MAX_NOTES = 1000  # of the reading of frames that a run says
SECONDS_BETWEEN_COUNTS = 0.5
# People look at a few frames a second.
SECONDS_BETWEEN_PICTURES = 0.4


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """What is not in the rows of the ledger.

    Attributes
    ----------
    received
        Frames that have reached us, each once.
    duplicates
        Frames that came again, which were not looked at again.
    missed
        Frames whose numbers say that they were sent, or will have been, and never came.
    troubles
        Messages that were not understood, and what else was wrong.
    waiting, capacity
        Frames that wait for a verdict, and the most that may.
    workers, deaths
        Processes that judge, and how many of them have died.
    """

    received: int
    duplicates: int
    missed: int
    troubles: int
    waiting: int
    capacity: int
    workers: int
    deaths: int


class Watcher(Protocol):
    """Who is told of all that happens, such as the board that people look at."""

    def add(self, rows: Sequence[Recorded]) -> None:
        """Take what the ledger has."""

    def notice(self, event: Notice) -> None:
        """Take note of what a source has said."""

    def count(self, counts: Counts) -> None:
        """Take the state of the run."""


class Run:
    """A run of live screening: `Run(source, ...).until(stop)`.

    Parameters
    ----------
    records, hits
        Where verdicts, and frames to keep or unsure ones, go.
    watchers
        Who else is told.
    classes
        The model's.
    reading
        See `Decoders`.
    each_turn
        Called in every turn of the loop, twenty times a second or more often.
    pictures
        Whether some frames are wanted as people see them.
    say
        Gets a line when something is wrong.
    """

    def __init__(
        self,
        source: Source,
        *,
        workers: Workers,
        ledger: Ledger,
        spool: Spool,
        classes: tuple[str, ...],
        limits: Limits,
        records: Sequence[RecordSink] = (),
        hits: Sequence[HitSink] = (),
        watchers: Sequence[Watcher] = (),
        each_turn: Sequence[Callable[[], None]] = (),
        reading: ReadSettings | None = None,
        pictures: bool = False,
        say: Callable[[str], None] = lambda _line: None,
    ) -> None:
        self._workers, self._ledger, self._spool = workers, ledger, spool
        self._hits, self._watchers = hits, watchers
        self._classes, self._limits, self._pictures = classes, limits, pictures
        self._each_turn = each_turn
        self._intake = Intake(source, ledger=ledger, spool=spool, limits=limits, say=say)
        self._followers = [
            Follower(sink, ledger=ledger, trouble=self._intake.trouble, every_s=limits.write_s)
            for sink in records
        ]
        self._decoders = Decoders(reading=reading, open_file=open_guarded)
        self._series: OrderedDict[str, SeriesBegan] = OrderedDict()
        self._say, self._said_notes = say, set[str]()
        self._came: list[tuple[Job, Outcome]] = []
        self._settled_at = self._picture_at = self._told_at = 0.0

    def until(self, stop: threading.Event) -> None:
        """Work until the source ends or `stop` is set; then finish what has reached us.

        Raises
        ------
        DeepFreakError
            The source or all workers have failed, or the disk is full at the end; what has no
            verdict yet stays in the spool for the next run.
        """
        intake = self._intake
        try:
            for follower in self._followers:
                follower.catch_up()
            intake.start()
            while True:
                if stop.is_set():
                    intake.stop()
                receiving = intake.receiving
                self._give_out()
                settled = self._settle_what_came(stop)
                for follower in self._followers:
                    follower.catch_up_a_little()
                for turn in self._each_turn:
                    turn()
                if time.monotonic() - self._told_at > SECONDS_BETWEEN_COUNTS:
                    self._tell()
                waiting = intake.queue or intake.left_out or self._workers.busy or self._came
                if not (receiving or waiting or settled):
                    break
            for follower in self._followers:
                follower.catch_up()
            self._ledger.record([], self._noted())
        finally:
            intake.close()
            self._decoders.close()
            self._tell()
        if intake.failure is not None:
            raise intake.failure

    def counts(self) -> Counts:
        """Return the state of the run."""
        return Counts(
            received=self._intake.received,
            duplicates=self._intake.duplicates,
            missed=self._intake.missed,
            troubles=self._intake.troubles,
            waiting=len(self._intake.queue) + self._workers.busy,
            capacity=self._limits.frames,
            workers=len(self._workers.processes),
            deaths=self._workers.deaths,
        )

    def summary(self) -> dict[str, Any]:
        """Return what has come of the run so far, as JSON values."""
        counts = self.counts()
        return {
            "received": counts.received,
            "recorded": self._ledger.last,
            "decisions": self._ledger.decisions(),
            "judged_without": self._ledger.judged_without(),
            "missed": counts.missed,
            "duplicates": counts.duplicates,
            "troubles": counts.troubles,
        }

    def _give_out(self) -> None:
        """Give frames to workers that have room."""
        queue = self._intake.queue
        while queue:
            if self._workers.room < 1:
                return
            job = queue.popleft()
            self._workers.give(self._shown(job), self._began(job.series))

    def _began(self, series: str) -> SeriesBegan:
        """Return what a series began with; the ledger has had it since before its first frame.

        A start that came late is in the ledger before the frames behind it are in the queue.
        """
        while self._intake.restarted:
            known = self._intake.restarted.popleft()
            self._series.pop(known, None)
            self._decoders.forget(known)
        began = self._series.get(series) or self._ledger.began(series)
        if began is None:
            raise FrameError(f"expected series {series:.60} in the ledger, found no such")
        self._series[series] = began
        self._series.move_to_end(series)
        if len(self._series) > SERIES_KNOWN:
            self._series.popitem(last=False)
        return began

    def _shown(self, job: Job) -> Job:
        """Return the frame, now and then with the wish to see it."""
        now = time.monotonic()
        if not self._pictures or now - self._picture_at < SECONDS_BETWEEN_PICTURES:
            return job
        self._picture_at = now
        return replace(job, picture=True)

    def _settle_what_came(self, stop: threading.Event) -> bool:
        """Wait for verdicts and settle those that have come; return whether there were any."""
        intake = self._intake
        unsettled = bool(self._came or intake.left_out or intake.notices)
        due = self._settled_at + self._limits.settle_s - time.monotonic()
        wait = max(due, 0.0) if unsettled else MAX_WAIT_S
        self._came += self._workers.outcomes(wait, also=[intake.bell])
        intake.hush()
        full = len(self._came) + len(intake.left_out) >= MAX_UNSETTLED
        if not full and time.monotonic() < self._settled_at + self._limits.settle_s:
            return False
        self._settled_at = time.monotonic()
        for _ in range(len(intake.notices)):
            event = intake.notices.popleft()
            for watcher in self._watchers:
                watcher.notice(event)
        left_out = [intake.left_out.popleft() for _ in range(len(intake.left_out))]
        if not self._came and not left_out:
            return False
        came, self._came = self._came, []
        for _, outcome in came:
            self._say_notes(outcome)
        rows = self._record(came, left_out, stop)
        for follower in self._followers:
            follower.take(rows)
        for watcher in self._watchers:
            watcher.add(rows)
        for job, _ in came:
            if job.path is not None:
                self._spool.drop(job.path)
        return True

    def _say_notes(self, outcome: Outcome) -> None:
        """Say what the reading of a frame tells, once; each worker has told it."""
        for note in outcome.notes:
            if note not in self._said_notes and len(self._said_notes) < MAX_NOTES:
                self._said_notes.add(note)
                self._say(f"{outcome.series}: {note}")

    def _record(
        self,
        came: Sequence[tuple[Job, Outcome]],
        left_out: Sequence[Outcome],
        stop: threading.Event,
    ) -> list[Recorded]:
        """Give frames to save to their sinks, then all verdicts to the ledger; insist on both."""
        outcomes = [*(outcome for _, outcome in came), *left_out]
        to_save = [each for each in came if each[1].decision in SAVED] if self._hits else []
        told = False
        while True:
            try:
                while to_save:
                    self._save(*to_save[0])
                    to_save.pop(0)
                return self._ledger.record(outcomes, self._noted())
            except OutputError as error:
                if stop.is_set():
                    raise
                if not told:
                    told = True
                    self._intake.trouble(f"{error}; verdicts wait until it can be written")
                time.sleep(SECONDS_TO_RETRY)

    def _save(self, job: Job, outcome: Outcome) -> None:
        def frame() -> Frame:
            try:
                if job.series not in self._decoders:
                    self._decoders.begin(self._began(job.series))
                return self._decoders.frame(job.series, payload_of(job), job.number)
            except InputError:
                raise
            except Exception as error:  # as in a worker: the next frame has its turn
                raise FrameError(f"{type(error).__name__}: {error}") from error

        peaks = outcome.peaks if outcome.peaks is not None else _no_peaks()
        hit = Hit(outcome=outcome, classes=self._classes, peaks=peaks, frame=frame)
        for sink in self._hits:
            try:
                sink.keep(hit)
            except InputError as error:  # as of a file that was taken away meanwhile
                self._intake.trouble(f"a frame to save was not copied: {error}")

    def _noted(self) -> dict[str, int]:
        """Return the counts that the ledger keeps beside its rows."""
        return {"duplicates": self._intake.duplicates, "troubles": self._intake.troubles}

    def _tell(self) -> None:
        self._told_at = time.monotonic()
        counts = self.counts()
        for watcher in self._watchers:
            watcher.count(counts)


def _no_peaks() -> Peaks:
    none = np.empty(0)
    return Peaks(slow=none, fast=none, photons=none, height_sigma=none)
