"""The loop: what a source gives goes through the spool to the workers and into the ledger.

Outcomes are recorded in this order: frames to save go to the sinks of hits, all outcomes into the
ledger, then the frames' spool files are removed, and lists follow the ledger. Whatever is killed at
any instant, a received frame gets exactly one verdict.
"""

import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from deepfreak.errors import FrameError, InputError, OutputError
from deepfreak.formats.frame import Frame
from deepfreak.formats.guarded import open_guarded
from deepfreak.formats.options import ReadSettings
from deepfreak.live.decide import FrameJob, payload_of
from deepfreak.live.ledger import Ledger
from deepfreak.live.logs import about
from deepfreak.live.messages import (
    SAVED,
    BraggPeaks,
    FrameOutcome,
    FrameSource,
    Hit,
    HitCopy,
    HitSink,
    LedgerRow,
    OutcomeSink,
    RunCounts,
    RunObserver,
    SeriesBegan,
)
from deepfreak.live.receive.decoders import SERIES_KNOWN, Decoders
from deepfreak.live.receive.intake import Intake, QueueLimits
from deepfreak.live.spool import Spool
from deepfreak.live.workers import WorkerPool


class SinkUpdater:
    """Gives a sink each row of the ledger once, in order, also after it failed for a while.

    Raises `OutputError` where the sink holds more than the ledger: rows of another one.
    """

    def __init__(
        self,
        sink: OutcomeSink,
        *,
        ledger: Ledger,
        # gets one line when the sink can take no more; it is tried again now and then
        trouble: Callable[[str], None],
        # every_s, retry_s: seconds between two writes, and until one that failed is tried again
        every_s: float = 0.0,
        retry_s: float = 0.5,
    ) -> None:
        self._sink, self._ledger, self._trouble = sink, ledger, trouble
        self._every_s, self._retry_s, self._fails = every_s, retry_s, False
        self._next_try = self._next_write = 0.0
        self._rows: list[LedgerRow] = []
        if sink.last() > ledger.last:
            raise OutputError(
                f"expected lists of at most {ledger.last} verdicts beside {ledger.path}, found "
                f"{sink.last()} in one of another ledger: remove the lists to have them made again"
            )

    def take(self, rows: Sequence[LedgerRow]) -> None:
        """Keep rows just recorded for the next write, unless earlier ones are missing."""
        last = self._rows[-1].sequence if self._rows else self._sink.last()
        if last == rows[0].sequence - 1 and time.monotonic() >= self._next_try:
            self._rows += rows

    def update_if_due(self) -> None:
        """Write the kept rows, or some that are missing, if it is time."""
        now = time.monotonic()
        if now < max(self._next_try, self._next_write) or self._sink.last() >= self._ledger.last:
            return
        self._next_write = now + self._every_s
        rows, self._rows = self._rows, []
        more = rows or next(self._ledger.after(self._sink.last()), [])
        if more:
            self._write(more)

    def update(self) -> None:
        """Write all rows that are missing, if the sink can be written."""
        self._rows = []
        for rows in self._ledger.after(self._sink.last()):
            if not self._write(rows):
                return

    def _write(self, rows: Sequence[LedgerRow]) -> bool:
        try:
            self._sink.write(rows)
        except OutputError as error:
            self._next_try = time.monotonic() + self._retry_s
            if not self._fails:
                self._fails = True
                self._trouble(f"{error}; what it lacks is added when it can be written")
            return False
        self._fails = False
        return True


MAX_WAIT_S = 0.05
MAX_UNSETTLED = 256
MAX_NOTES = 1000  # on the reading of frames that a run logs
SECONDS_BETWEEN_COUNTS = 0.5
# People look at a few frames per second.
SECONDS_BETWEEN_PICTURES = 0.4

_log = logging.getLogger(__name__)


