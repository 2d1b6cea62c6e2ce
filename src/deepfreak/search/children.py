"""Calls that can be stopped: each in a child process, which is killed when it takes too long.

A fit inside libsvm neither returns to Python nor looks at signals, so that no thread and no timer
of its own process could stop it. A child answers call after call; it is replaced when it was killed
or has crashed. Questions and answers are lines of JSON.
"""

import contextlib
import json
import math
import os
import queue
import selectors
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from importlib import import_module
from typing import IO, Any, Self

from deepfreak.errors import DeepFreakError
from deepfreak.search.trial import Outcome

MAX_START_S = 300.0
MAX_END_S = 5.0
_COMMAND = "import sys; from deepfreak.search.children import serve; serve(sys.argv[1])"
# A child is one of several: none may take the cores of the others.
_ONE_THREAD = dict.fromkeys(
    ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"), "1"
)
_MAX_REASON_LENGTH = 300

Json = dict[str, Any]


class OverTimeError(DeepFreakError):
    """A call exceeded its time limit; its process was killed."""


class CallFailedError(DeepFreakError):
    """A call raised an error, or its process crashed; the message says which."""


class Child:
    """A process that answers calls of one function, one at a time.

    Parameters
    ----------
    function
        As `module:name`; takes and returns a dictionary of JSON values.
    """

    def __init__(self, function: str) -> None:
        self._function = function
        self._process: subprocess.Popen[str] | None = None
        self._errors = tempfile.TemporaryFile("w+", errors="replace")  # noqa: SIM115 -- close
        self._closed = False
        self._calling = threading.Lock()
        self._changing = threading.Lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def call(self, argument: Json, *, seconds: float) -> Json:
        """Return what the function makes of `argument`; the start of the child does not count.

        Raises
        ------
        OverTimeError
            It took longer than `seconds`.
        CallFailedError
            It raised an error, or the child crashed.
        """
        with self._calling:
            process = self._started()
            # a crashed child shows in its missing answer
            with contextlib.suppress(OSError):
                _pipe(process.stdin).write(json.dumps(argument) + "\n")
                _pipe(process.stdin).flush()
            try:
                line = _line(process, seconds)
            except TimeoutError:
                self._end()
                raise OverTimeError(f"stopped after {seconds:g} s") from None
            if line is None:
                raise CallFailedError(self._cause(process))
        answer: Json = json.loads(line)
        if "error" in answer:
            raise CallFailedError(answer["error"])
        value: Json = answer["value"]
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

    def _started(self) -> "subprocess.Popen[str]":
        """Return the process, started and ready."""
        if self._process is not None and self._process.poll() is None:
            return self._process
        self._end()
        with self._changing:
            if self._closed:
                raise CallFailedError("the search was ended")
            self._errors.seek(0)
            self._errors.truncate()
            self._process = process = subprocess.Popen(  # noqa: S603 -- our interpreter and code
                [sys.executable, "-c", _COMMAND, self._function],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._errors,
                env=os.environ | _ONE_THREAD,
                text=True,
                # Ctrl-C is for the main process, which ends its children
                start_new_session=True,
            )
        try:
            ready = _line(process, MAX_START_S)
        except TimeoutError:
            ready = None
        if ready is None:
            raise CallFailedError(self._cause(process))
        return process

    def _cause(self, process: "subprocess.Popen[str]") -> str:
        """Return why a process has ended, which its pipe told a moment before."""
        with contextlib.suppress(subprocess.TimeoutExpired):
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
            process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()
            for pipe in (process.stdin, process.stdout):
                with contextlib.suppress(OSError):
                    _pipe(pipe).close()


def _pipe(pipe: "IO[str] | None") -> "IO[str]":
    if pipe is None:
        raise AssertionError
    return pipe


def _line(process: "subprocess.Popen[str]", seconds: float) -> str | None:
    """Return the next line that a child writes, or None if it has closed its end."""
    answers = _pipe(process.stdout)
    with selectors.DefaultSelector() as selector:
        selector.register(answers, selectors.EVENT_READ)
        if not selector.select(seconds):
            raise TimeoutError
    line = answers.readline()
    return line if line.endswith("\n") else None


def serve(function: str) -> None:
    """Answer the calls that arrive on stdin, in a child process; never returns.

    The process ends when stdin closes, even in the midst of a call: its parent has ended.
    """
    # whatever prints to stdout must not come between the answers
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    module, _, name = function.partition(":")
    work: Callable[[Json], Json] = getattr(import_module(module), name)
    questions: queue.SimpleQueue[str] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(questions,), daemon=True).start()
    answers.write("ready\n")
    answers.flush()
    while True:
        question = json.loads(questions.get())
        try:
            answer: Json = {"value": work(question)}
        except (Exception, SystemExit) as error:  # noqa: BLE001 -- it is this call's answer
            words = " ".join(f"{type(error).__name__}: {error}".split())
            answer = {"error": words[:_MAX_REASON_LENGTH]}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


def _listen(questions: "queue.SimpleQueue[str]") -> None:
    for line in sys.stdin:
        questions.put(line)
    os._exit(0)


class Children:
    """Several children that make trials; `children` gives them."""

    def __init__(self, processes: list[Child], threads: ThreadPoolExecutor) -> None:
        self._threads = threads
        self._idle: queue.SimpleQueue[Child] = queue.SimpleQueue()
        for process in processes:
            self._idle.put(process)

    def submit(self, argument: Json, seconds: float) -> "Future[Outcome]":
        """Make a trial in the next idle child; see `outcome_in`."""
        return self._threads.submit(self._make, argument, seconds)

    def _make(self, argument: Json, seconds: float) -> Outcome:
        child = self._idle.get()
        try:
            return outcome_in(child, argument, seconds)
        finally:
            self._idle.put(child)


@contextmanager
def children(function: str, count: int) -> Iterator[Children]:
    """Give `count` children that call `function` (`module:name`)."""
    with ExitStack() as stack:
        threads = ThreadPoolExecutor(count)
        stack.callback(threads.shutdown, wait=True)
        processes = [stack.enter_context(Child(function)) for _ in range(count)]
        stack.callback(threads.shutdown, wait=False, cancel_futures=True)
        yield Children(processes, threads)


def outcome_in(child: Child, argument: Json, seconds: float) -> Outcome:
    """Return the outcome that a child's function gives; `info` tells that the limit was reached."""
    began = time.monotonic()
    try:
        return Outcome(**child.call(argument, seconds=seconds))
    except OverTimeError as error:
        return Outcome(math.inf, {"timed_out": True}, str(error), time.monotonic() - began)
    except CallFailedError as error:
        return Outcome(math.inf, {}, str(error), time.monotonic() - began)


def outcome_alone(function: str, argument: Json, seconds: float) -> Outcome:
    """Return the outcome of a trial in a child of its own: for a worker of a cluster."""
    with Child(function) as child:
        return outcome_in(child, argument, seconds)
