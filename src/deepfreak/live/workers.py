"""Processes that judge frames, each with a pipe of its own.

No lock and no queue is shared, so that one may be killed at any instant: its frames go to another.
A frame at which workers die again and again is given up as unreadable.
"""

import contextlib
import multiprocessing
import signal
import time
from collections import Counter, OrderedDict, deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from deepfreak.errors import DeepFreakError
from deepfreak.live.decoding import SERIES_KNOWN
from deepfreak.live.events import Outcome, SeriesBegan
from deepfreak.live.judge import Job
from deepfreak.live.policy import Policy

# A worker has its next frame at hand when it ends one.
JOBS_AHEAD = 2
# So many workers may die at a frame before it is given up.
MOST_DEATHS = 2
# Workers that die without having judged anything say that the next will, too.
MOST_STILLBORN = 5
SECONDS_TO_START = 60.0
# A frame that takes so long will never end; its worker is killed.
LONGEST_S = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """What each worker works with.

    Attributes
    ----------
    model
        File of the model; None for the one that ships.
    channel, peaks
        As in `Decoders` and `Judge`.
    """

    model: Path | None
    policy: Policy
    channel: str | None = None
    peaks: bool = False


@dataclass(slots=True, eq=False)
class _Worker:
    process: BaseProcess
    pipe: Connection
    jobs: deque[Job] = field(default_factory=deque)
    series: OrderedDict[str, None] = field(default_factory=OrderedDict)  # that it knows
    ready: bool = False
    judged: int = 0
    since: float = 0.0  # when it was given the frame that it is at


class Workers:
    """A crew of processes that judge frames; closes them when it is closed.

    Attributes
    ----------
    deaths
        How many workers have died.
    """

    def __init__(self, task: Task, *, count: int) -> None:
        self._task = task
        self._context = multiprocessing.get_context("spawn")
        self._began: dict[str, SeriesBegan] = {}
        self._again: deque[Job] = deque()
        self._died_at: Counter[tuple[str, int]] = Counter()
        self._stillborn = 0
        self.deaths = 0
        self._crew = [self._start() for _ in range(count)]

    def wait_until_ready(self) -> None:
        """Return when the first worker is ready.

        Raises
        ------
        DeepFreakError
            None of them starts.
        """
        until = time.monotonic() + SECONDS_TO_START
        while not any(worker.ready for worker in self._crew):
            if time.monotonic() > until:
                raise DeepFreakError(
                    f"no worker was ready after {SECONDS_TO_START:.0f} s: is the machine busy?"
                )
            for _ in self.outcomes(0.1):
                pass

    def begin(self, began: SeriesBegan) -> None:
        """Take note of a series; those workers hear of it that get its frames."""
        self._began[began.series] = began
        for worker in self._crew:
            worker.series.pop(began.series, None)

    @property
    def processes(self) -> list[int]:
        """The process numbers of the workers."""
        return [worker.process.pid or 0 for worker in self._crew]

    @property
    def busy(self) -> int:
        """How many frames are with workers, or wait for another one after theirs has died."""
        return sum(len(worker.jobs) for worker in self._crew) + len(self._again)

    @property
    def room(self) -> int:
        """How many further frames can be given out now."""
        return JOBS_AHEAD * len(self._crew) - self.busy

    def give(self, job: Job) -> None:
        """Give a frame to the worker with least to do; `room` must be at least 1."""
        ready = [worker for worker in self._crew if worker.ready] or self._crew
        worker = min(ready, key=lambda one: len(one.jobs))
        if not worker.jobs:
            worker.since = time.monotonic()
        worker.jobs.append(job)
        # a broken pipe is a dead worker, which `outcomes` notices
        with contextlib.suppress(OSError):
            if job.series not in worker.series:
                if job.series in self._began:
                    worker.pipe.send(self._began[job.series])
                worker.series[job.series] = None
                if len(worker.series) > SERIES_KNOWN:
                    worker.series.popitem(last=False)
            worker.pipe.send(job)

    def outcomes(self, timeout: float, also: Iterable[Any] = ()) -> Iterator[tuple[Job, Outcome]]:
        """Yield what has become of frames, waiting `timeout` seconds at most for the first.

        `also` are further things to wake up for, as `multiprocessing.connection.wait` takes them.
        """
        by_pipe = {worker.pipe: worker for worker in self._crew}
        by_end = {worker.process.sentinel: worker for worker in self._crew}
        for found in wait([*by_pipe, *by_end, *also], timeout):
            if isinstance(found, Connection) and found in by_pipe:
                yield from self._received(by_pipe[found])
        late = time.monotonic() - LONGEST_S
        for worker in self._crew:
            if worker.ready and worker.jobs and worker.since < late:
                worker.process.kill()
        # what the dead had said was read first
        for worker in by_end.values():
            if not worker.process.is_alive():
                yield from self._received(worker)
                yield from self._bury(worker)
        given = sum(len(worker.jobs) for worker in self._crew)
        for _ in range(min(len(self._again), JOBS_AHEAD * len(self._crew) - given)):
            self.give(self._again.popleft())

    def close(self) -> None:
        """End all workers."""
        for worker in self._crew:
            with contextlib.suppress(OSError):
                worker.pipe.send(None)
        for worker in self._crew:
            worker.process.join(2)
            if worker.process.is_alive():
                worker.process.kill()
                worker.process.join()
            worker.pipe.close()

    def _received(self, worker: _Worker) -> Iterator[tuple[Job, Outcome]]:
        with contextlib.suppress(EOFError, OSError):
            while worker.pipe.poll():
                said = worker.pipe.recv()
                if isinstance(said, DeepFreakError):
                    raise said
                worker.ready = True
                if isinstance(said, Outcome):
                    worker.judged += 1
                    worker.since = time.monotonic()
                    self._stillborn = 0
                    yield worker.jobs.popleft(), said

    def _bury(self, worker: _Worker) -> Iterator[tuple[Job, Outcome]]:
        """Put another worker in the place of a dead one, and see to the frames that it had."""
        self.deaths += 1
        if worker.judged == 0 and not worker.ready:
            self._stillborn += 1
        if self._stillborn >= MOST_STILLBORN:
            raise DeepFreakError(
                f"{MOST_STILLBORN} workers died when they had hardly begun, the last with "
                f"{_how(worker.process.exitcode)}: is there too little memory?"
            )
        worker.pipe.close()
        self._crew[self._crew.index(worker)] = self._start()
        for place, job in enumerate(worker.jobs):
            key = (job.series, job.number)
            if place == 0:  # the one it was at
                self._died_at[key] += 1
            if self._died_at[key] >= MOST_DEATHS:
                yield job, _given_up(job, worker.process.exitcode)
            else:
                self._again.append(job)

    def _start(self) -> _Worker:
        ours, theirs = self._context.Pipe()
        process = self._context.Process(
            target=work, args=(self._task, theirs), daemon=True, name="deepfreak judge"
        )
        process.start()
        theirs.close()
        return _Worker(process=process, pipe=ours)


