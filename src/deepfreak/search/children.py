"""Calls that can be ended: each in a child process, which is killed when one takes too long.

A fit inside libsvm neither returns to Python nor looks at signals, so no thread and no timer within
the process could end it. A child works off call after call and is replaced only when it had to be
killed or died; questions and answers are lines of JSON.
"""

import contextlib
import json
import os
import queue
import selectors
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from importlib import import_module
from typing import IO, Any, Self

from deepfreak.errors import DeepFreakError

SECONDS_TO_START = 300.0
SECONDS_TO_END = 5.0
_COMMAND = "import sys; from deepfreak.search.children import serve; serve(sys.argv[1])"
# A child is one of several: none may take the cores of the others.
_ONE_THREAD = dict.fromkeys(
    ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"), "1"
)
_MAX_REASON_LENGTH = 300

Json = dict[str, Any]


class OverTimeError(DeepFreakError):
    """A call took longer than it may; its process was killed."""


class CallFailedError(DeepFreakError):
    """A call raised an error, or its process died; the message says which."""


class BoundedProcess:
    """A child process that answers calls of one function, one at a time.

    Parameters
    ----------
    function
        As `module:name`; takes and returns a dictionary of JSON values.
    """

    def __init__(self, function: str) -> None:
        self._function = function
        self._child: subprocess.Popen[str] | None = None
        self._errors: IO[str] | None = None
        self._closed = False
        self._calling = threading.Lock()
        self._changing = threading.Lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def call(self, argument: Json, *, seconds: float) -> Json:
        """Return what the function makes of `argument`, if it takes no more than `seconds`.

        Starting the child does not count.

        Raises
        ------
        OverTimeError
            It took longer.
        CallFailedError
            It raised an error, or the child died.
        """
        with self._calling:
            child = self._started()
            try:
                self._send(child, argument)
                line = _line(child, seconds)
            except TimeoutError:
                self._end()
                raise OverTimeError(f"stopped after {seconds:g} s") from None
            if line is None:
                raise CallFailedError(self._cause_of_death(child))
        answer: Json = json.loads(line)
        if "error" in answer:
            raise CallFailedError(answer["error"])
        value: Json = answer["value"]
        return value

    def close(self) -> None:
        """End the child, whatever it is doing; a call that waits for it fails."""
        with self._changing:
            self._closed = True
            if self._child is not None:
                self._child.kill()
        # A pipe that is closed while a call waits for it would never wake that up.
        with self._calling:
            self._end()

    def _started(self) -> subprocess.Popen[str]:
        """Return the child, started and ready."""
        if self._child is not None and self._child.poll() is None:
            return self._child
        self._end()
        with self._changing:
            if self._closed:
                raise CallFailedError("the search was ended")
            self._errors = tempfile.TemporaryFile("w+", errors="replace")  # noqa: SIM115 -- _end
            self._child = child = subprocess.Popen(  # noqa: S603 -- our own interpreter and code
                [sys.executable, "-c", _COMMAND, self._function],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._errors,
                env=os.environ | _ONE_THREAD,
                text=True,
                # Ctrl-C is the main process's, which ends its children.
                start_new_session=True,
            )
        try:
            ready = _line(child, SECONDS_TO_START)
        except TimeoutError:
            ready = None
        if ready is None:
            raise CallFailedError(self._cause_of_death(child))
        return child

    def _send(self, child: subprocess.Popen[str], argument: Json) -> None:
        if child.stdin is None:
            raise AssertionError
        # What a dead child does not read shows in its missing answer.
        with contextlib.suppress(OSError):
            child.stdin.write(json.dumps(argument) + "\n")
            child.stdin.flush()

    def _cause_of_death(self, child: subprocess.Popen[str]) -> str:
        # Its pipe is closed a moment before it has ended, and says how.
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(SECONDS_TO_END)
        self._kill(child)
        said = ""
        if self._errors is not None:
            self._errors.seek(0)
            said = " ".join(self._errors.read().split())[-_MAX_REASON_LENGTH:]
        self._end()
        if self._closed:
            return "the search was ended"
        if child.returncode < 0:
            name = signal.Signals(-child.returncode).name
            guess = " (out of memory?)" if name == "SIGKILL" else ""
            return f"its process died of {name}{guess} {said}".strip()
        return f"its process ended with code {child.returncode} {said}".strip()

    @staticmethod
    def _kill(child: subprocess.Popen[str]) -> None:
        child.kill()
        child.wait()

    def _end(self) -> None:
        with self._changing:
            child, errors = self._child, self._errors
            self._child = self._errors = None
        if child is not None:
            self._kill(child)
            for pipe in (child.stdin, child.stdout):
                if pipe is not None:
                    with contextlib.suppress(OSError):
                        pipe.close()
        if errors is not None:
            errors.close()


def _line(child: subprocess.Popen[str], seconds: float) -> str | None:
    """Return the next line that `child` writes, or None if it has closed its end."""
    if child.stdout is None:
        raise AssertionError
    with selectors.DefaultSelector() as selector:
        selector.register(child.stdout, selectors.EVENT_READ)
        if not selector.select(seconds):
            raise TimeoutError
    line = child.stdout.readline()
    return line if line.endswith("\n") else None


def serve(function: str) -> None:
    """Answer the calls that come in on stdin, in a child process; never returns.

    The process ends when stdin closes, even in the midst of a call: whoever asked is gone.
    """
    # Whatever prints to stdout must not come between the answers.
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
        except (Exception, SystemExit) as error:  # noqa: BLE001 -- whatever it is, it is this call's answer
            words = " ".join(f"{type(error).__name__}: {error}".split())
            answer = {"error": words[:_MAX_REASON_LENGTH]}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


def _listen(questions: "queue.SimpleQueue[str]") -> None:
    for line in sys.stdin:
        questions.put(line)
    os._exit(0)


class BoundedWorkers:
    """As many children as calls may be under way; `bounded_workers` gives one."""

    def __init__(self, function: str, workers: int) -> None:
        self._processes = [BoundedProcess(function) for _ in range(workers)]
        self._idle: queue.SimpleQueue[BoundedProcess] = queue.SimpleQueue()
        for process in self._processes:
            self._idle.put(process)
        self._threads = ThreadPoolExecutor(workers)

    def submit(self, argument: Json, seconds: float) -> "Future[Json]":
        """Call the function in the next child that has nothing to do; see `BoundedProcess.call`."""
        return self._threads.submit(self._call, argument, seconds)

    def _call(self, argument: Json, seconds: float) -> Json:
        process = self._idle.get()
        try:
            return process.call(argument, seconds=seconds)
        finally:
            self._idle.put(process)

    def close(self) -> None:
        """End all children and the threads that wait for them."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        for process in self._processes:
            process.close()
        self._threads.shutdown(wait=True)


@contextmanager
def bounded_workers(function: str, workers: int) -> Iterator[BoundedWorkers]:
    """Give a place to call `function` (`module:name`) in `workers` processes at once."""
    pool = BoundedWorkers(function, workers)
    try:
        yield pool
    finally:
        pool.close()


def call_once(function: str, argument: Json, seconds: float) -> Json:
    """Call `function` in a child of its own: for a worker of a cluster, which keeps none."""
    with BoundedProcess(function) as process:
        return process.call(argument, seconds=seconds)
