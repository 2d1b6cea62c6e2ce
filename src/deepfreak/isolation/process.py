"""A process that runs functions with limits of time and memory, and is restarted when it fails."""

import os
import pickle
import select
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
import warnings
import weakref
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

import deepfreak.errors
from deepfreak.errors import DeepFreakError, InputError, ReadingStoppedError
from deepfreak.isolation.values import MAX_TEXT_BYTES, decode, layout_of

START_S = 60.0
_LENGTH = struct.Struct("<Q")
_GRACE_S = 2.0  # after the kernel's own limits
_BETWEEN_LOOKS_S = 0.1  # between checks of a busy process's memory
_GROWN_BYTES = 512 << 20  # a process that has grown by more is replaced
_KEPT_BYTES = 64 << 20  # a larger shared memory for arrays is freed after a call
_MAX_FAILED_STARTS = 3
# Reading files needs no threads. Secrets of the environment are not passed on.
_ENVIRONMENT = {
    **dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS"), "1"),
    # glibc: keep an image's memory for the next one; allocating it again takes a fifth of the time
    "MALLOC_TRIM_THRESHOLD_": str(256 << 20),
    "MALLOC_MMAP_THRESHOLD_": str(32 << 20),
}
_SECRETS = ("DEEPFREAK_TOKEN",)


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Limits of one call."""

    # seconds of CPU time, of waiting without computing, as for a pipe or a disk, and of wall-clock
    # time, which is longer on a busy machine
    cpu_s: float = 8.0
    idle_s: float = 15.0
    wall_s: float = 90.0
    memory_bytes: int = 768 << 20  # beyond the memory of the process after its start
    file_bytes: int = 2 << 30  # size of a file that it may write


class LimitedProcess:
    """A process that executes a `call` of one thread at a time; started when needed.

    It ignores Ctrl-C. When it exceeds a limit or crashes, the call raises, and the next call starts
    a new process.

    It imports `modules` when it starts, which makes the first call faster; with memory of more than
    `max_kept_bytes` beyond that at its start `replace_if_grown` ends it. `generation` is the number
    of the process; a new one has lost the state of the one before.
    """

    def __init__(self, *, modules: Sequence[str] = (), max_kept_bytes: int = _GROWN_BYTES) -> None:
        self._modules, self._max_kept_bytes = list(modules), max_kept_bytes
        self._lock = threading.RLock()
        self._running: _Running | None = None
        self._failed_starts = 0
        self._finalizer: weakref.finalize[..., Any] | None = None
        self.generation = 0

    def start(self) -> None:
        """Start the process without waiting for it."""
        with self._lock:
            if self._running is None:
                running = self._running = _Running(self._modules)
                # if `close` is never called
                self._finalizer = weakref.finalize(self, running.end)

    def call(
        self,
        function: Callable[..., Any],
        *args: Any,  # noqa: ANN401 - of the function
        limits: Limits | None = None,
        **kwargs: Any,  # noqa: ANN401 - of the function
    ) -> Any:  # noqa: ANN401 - of the function
        """Return the result of `function`, a module's top-level function: plain values and arrays.

        Raises `ReadingStoppedError`: it exceeded a limit or crashed the process; `DeepFreakError`:
        raised by the function; other exceptions become an `InputError`. Or the process cannot be
        started.
        """
        limits = limits or Limits()
        with self._lock:
            running = self._started()
            try:
                running.send(pickle.dumps((function, args, kwargs, limits)))
                found = running.receive(limits)
            except _StoppedError as stopped:
                self.close()
                raise ReadingStoppedError(stopped.reason(limits)) from None
            except BaseException:  # such as Ctrl-C: the next call would get this result
                self.close()
                raise
        for text in found.get("warnings", []):
            warnings.warn_explicit(text, UserWarning, "deepfreak", 1, registry=_said)
        if "stopped" in found:
            self.close()
            raise ReadingStoppedError(_StoppedError(memory=True).reason(limits))
        if "error" in found:
            kind = getattr(deepfreak.errors, str(found["error"]), InputError)
            raise kind(str(found.get("message", "")))
        return found.get("value")

    def alone(self) -> AbstractContextManager[object]:
        """Return a context in which no other thread can call, for calls that belong together."""
        return self._lock

    def replace_if_grown(self) -> None:
        """End a process whose memory has grown much; files open in it are lost."""
        with self._lock:
            if self._running is not None and self._running.has_grown(self._max_kept_bytes):
                self.close()

    def close(self) -> None:
        """End the process; a call that another thread waits for raises."""
        running, self._running = self._running, None
        if running is not None:
            self.generation += 1
            running.end()
            if self._finalizer is not None:
                self._finalizer.detach()

    def _started(self) -> "_Running":
        """Return the process once it is ready."""
        while True:
            self.start()
            running = self._running
            if running is None:  # another thread has closed it
                raise ReadingStoppedError("reading was given up")
            if running.ready:
                return running
            try:
                running.receive(
                    Limits(wall_s=START_S, idle_s=START_S, cpu_s=START_S, memory_bytes=4 << 30)
                )
            except _StoppedError as stopped:
                if self._running is not running:
                    raise ReadingStoppedError("reading was given up") from None
                self.close()
                self._failed_starts += 1
                if self._failed_starts >= _MAX_FAILED_STARTS:
                    self._failed_starts = 0
                    raise DeepFreakError(
                        "the process that reads files does not start "
                        f"({stopped.how()}): is there too little memory?"
                    ) from None
            except BaseException:
                self.close()
                raise
            else:
                self._failed_starts = 0
                running.begin()


_said: dict[Any, Any] = {}


class _StoppedError(Exception):
    """The process ended, or was ended, before it returned a result."""

    def __init__(
        self, exit_code: int | None = None, *, late: bool = False, memory: bool = False
    ) -> None:
        super().__init__()
        self.exit_code, self.late, self.memory = exit_code, late, memory

    def how(self) -> str:
        if self.late:
            return "it took too long"
        if self.exit_code is not None and self.exit_code < 0:
            try:
                return signal.Signals(-self.exit_code).name
            except ValueError:
                pass
        return f"exit code {self.exit_code}"

    def reason(self, limits: Limits) -> str:
        """Return one line."""
        if self.memory:
            return (
                f"expected a file that can be read with {limits.memory_bytes >> 20} MB of memory, "
                "found one that takes more: it is damaged, or claims more than it holds"
            )
        if self.exit_code == -signal.SIGXCPU:
            return (
                f"expected a file that can be read in {limits.cpu_s:.0f} s, found one that keeps "
                "its reader busy for longer: it is damaged, or claims more than it holds"
            )
        if self.late or self.exit_code == -signal.SIGALRM:
            return (
                "expected a file that is there, found one that is waited for longer than "
                f"{limits.idle_s:.0f} s: it leads to a pipe, or its disk does not answer"
            )
        return f"reading it ended the process that did so ({self.how()}): it is damaged"


class _Running:
    """One process, its socket, and the shared memory for arrays of results."""

    def __init__(self, modules: list[str]) -> None:
        self._folder = tempfile.mkdtemp(prefix="deepfreak-")
        ours, theirs = socket.socketpair()
        self._socket = ours
        self._poll = select.poll()
        self._poll.register(ours, select.POLLIN)
        self._arrays = _shared_memory(self._folder)
        arguments = f"{theirs.fileno()}, {self._arrays}, {self._folder!r}, {modules!r}"
        code = (
            f"import sys; sys.path[:] = {sys.path!r}\n"
            f"from deepfreak.isolation.child import main\nmain({arguments})"
        )
        environment = {name: value for name, value in os.environ.items() if name not in _SECRETS}
        try:
            self._process = subprocess.Popen(  # noqa: S603 - ourselves
                [sys.executable, "-c", code],
                env=environment | _ENVIRONMENT,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,  # C libraries print errors of damaged files
                pass_fds=(theirs.fileno(), self._arrays),
                start_new_session=True,  # Ctrl-C goes to the parent only
            )
        except OSError as error:
            self._socket.close()
            os.close(self._arrays)
            shutil.rmtree(self._folder, ignore_errors=True)
            raise DeepFreakError(
                f"cannot start the process that reads files: {error.strerror or error}"
            ) from error
        finally:
            theirs.close()
        self.ready = False
        self._ended = threading.Lock()
        self._rss_at_start = 0

    def begin(self) -> None:
        """Mark it as ready."""
        self.ready = True
        self._rss_at_start = self._rss()

    def has_grown(self, most: int) -> bool:
        return self.ready and self._rss() - self._rss_at_start > most

    def send(self, said: bytes) -> None:
        try:
            self._socket.settimeout(START_S)
            self._socket.sendall(_LENGTH.pack(len(said)) + said)
        except OSError:
            raise self._stopped() from None

    def receive(self, limits: Limits) -> dict[str, Any]:
        """Return a result."""
        watch = _Watch(self._process.pid, limits)
        most = self._rss_at_start + limits.memory_bytes + _GROWN_BYTES if self.ready else None
        size = _LENGTH.unpack(self._exactly(_LENGTH.size, watch, most))[0]
        if size > MAX_TEXT_BYTES:
            raise _StoppedError
        text = self._exactly(size, watch, most)
        try:
            tagged, layout = layout_of(text)
            arrays = self._read_arrays(layout)
            found = decode(tagged, arrays)
        except (ValueError, RecursionError, OSError):
            raise _StoppedError from None
        if not self.ready:
            return {}
        if not isinstance(found, dict):
            raise _StoppedError
        return found

    def end(self) -> None:
        """Kill the process and free its resources."""
        with self._ended:
            if self._folder == "":
                return
            self._process.kill()
            # else the kernel waits for a disk, and nothing can be done
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(_GRACE_S)
            with suppress(OSError):
                self._socket.shutdown(socket.SHUT_RDWR)  # wakes another thread that waits
            self._socket.close()
            os.close(self._arrays)
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = ""

    def _exactly(self, size: int, watch: "_Watch", most_rss: int | None) -> bytes:
        data = bytearray(size)
        view = memoryview(data)
        while view:
            self._wait(watch, most_rss)
            try:
                count = self._socket.recv_into(view)
            except OSError:
                raise self._stopped() from None
            if count == 0:
                raise self._stopped()
            view = view[count:]
        return bytes(data)

    def _wait(self, watch: "_Watch", most_rss: int | None) -> None:
        """Return when the socket is readable."""
        while True:
            if watch.is_late():
                raise _StoppedError(late=True)
            if self._poll.poll(_BETWEEN_LOOKS_S * 1e3):
                return
            if most_rss is not None and self._rss() > most_rss:
                raise _StoppedError(memory=True)

    def _stopped(self) -> _StoppedError:
        """Return how it ended; the kernel takes a moment to report it."""
        try:
            return _StoppedError(self._process.wait(_GRACE_S))
        except subprocess.TimeoutExpired:
            return _StoppedError(late=True)

    def _rss(self) -> int:
        """Return its present memory in bytes, 0 where the system does not report it."""
        try:
            with open(f"/proc/{self._process.pid}/statm", "rb") as file:  # noqa: PTH123
                return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
        except (OSError, IndexError):
            return 0

    def _read_arrays(
        self, layout: list[tuple["np.dtype[Any]", tuple[int, ...]]]
    ) -> list[NDArray[Any]]:
        arrays, place = [], 0
        for dtype, shape in layout:
            array = np.empty(shape, dtype)
            data = array.reshape(-1).view(np.uint8).data
            while data:
                count = os.preadv(self._arrays, [data[: 1 << 30]], place)
                if count == 0:
                    raise ValueError("an array that was not sent")
                place, data = place + count, data[count:]
            arrays.append(array)
        if place > _KEPT_BYTES:
            os.ftruncate(self._arrays, 0)
        return arrays


class _Watch:
    """Detects that a process has exceeded its wall-clock or idle time."""

    def __init__(self, pid: int, limits: Limits) -> None:
        self._pid, self._idle_s = pid, limits.idle_s
        self._until = time.monotonic() + limits.wall_s + _GRACE_S
        self._busy_at, self._computed = time.monotonic(), b""

    def is_late(self) -> bool:
        """Return whether it is time to stop it."""
        now = time.monotonic()
        try:
            with open(f"/proc/{self._pid}/stat", "rb") as file:  # noqa: PTH123
                fields = file.read().rpartition(b")")[2].split()
        except OSError:  # not on this system
            return now > self._until
        computed = b" ".join(fields[11:13])  # user and system time
        if fields[0] == b"R" or computed != self._computed:  # it computes, or waits for a processor
            self._busy_at, self._computed = now, computed
        return now > self._until or now - self._busy_at > self._idle_s


def _shared_memory(folder: str) -> int:
    """Return a descriptor of memory, or of a temporary file, that two processes share."""
    if hasattr(os, "memfd_create"):
        return os.memfd_create("deepfreak", os.MFD_CLOEXEC)
    place = os.open(f"{folder}/arrays", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    os.unlink(f"{folder}/arrays")  # noqa: PTH108
    return place
