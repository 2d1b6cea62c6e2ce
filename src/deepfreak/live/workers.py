"""Processes that decode and classify frames, each with a pipe of its own.

No lock and no queue is shared, so that one may be killed at any instant: its frames go to another.
A frame at which several workers have crashed is recorded as unreadable.
"""

import contextlib
import logging
import multiprocessing
import signal
import threading
import time
from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.context import BaseContext
from multiprocessing.process import BaseProcess
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from deepfreak.errors import DeepFreakError
from deepfreak.formats.options import ReadSettings
from deepfreak.live.decide import FrameJob
from deepfreak.live.logs import PipeHandler, about, handle
from deepfreak.live.messages import FrameOutcome, SeriesBegan
from deepfreak.live.receive.decoders import SERIES_KNOWN
from deepfreak.screening.policy import Policy

JOBS_PER_WORKER = 2  # its next frame is at hand when it ends one

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerLimits:
    """What workers may take."""

    crashes: int = 2  # this many at one frame make it unreadable
    # this many in a row end the run: workers that crash during start-up will do so again
    startup_failures: int = 5
    start_s: float = 240.0  # seconds for a start; code may have to be compiled first
    # seconds for one frame; then the worker is killed and the frame is unreadable
    frame_s: float = 60.0
    end_s: float = 2.0  # seconds to end in
    series: int = SERIES_KNOWN  # how many series a worker remembers


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerTask:
    """What each worker works with."""

    model: Path | None  # file of the model; None for the one that ships
    policy: Policy
    # reading, peaks: as in `Decoders` and `FrameDecider`
    reading: ReadSettings = field(default_factory=ReadSettings)
    peaks: bool = False
    # what it may take beyond its start; a frame that needs more is unreadable
    memory_bytes: int = 3 << 29
    log_level: int = logging.WARNING  # of the records that it sends


@dataclass(slots=True, eq=False)
class _Worker:
    process: BaseProcess
    pipe: Connection
    sender: threading.Thread
    outbox: "SimpleQueue[Any]"  # what the sender has to send
    jobs: deque[tuple[FrameJob, SeriesBegan]] = field(default_factory=deque)
    series: OrderedDict[str, SeriesBegan] = field(default_factory=OrderedDict)  # that it knows
    ready: bool = False
    late: bool = False
    since: float = field(default_factory=time.monotonic)  # it is at this frame, or starts


