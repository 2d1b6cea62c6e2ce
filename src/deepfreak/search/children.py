"""Calls that can be stopped: each in a child process, which is killed when it takes too long.

A fit inside libsvm neither returns to Python nor looks at signals, so that no thread and no timer
of its own process could stop it. A child answers call after call; it is replaced when it was killed
or has crashed. Not by `multiprocessing`: workers of Dask may have no such children.
"""

import math
import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from importlib import import_module
from multiprocessing.connection import Connection, Pipe
from typing import Any, Self

from deepfreak.errors import DeepFreakError
from deepfreak.search.trial import Outcome

MAX_START_S = 300.0
MAX_END_S = 5.0
_COMMAND = "import sys; from deepfreak.search.children import serve; serve(*sys.argv[1:])"
# A child is one of several: none may take the cores of the others.
_ONE_THREAD = dict.fromkeys(
    ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"), "1"
)
_MAX_REASON_LENGTH = 300


class OverTimeError(DeepFreakError):
    """A call exceeded its time limit; its process was killed."""


class CallFailedError(DeepFreakError):
    """A call raised an error, or its process crashed; the message says which."""


class Child:
    """A process that answers calls of a function of one value, `module:name`, one at a time."""

    def __init__(self, function: str) -> None:
        self._function = function
        self._process: subprocess.Popen[bytes] | None = None
        self._pipe: Connection[Any, Any] | None = None
        self._errors = tempfile.TemporaryFile("w+", errors="replace")  # noqa: SIM115 -- close
        self._closed = False
        self._calling = threading.Lock()
        self._changing = threading.Lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def call(self, argument: Any, *, seconds: float) -> Any:  # noqa: ANN401 -- the function's
        """Return what the function makes of `argument`; the start of the child does not count.

        `OverTimeError` if it took longer than `seconds`, `CallFailedError` if it raised an error or
        the child crashed.
        """
        with self._calling:
            process, pipe = self._started()
            try:
                pipe.send(argument)
                if not pipe.poll(seconds):
                    self._end()
                    raise OverTimeError(f"stopped after {seconds:g} s")
                error, value = pipe.recv()
            except (EOFError, OSError):
                raise CallFailedError(self._cause(process)) from None
        if error is not None:
            raise CallFailedError(error)
        return value

    def close(self) -> None:
        """End the child, whatever it is doing; a call that waits for it fails."""
        with self._changing:
            self._closed = True
            if self._process is not None:
                self._process.kill()
        # a pipe that is closed while a call waits for it would never wake it
        with self._calling:
            self._end()
            self._errors.close()

    def _started(self) -> "tuple[subprocess.Popen[bytes], Connection[Any, Any]]":
        """Return the process, started and ready, and the pipe to it."""
        if self._process is not None and self._pipe is not None and self._process.poll() is None:
            return self._process, self._pipe
        self._end()
        with self._changing:
            if self._closed:
                raise CallFailedError("the search was ended")
            self._errors.seek(0)
            self._errors.truncate()
            pipe, theirs = Pipe()
            self._pipe = pipe
            self._process = process = subprocess.Popen(  # noqa: S603 -- our interpreter and code
                [sys.executable, "-c", _COMMAND, self._function, str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                stdout=self._errors,
                stderr=self._errors,
                pass_fds=[theirs.fileno()],
                env=os.environ | _ONE_THREAD,
                # Ctrl-C is for the main process, which ends its children
                start_new_session=True,
            )
            theirs.close()
        with suppress(EOFError, OSError):
            if pipe.poll(MAX_START_S):
                pipe.recv()
                return process, pipe
        raise CallFailedError(self._cause(process))

    def _cause(self, process: "subprocess.Popen[bytes]") -> str:
        """Return why a process has ended, which its pipe told a moment before."""
        with suppress(subprocess.TimeoutExpired):
            process.wait(MAX_END_S)
        self._end()
        if self._closed:
            return "the search was ended"
        self._errors.seek(0)
        said = " ".join(self._errors.read().split())[-_MAX_REASON_LENGTH:]
        if process.returncode < 0:
            name = signal.Signals(-process.returncode).name
            guess = " (out of memory?)" if name == "SIGKILL" else ""
            return f"its process was ended by {name}{guess} {said}".strip()
        return f"its process ended with code {process.returncode} {said}".strip()

    def _end(self) -> None:
        with self._changing:
            process, pipe, self._process, self._pipe = self._process, self._pipe, None, None
        if process is not None and pipe is not None:
            process.kill()
            process.wait()
            pipe.close()


def serve(function: str, descriptor: str) -> None:
    """Answer the calls that arrive on a pipe, in a child process; never returns.

    The process ends when the pipe closes, even in the midst of a call: its parent has ended.
    """
    module, _, name = function.partition(":")
    work: Callable[[Any], Any] = getattr(import_module(module), name)
    pipe: Connection[Any, Any] = Connection(int(descriptor))
    questions: queue.SimpleQueue[Any] = queue.SimpleQueue()

    def listen() -> None:
        with suppress(EOFError, OSError):
            while True:
                questions.put(pipe.recv())
        os._exit(0)

    threading.Thread(target=listen, daemon=True).start()
    pipe.send("ready")
    while True:
        question = questions.get()
        answer: tuple[str | None, Any]
        try:
            answer = None, work(question)
        except (Exception, SystemExit) as error:  # noqa: BLE001 -- it is this call's answer
            words = " ".join(f"{type(error).__name__}: {error}".split())
            answer = words[:_MAX_REASON_LENGTH], None
        pipe.send(answer)


class Children:
    """Several children that make trials; `children` gives them."""

    def __init__(self, processes: list[Child], threads: ThreadPoolExecutor) -> None:
        self._threads = threads
        self._idle: queue.SimpleQueue[Child] = queue.SimpleQueue()
        for process in processes:
            self._idle.put(process)

    def submit(self, argument: Any, seconds: float) -> "Future[Outcome]":  # noqa: ANN401
        """Make a trial in the next idle child; see `outcome_in`."""
        return self._threads.submit(self._make, argument, seconds)

    def _make(self, argument: Any, seconds: float) -> Outcome:  # noqa: ANN401
        child = self._idle.get()
        try:
            return outcome_in(child, argument, seconds)
        finally:
            self._idle.put(child)


@contextmanager
def children(function: str, count: int) -> Iterator[Children]:
    """Give `count` children that call `function` (`module:name`), which returns an `Outcome`."""
    with ExitStack() as stack:
        threads = ThreadPoolExecutor(count)
        stack.callback(threads.shutdown, wait=True)
        processes = [stack.enter_context(Child(function)) for _ in range(count)]
        stack.callback(threads.shutdown, wait=False, cancel_futures=True)
        yield Children(processes, threads)


def outcome_in(child: Child, argument: Any, seconds: float) -> Outcome:  # noqa: ANN401
    """Return the outcome of a child's call; `info` tells that the time limit was reached."""
    began, info = time.monotonic(), {}
    try:
        outcome: Outcome = child.call(argument, seconds=seconds)
    except OverTimeError as error:
        reason, info = str(error), {"timed_out": True}
    except CallFailedError as error:
        reason = str(error)
    else:
        return outcome
    return Outcome(math.inf, info, reason, time.monotonic() - began)


def outcome_alone(function: str, argument: Any, seconds: float) -> Outcome:  # noqa: ANN401
    """Return the outcome of a call in a child of its own: for a worker of a cluster."""
    with Child(function) as child:
        return outcome_in(child, argument, seconds)