class LiveRun:
    """A run of live screening: `LiveRun(source, ...).until(stop)`."""

    def __init__(
        self,
        source: FrameSource,
        *,
        workers: WorkerPool,
        ledger: Ledger,
        spool: Spool,
        classes: tuple[str, ...],  # the model's
        limits: QueueLimits,
        # records, hits: where verdicts, and frames to keep or unsure ones, go
        records: Sequence[OutcomeSink] = (),
        hits: Sequence[HitSink] = (),
        observers: Sequence[RunObserver] = (),  # who else is told
        # called in every turn of the loop, twenty times a second or more often
        each_turn: Sequence[Callable[[], None]] = (),
        reading: ReadSettings | None = None,  # see `Decoders`
        pictures: bool = False,  # whether some frames are wanted as people see them
    ) -> None:
        self._workers, self._ledger, self._spool = workers, ledger, spool
        self._hits, self._observers = hits, observers
        self._classes, self._limits, self._pictures = classes, limits, pictures
        self._each_turn = each_turn
        self._intake = Intake(source, ledger=ledger, spool=spool, limits=limits)
        self._updaters = [
            SinkUpdater(
                sink,
                ledger=ledger,
                trouble=self._intake.trouble,
                every_s=limits.write_s,
                retry_s=limits.retry_s,
            )
            for sink in records
        ]
        self._decoders = Decoders(reading=reading, open_file=open_guarded)
        self._series: OrderedDict[str, SeriesBegan] = OrderedDict()
        self._logged_notes = set[str]()
        self._unrecorded: list[tuple[FrameJob, FrameOutcome]] = []
        self._recorded_at = self._picture_at = self._notified_at = 0.0

    def until(self, stop: threading.Event) -> None:
        """Work until the source ends or `stop` is set; then finish what has reached us.

        Raises `DeepFreakError` where the source or all workers have failed, or the disk is full at
        the end; what has no verdict yet stays in the spool for the next run.
        """
        intake = self._intake
        try:
            for updater in self._updaters:
                updater.update()
            intake.start()
            while True:
                if stop.is_set():
                    intake.stop()
                receiving = intake.receiving
                self._submit_jobs()
                settled = self._record_outcomes(stop)
                for updater in self._updaters:
                    updater.update_if_due()
                for turn in self._each_turn:
                    turn()
                if time.monotonic() - self._notified_at > SECONDS_BETWEEN_COUNTS:
                    self._notify_counts()
                waiting = intake.queue or intake.dropped or self._workers.busy or self._unrecorded
                if not (receiving or waiting or settled):
                    break
            for updater in self._updaters:
                updater.update()
            self._ledger.record([], self._noted())
        finally:
            intake.close()
            self._decoders.close()
            self._notify_counts()
        if intake.failure is not None:
            raise intake.failure

    def counts(self) -> RunCounts:
        """Return the state of the run."""
        return RunCounts(
            received=self._intake.received,
            duplicates=self._intake.duplicates,
            missed=self._intake.missed,
            troubles=self._intake.troubles,
            waiting=len(self._intake.queue) + self._workers.busy,
            capacity=self._limits.frames,
            workers=len(self._workers.processes),
            crashes=self._workers.crashes,
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

    def _submit_jobs(self) -> None:
        """Submit frames to workers with free slots."""
        queue = self._intake.queue
        while queue and self._workers.free_slots >= 1:
            job = queue.popleft()
            now = time.monotonic()
            if self._pictures and now - self._picture_at >= SECONDS_BETWEEN_PICTURES:
                self._picture_at = now
                job = replace(job, picture=True)
            self._workers.submit(job, self._began(job.series))

    def _began(self, series: str) -> SeriesBegan:
        """Return what a series began with, which the ledger has before its first frame.

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

    def _record_outcomes(self, stop: threading.Event) -> bool:
        """Wait for outcomes and record those that have come; return whether there were any."""
        intake = self._intake
        unsettled = bool(self._unrecorded or intake.dropped or intake.notices)
        due = self._recorded_at + self._limits.settle_s - time.monotonic()
        wait = max(due, 0.0) if unsettled else MAX_WAIT_S
        self._unrecorded += self._workers.outcomes(wait, also=[intake.wake_up_fd])
        intake.clear_wake_up()
        full = len(self._unrecorded) + len(intake.dropped) >= MAX_UNSETTLED
        if not full and time.monotonic() < self._recorded_at + self._limits.settle_s:
            return False
        self._recorded_at = time.monotonic()
        for _ in range(len(intake.notices)):
            event = intake.notices.popleft()
            for watcher in self._observers:
                watcher.notice(event)
        dropped = [intake.dropped.popleft() for _ in range(len(intake.dropped))]
        if not self._unrecorded and not dropped:
            return False
        came, self._unrecorded = self._unrecorded, []
        for _, outcome in came:
            self._log_outcome(outcome)
        rows = self._record(came, dropped, stop)
        for updater in self._updaters:
            updater.take(rows)
        for watcher in self._observers:
            watcher.add(rows)
        for job, _ in came:
            if job.path is not None:
                self._spool.drop(job.path)
        return True

    def _log_outcome(self, outcome: FrameOutcome) -> None:
        """Log a frame that cannot be read, and once what was noted when others were read."""
        if outcome.decision == "unreadable":
            reason = outcome.error
            _log.info("unreadable: %s", reason, extra=about(outcome.series, outcome.number))
        for note in outcome.notes:
            if note not in self._logged_notes and len(self._logged_notes) < MAX_NOTES:
                self._logged_notes.add(note)
                _log.warning("%s: %s", outcome.series, note, extra=about(outcome.series))

    def _record(
        self,
        came: Sequence[tuple[FrameJob, FrameOutcome]],
        dropped: Sequence[FrameOutcome],
        stop: threading.Event,
    ) -> list[LedgerRow]:
        """Give frames to save to their sinks, then all outcomes to the ledger, until written."""
        outcomes = [*(outcome for _, outcome in came), *dropped]
        to_save = [n for n, (_, outcome) in enumerate(came) if outcome.decision in SAVED]
        told = False
        while True:
            try:
                while self._hits and to_save:
                    place = to_save[0]
                    outcomes[place] = self._saved(*came[place])
                    to_save.pop(0)
                return self._ledger.record(outcomes, self._noted())
            except OutputError as error:
                if stop.is_set():
                    raise
                if not told:
                    told = True
                    self._intake.trouble(f"{error}; verdicts wait until it can be written")
                time.sleep(self._limits.retry_s)

    def _saved(self, job: FrameJob, outcome: FrameOutcome) -> FrameOutcome:
        """Give a frame to the sinks of hits; return its outcome, with where its copy lies."""

        def frame() -> Frame:
            try:
                if job.series not in self._decoders:
                    self._decoders.begin(self._began(job.series))
                return self._decoders.frame(job.series, payload_of(job), job.number)
            except InputError:
                raise
            except Exception as error:  # as in a worker: the next frame has its turn
                raise FrameError(f"{type(error).__name__}: {error}") from error

        peaks = BraggPeaks() if outcome.peaks is None else outcome.peaks
        hit = Hit(outcome=outcome, classes=self._classes, peaks=peaks, frame=frame)
        copy: HitCopy | None = None
        for sink in self._hits:
            try:
                copy = sink.keep(hit) or copy
            except InputError as error:  # as of a file that was taken away meanwhile
                self._intake.trouble(
                    f"a frame to save was not copied: {error}", outcome.series, outcome.number
                )
        return replace(outcome, copy=copy)

    def _noted(self) -> dict[str, int]:
        """Return the counts that the ledger keeps beside its rows."""
        return {"duplicates": self._intake.duplicates, "troubles": self._intake.troubles}

    def _notify_counts(self) -> None:
        self._notified_at = time.monotonic()
        counts = self.counts()
        for watcher in self._observers:
            watcher.count(counts)