class WorkerPool:
    """Processes that classify frames; closes them when it is closed."""

    def __init__(
        self,
        task: Any,  # noqa: ANN401 -- of `work`
        *,
        count: int,
        # what each runs, with `task` and its end of a pipe
        work: "Callable[[Any, Connection], None] | None" = None,
        limits: WorkerLimits | None = None,
        context: BaseContext | None = None,
    ) -> None:
        self._task, self._work = task, work or classify_frames
        self._limits = limits or WorkerLimits()
        self._context: Any = context or multiprocessing.get_context("spawn")
        self._retries: deque[tuple[FrameJob, SeriesBegan]] = deque()
        self._crashes_at: Counter[tuple[str, int]] = Counter()
        self._startup_failures = 0
        self.crashes = 0  # how many workers have crashed or were killed
        self._workers = [self._start() for _ in range(count)]

    def wait_until_ready(self) -> None:
        """Return when the first worker is ready; `DeepFreakError` where none of them starts."""
        until = time.monotonic() + self._limits.start_s
        while not self._ready():
            if time.monotonic() > until:
                raise DeepFreakError(
                    f"no worker was ready after {self._limits.start_s:.0f} s: is the machine busy?"
                )
            for _ in self.outcomes(0.1):
                pass

    @property
    def processes(self) -> list[int]:
        """The process numbers of the workers."""
        return [worker.process.pid or 0 for worker in self._workers]

    @property
    def busy(self) -> int:
        """How many frames are with workers, or wait for another one after theirs has crashed."""
        return sum(len(worker.jobs) for worker in self._workers) + len(self._retries)

    @property
    def free_slots(self) -> int:
        """How many further frames can be submitted now, to workers that are ready."""
        return JOBS_PER_WORKER * len(self._ready()) - self.busy

    def submit(self, job: FrameJob, began: SeriesBegan) -> None:
        """Submit a frame of a series to the least busy worker; `free_slots` must be at least 1.

        Another `began` of a series than before replaces that.
        """
        worker = min(self._ready(), key=lambda one: len(one.jobs))
        if not worker.jobs:
            worker.since = time.monotonic()
        worker.jobs.append((job, began))
        if worker.series.get(job.series) is not began:
            worker.outbox.put(began)
            # as its decoders do
            worker.series.pop(job.series, None)
            worker.series[job.series] = began
            if len(worker.series) > self._limits.series:
                worker.series.popitem(last=False)
        worker.outbox.put(job)

    def outcomes(
        self, timeout: float, also: Iterable[Any] = ()
    ) -> Iterator[tuple[FrameJob, FrameOutcome]]:
        """Yield the outcomes of frames, waiting at most `timeout` seconds for the first.

        `also` are further things to wake up for, as `multiprocessing.connection.wait` takes them.
        """
        by_pipe = {worker.pipe: worker for worker in self._workers}
        by_end = {worker.process.sentinel: worker for worker in self._workers}
        for found in wait([*by_pipe, *by_end, *also], timeout):
            if isinstance(found, Connection) and found in by_pipe:
                yield from self._received(by_pipe[found])
        now = time.monotonic()
        for worker in self._workers:
            longest_s = self._limits.frame_s if worker.ready else self._limits.start_s
            if (worker.jobs or not worker.ready) and now - worker.since > longest_s:
                worker.late = True
                worker.process.kill()
        # what a crashed worker had sent was read first
        for worker in by_end.values():
            if not worker.process.is_alive():
                yield from self._received(worker)
                yield from self._replace(worker)
        # these count as busy already
        for _ in range(min(len(self._retries), self.free_slots + len(self._retries))):
            self.submit(*self._retries.popleft())

    def close(self) -> None:
        """End all workers."""
        until = time.monotonic() + self._limits.end_s
        for worker in self._workers:
            worker.outbox.put(None)
        for worker in self._workers:
            worker.process.join(max(0.0, until - time.monotonic()))
            if worker.process.is_alive():
                worker.process.kill()
                worker.process.join()
            worker.sender.join()
            worker.pipe.close()

    def _ready(self) -> list[_Worker]:
        return [worker for worker in self._workers if worker.ready]

    def _received(self, worker: _Worker) -> Iterator[tuple[FrameJob, FrameOutcome]]:
        with contextlib.suppress(EOFError, OSError):
            while worker.pipe.poll():
                said = worker.pipe.recv()
                if isinstance(said, DeepFreakError):
                    raise said
                if isinstance(said, logging.LogRecord):
                    handle(said)
                    continue
                worker.ready, worker.since = True, time.monotonic()
                if isinstance(said, FrameOutcome):
                    self._startup_failures, worker.late = 0, False
                    yield worker.jobs.popleft()[0], said

    def _replace(self, worker: _Worker) -> Iterator[tuple[FrameJob, FrameOutcome]]:
        """Start a worker in the place of a crashed one; retry its frames, or give them up."""
        self.crashes += 1
        self._startup_failures += not worker.ready
        how, limits = _how(worker.process.exitcode), self._limits
        if self._startup_failures >= limits.startup_failures:
            raise DeepFreakError(
                f"{limits.startup_failures} workers crashed during start-up, the last with {how}: "
                "is there too little memory?"
            )
        at = about(worker.jobs[0][0].series, worker.jobs[0][0].number) if worker.jobs else about()
        _log.warning("worker %s ended with %s; it is replaced", worker.process.pid, how, extra=at)
        worker.outbox.put(None)
        worker.sender.join()  # the pipe is broken, so that it never waits
        worker.pipe.close()
        self._workers[self._workers.index(worker)] = self._start()
        for place, (job, began) in enumerate(worker.jobs):
            key = (job.series, job.number)
            if place == 0:  # the one it was at
                self._crashes_at[key] += 1
                if worker.late:
                    yield (
                        job,
                        job.outcome(
                            "unreadable", error=f"no verdict within {limits.frame_s:.0f} s"
                        ),
                    )
                    continue
            if self._crashes_at[key] >= limits.crashes:
                reason = f"{limits.crashes} workers crashed at this frame, the last with {how}"
                yield job, job.outcome("unreadable", error=reason)
            else:
                self._retries.append((job, began))

    def _start(self) -> _Worker:
        ours, theirs = self._context.Pipe()
        process = self._context.Process(
            target=self._work, args=(self._task, theirs), daemon=True, name="deepfreak worker"
        )
        with interrupts_blocked():
            process.start()
        theirs.close()
        outbox: SimpleQueue[Any] = SimpleQueue()
        sender = threading.Thread(
            target=_send, args=(outbox, ours), name="to a worker", daemon=True
        )
        sender.start()
        return _Worker(process=process, pipe=ours, sender=sender, outbox=outbox)


