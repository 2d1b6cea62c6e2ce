"""The loop: what a source gives goes through the spool to the workers and into the ledger.

Verdicts are settled in this order: frames to keep go to their sinks, all verdicts into the ledger,
from there to the other sinks, and only then is a frame's file dropped. Whatever is killed at
whatever instant, a frame that had reached us gets exactly one verdict.
"""

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np

from deepfreak.errors import InputError, OutputError
from deepfreak.frames.frame import Frame
from deepfreak.live.decoding import Decoders
from deepfreak.live.events import (
    Hit,
    HitSink,
    Outcome,
    Peaks,
    Recorded,
    RecordSink,
    SeriesBegan,
    Source,
)
from deepfreak.live.intake import SECONDS_TO_RETRY, Intake, Limits, Notice
from deepfreak.live.judge import Job, payload_of
from deepfreak.live.ledger import Account, Ledger
from deepfreak.live.spool import Spool
from deepfreak.live.workers import Workers

LONGEST_WAIT_S = 0.05
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

    def count(self, counts: Counts, accounts: tuple[Account, ...]) -> None:
        """Take the state of the queue, and what has come of each series."""


class Run:
    """A run of live screening: `Run(source, ...).until(stop)`.

    Parameters
    ----------
    records, hits
        Where verdicts and frames to keep go.
    watchers
        Who else is told.
    classes
        The model's.
    channel
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
        channel: str | None = None,
        pictures: bool = False,
        say: Callable[[str], None] = lambda _line: None,
    ) -> None:
        self._workers, self._ledger, self._spool = workers, ledger, spool
        self._records, self._hits, self._watchers = records, hits, watchers
        self._classes, self._limits, self._pictures = classes, limits, pictures
        self._each_turn = each_turn
        self._intake = Intake(source, ledger=ledger, spool=spool, limits=limits, say=say)
        self._decoders = Decoders(channel=channel)
        self._picture_at = self._told_at = 0.0

    def until(self, stop: threading.Event) -> None:
        """Work until the source ends or `stop` is set; then finish what has reached us.

        Raises
        ------
        DeepFreakError
            The source or all workers have failed, or the disk is full at the end; what has no
            verdict yet stays in the spool for the next run.
        """
        intake = self._intake
        for sink in self._records:
            self._catch_up(sink)
        intake.start()
        try:
            while True:
                if stop.is_set():
                    intake.stop()
                receiving = intake.receiving
                self._give_out()
                settled = self._settle_what_came(stop)
                for turn in self._each_turn:
                    turn()
                if time.monotonic() - self._told_at > SECONDS_BETWEEN_COUNTS:
                    self._tell()
                waiting = intake.queue or intake.left_out or self._workers.busy
                if not (receiving or waiting or settled):
                    break
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
            "missed": counts.missed,
            "duplicates": counts.duplicates,
            "troubles": counts.troubles,
        }

    def _give_out(self) -> None:
        """Give frames to workers that have room."""
        queue = self._intake.queue
        while queue:
            first = queue[0]
            if isinstance(first, SeriesBegan):
                self._workers.begin(first)
                self._decoders.begin(first)
            elif self._workers.room > 0:
                self._workers.give(self._shown(first))
            else:
                return
            queue.popleft()

    def _shown(self, job: Job) -> Job:
        """Return the frame, now and then with the wish to see it."""
        now = time.monotonic()
        if not self._pictures or now - self._picture_at < SECONDS_BETWEEN_PICTURES:
            return job
        self._picture_at = now
        return replace(job, picture=True)

    def _settle_what_came(self, stop: threading.Event) -> bool:
        """Wait for verdicts and settle them; return whether there were any."""
        intake = self._intake
        wait = 0 if intake.left_out or intake.notices else LONGEST_WAIT_S
        came = list(self._workers.outcomes(wait, also=[intake.bell]))
        intake.hush()
        while intake.notices:
            event = intake.notices.popleft()
            for watcher in self._watchers:
                watcher.notice(event)
        left_out = [intake.left_out.popleft() for _ in range(len(intake.left_out))]
        if not came and not left_out:
            return False
        rows = self._record(came, left_out, stop)
        for sink in self._records:
            if sink.last() == rows[0].sequence - 1:
                self._write(sink, rows)
            else:
                self._catch_up(sink)
        for watcher in self._watchers:
            watcher.add(rows)
        for job, _ in came:
            if job.path is not None:
                self._spool.drop(job.path)
        return True

    def _record(
        self,
        came: Sequence[tuple[Job, Outcome]],
        left_out: Sequence[Outcome],
        stop: threading.Event,
    ) -> list[Recorded]:
        """Give frames to keep to their sinks, then all verdicts to the ledger; insist on both."""
        outcomes = [*(outcome for _, outcome in came), *left_out]
        counts = {"duplicates": self._intake.duplicates, "troubles": self._intake.troubles}
        to_keep = [each for each in came if each[1].decision == "keep"] if self._hits else []
        told = False
        while True:
            try:
                while to_keep:
                    self._keep(*to_keep[0])
                    to_keep.pop(0)
                return self._ledger.record(outcomes, counts)
            except OutputError as error:
                if stop.is_set():
                    raise
                if not told:
                    told = True
                    self._intake.trouble(f"{error}; verdicts wait until it can be written")
                time.sleep(SECONDS_TO_RETRY)

    def _keep(self, job: Job, outcome: Outcome) -> None:
        def frame() -> Frame:
            return self._decoders.frame(job.series, payload_of(job), job.number)

        peaks = outcome.peaks if outcome.peaks is not None else _no_peaks()
        hit = Hit(outcome=outcome, classes=self._classes, peaks=peaks, frame=frame)
        for sink in self._hits:
            try:
                sink.keep(hit)
            except InputError as error:  # as of a file that was taken away meanwhile
                self._intake.trouble(f"a frame to keep was not copied: {error}")

    def _write(self, sink: RecordSink, rows: Sequence[Recorded]) -> None:
        """Give rows to a sink; one that cannot take them gets them from the ledger later."""
        try:
            sink.write(rows)
        except OutputError as error:
            self._intake.trouble(str(error))

    def _catch_up(self, sink: RecordSink) -> None:
        """Give a sink what the ledger has beyond what it holds."""
        for rows in self._ledger.after(sink.last()):
            self._write(sink, rows)
            if sink.last() != rows[-1].sequence:
                return  # still no room

    def _tell(self) -> None:
        self._told_at = time.monotonic()
        counts, accounts = self.counts(), self._intake.accounts()
        for watcher in self._watchers:
            watcher.count(counts, accounts)


def _no_peaks() -> Peaks:
    none = np.empty(0)
    return Peaks(slow=none, fast=none, photons=none, height_sigma=none)