def work(task: Task, pipe: Connection) -> None:
    """Judge frames until the pipe ends; runs in a process of its own."""
    from deepfreak.live.decoding import Decoders
    from deepfreak.live.judge import Judge
    from deepfreak.models import load_model

    # Ctrl-C reaches the whole group, and the program decides when its workers end
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _one_thread()
    decoders = Decoders(channel=task.channel)
    try:
        judge = Judge(
            model=load_model(task.model), policy=task.policy, decoders=decoders, peaks=task.peaks
        )
    except DeepFreakError as error:
        pipe.send(error)
        return
    _warm_up(judge)
    try:
        pipe.send("ready")
        while (said := pipe.recv()) is not None:
            if isinstance(said, SeriesBegan):
                decoders.begin(said)
            else:
                pipe.send(judge(said))
    except (EOFError, OSError):
        pass  # the program is gone
    finally:
        decoders.close()


def _one_thread() -> None:
    """Leave the other cores to the other workers."""
    from threadpoolctl import threadpool_limits

    threadpool_limits(1)


def _warm_up(judge: Any) -> None:  # noqa: ANN401 -- a Judge, which is heavy to import
    """Judge an image of noise, so that compiled code is loaded before the first frame comes."""
    import numpy as np

    from deepfreak.frames.frame import Frame
    from deepfreak.screening import Screener

    counts = np.random.default_rng(0).poisson(20, (512, 512)).astype(np.uint16)
    frame = Frame(file="warm-up", index=0, counts=counts, valid=np.ones(counts.shape, np.bool_))
    Screener(judge.model)(frame)


def _given_up(job: Job, exit_code: int | None) -> Outcome:
    return Outcome(
        series=job.series,
        number=job.number,
        decision="unreadable",
        received=job.received,
        sent=job.sent,
        decided=time.time(),
        error=f"{MOST_DEATHS} workers died at this frame, the last with {_how(exit_code)}",
        truth=job.truth,
    )


def _how(exit_code: int | None) -> str:
    if exit_code is not None and exit_code < 0:
        with contextlib.suppress(ValueError):
            return signal.Signals(-exit_code).name
    return f"exit code {exit_code}"
