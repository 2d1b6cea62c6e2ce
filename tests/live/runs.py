"""Runs in this process: a source of given events, workers that answer at once."""

import time
from collections import deque
from contextlib import ExitStack, contextmanager
from multiprocessing.connection import wait

from deepfreak.errors import OutputError
from deepfreak.live.ledger import open_ledger
from deepfreak.live.messages import Arrival, FrameOutcome, SeriesBegan, SeriesEnded
from deepfreak.live.receive.intake import QueueLimits
from deepfreak.live.run import LiveRun
from deepfreak.live.spool import Spool
from tests.live.examples import CLASSES

BEGAN = SeriesBegan(series="s", kind="shot", expected=10)


def arrival(number, *, series="s", payload=b"photons"):
    """Return a received frame."""
    return Arrival(series=series, number=number, payload=payload, received=1.0)


def series_of(numbers, *, began=BEGAN, ended=True, **more):
    """Return all events of a series."""
    frames = [arrival(number, series=began.series, **more) for number in numbers]
    return [began, *frames, *([SeriesEnded(series=began.series)] * ended)]


class Told:
    """A source of given events; a callable among them is called instead."""

    def __init__(self, events):
        self._events = events

    def events(self):
        for event in self._events:
            if callable(event):
                event()
                yield None
            else:
                yield event


class Answering:
    """Workers that keep every frame, or decide by a given function."""

    processes = (1,)
    crashes = 0

    def __init__(self, decide=lambda _job: "keep", *, room=4):
        self._decide, self._most = decide, room
        self._jobs = deque()
        self.told = []

    @property
    def busy(self):
        return len(self._jobs)

    @property
    def free_slots(self):
        return self._most - len(self._jobs)

    def submit(self, job, began):
        assert job.series == began.series
        assert self.free_slots > 0
        self.told.append((job.series, job.number))
        self._jobs.append(job)

    def outcomes(self, timeout, also=()):
        if not self._jobs:
            wait(list(also), timeout)
        while self._jobs:
            job = self._jobs.popleft()
            yield (
                job,
                FrameOutcome(
                    series=job.series,
                    number=job.number,
                    decision=self._decide(job),
                    received=job.received,
                    decided=time.time(),
                ),
            )


class Listed:
    """A list in memory, of which `full` says whether there is room."""

    def __init__(self):
        self.rows, self.full, self.tries = [], False, 0

    def last(self):
        return self.rows[-1].sequence if self.rows else 0

    def write(self, rows):
        self.tries += 1
        if self.full:
            raise OutputError("cannot write the list: no space left on the disk")
        assert rows[0].sequence == self.last() + 1
        self.rows += rows

    def numbers(self):
        return [row.outcome.number for row in self.rows]

    def close(self):
        pass


@contextmanager
def made_run(folder, events, *, workers=None, limits=None, spool=Spool, **options):
    """Give a run and its ledger."""
    with ExitStack() as stack:
        ledger = stack.enter_context(open_ledger(folder / "ledger.sqlite", {}))
        run = LiveRun(
            Told(events),
            workers=workers or Answering(),
            ledger=ledger,
            spool=spool(folder / "spool", ledger.id),
            classes=CLASSES,
            limits=limits or QueueLimits(frames=1000, settle_s=0, write_s=0),
            **options,
        )
        yield run, ledger


def rows_of(ledger):
    """Return all outcomes of a ledger."""
    return [row.outcome for rows in ledger.after(0) for row in rows]