@contextlib.contextmanager
def interrupts_blocked() -> Iterator[None]:
    """Keep Ctrl-C from processes that are started meanwhile.

    It reaches the whole group, and the program decides when its workers end. One that comes
    meanwhile is heard at the end: it must not interrupt a start half-way.
    """
    resource_tracker.ensure_running()  # its start would undo the following
    came: list[int] = []
    is_main = threading.current_thread() is threading.main_thread()
    # the mask is inherited; but it is this thread's, and another one may take the signal
    handler = (
        signal.signal(signal.SIGINT, lambda number, _: came.append(number)) if is_main else None
    )
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        if handler is not None:
            signal.signal(signal.SIGINT, handler)
            if came and callable(handler):
                handler(signal.SIGINT, None)


def _send(outbox: "SimpleQueue[Any]", pipe: Connection) -> None:
    """Send what is in the outbox until that is None; runs in a thread.

    A series' context may be larger than a pipe holds. Sending it blocks until the worker reads,
    which it does not do while it sends an outcome itself, or hangs.
    """
    # a broken pipe is that of a crashed worker, which `outcomes` notices
    with contextlib.suppress(OSError):
        while True:
            said = outbox.get()
            pipe.send(said)
            if said is None:
                return


def classify_frames(task: WorkerTask, pipe: Connection) -> None:
    """Classify frames until the pipe ends; runs in a worker process."""
    import numpy as np
    from threadpoolctl import threadpool_limits

    from deepfreak.isolation.child import limit_memory
    from deepfreak.live.decide import FrameDecider, warm_up
    from deepfreak.live.receive.decoders import Decoders
    from deepfreak.models import load_model
    from deepfreak.screening.screener import Screener

    threadpool_limits(1)  # the other cores are for the other workers
    log = logging.getLogger("deepfreak")
    log.addHandler(PipeHandler(pipe.send))
    log.setLevel(task.log_level)
    decoders = Decoders(reading=task.reading)
    try:
        decider = FrameDecider(
            model=load_model(task.model), policy=task.policy, decoders=decoders, peaks=task.peaks
        )
    except DeepFreakError as error:
        with contextlib.suppress(OSError):
            pipe.send(error)
        return
    warm_up(Screener(decider.model, decider.policy), np.uint16, np.uint32)  # what detectors send
    limit_memory(task.memory_bytes)
    try:
        pipe.send("ready")
        while (said := pipe.recv()) is not None:
            if isinstance(said, SeriesBegan):
                decoders.begin(said)
            else:
                pipe.send(decider(said))
    except (EOFError, OSError):
        pass  # the program is gone
    finally:
        decoders.close()


def _how(exit_code: int | None) -> str:
    if exit_code is not None and exit_code < 0:
        with contextlib.suppress(ValueError):
            return signal.Signals(-exit_code).name
    return f"exit code {exit_code}"
