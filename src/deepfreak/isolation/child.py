"""The program of the limited process: it executes calls until its socket closes."""

import os
import pickle
import resource
import signal
import socket
import struct
import sys
import tempfile
import warnings
from typing import Any

import deepfreak

_PACKAGE = os.path.dirname(deepfreak.__file__)  # noqa: PTH120 - no pathlib is needed here
_LENGTH = struct.Struct("<Q")


def main(asked: int, arrays: int, folder: str, modules: list[str]) -> None:
    """Execute the calls that arrive at the socket `asked`.

    `asked`, `arrays`: file descriptors of the socket, and of the shared memory for arrays of
    results. `folder`: directory for temporary files; the parent process removes it. `modules`:
    modules to import before the first call.
    """
    tempfile.tempdir = folder
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    pipe = socket.socket(fileno=asked)
    for module in modules:
        __import__(module)
    _send(pipe, b"[null, []]")
    at_start = _data_bytes()
    while (said := _receive(pipe)) is not None:
        # from the parent process, which is trusted
        function, args, kwargs, limits = pickle.loads(said)  # noqa: S301
        _limit(limits, at_start)
        text = _answer(function, args, kwargs, arrays)
        signal.setitimer(signal.ITIMER_REAL, 0)
        _send(pipe, text)
    os._exit(0)  # no clean-up by libraries that have read hostile files


def _answer(function: Any, args: Any, kwargs: Any, arrays: int) -> bytes:  # noqa: ANN401
    """Call the function and return its encoded result; arrays go to the descriptor `arrays`."""
    from deepfreak.errors import DeepFreakError
    from deepfreak.isolation.values import MAX_TEXT_BYTES, encode

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            found: dict[str, object] = {"value": function(*args, **kwargs)}
            encode(found)  # raises if it is not a plain value
        except MemoryError:
            found = {"stopped": "memory"}
        except DeepFreakError as error:
            found = {"error": type(error).__name__, "message": str(error)}
        # damaged files make readers raise anything
        except Exception as error:  # noqa: BLE001
            found = {"error": "InputError", "message": f"{type(error).__name__}: {error}"}
    # without the warnings of libraries about damaged files
    found["warnings"] = [
        str(one.message)
        for one in caught
        if one.category is UserWarning and one.filename.startswith(_PACKAGE)
    ]
    try:
        encoded = encode(found)
        place = 0
        for array in encoded.arrays:
            data = array.reshape(-1).view("u1").data
            while data:
                written = os.pwrite(arrays, data, place)
                place, data = place + written, data[written:]
    except (MemoryError, OSError):
        encoded = encode({"stopped": "memory"})
    if len(encoded.text) > MAX_TEXT_BYTES:
        encoded = encode({"stopped": "memory"})
    return encoded.text


def _limit(limits: Any, at_start: int) -> None:  # noqa: ANN401 - of `process`
    """Set limits that the kernel enforces, even where the process is stuck in a library."""
    used = sum(resource.getrusage(resource.RUSAGE_SELF)[:2])
    _set(resource.RLIMIT_CPU, int(used + limits.cpu_s) + 1)
    _set(resource.RLIMIT_DATA, at_start + limits.memory_bytes)
    _set(resource.RLIMIT_FSIZE, limits.file_bytes)
    signal.setitimer(signal.ITIMER_REAL, limits.wall_s)


def limit_memory(more: int) -> None:
    """Limit the memory of this process to `more` bytes beyond its present memory."""
    _set(resource.RLIMIT_DATA, _data_bytes() + more)


def _set(which: int, soft: int) -> None:
    hard = resource.getrlimit(which)[1]
    resource.setrlimit(which, (soft if hard == resource.RLIM_INFINITY else min(soft, hard), hard))


def _data_bytes() -> int:
    """Return the private memory of this process; 512 MiB where the system does not report it."""
    try:
        with open("/proc/self/status", "rb") as file:  # noqa: PTH123 - no pathlib for one line
            for line in file:
                if line.startswith(b"VmData:"):
                    return int(line.split()[1]) << 10
    except OSError:
        pass
    return 1 << 29


def _send(pipe: socket.socket, text: bytes) -> None:
    try:
        pipe.sendall(_LENGTH.pack(len(text)) + text)
    except OSError:
        sys.exit(0)  # the parent process has ended


def _receive(pipe: socket.socket) -> bytes | None:
    head = _exactly(pipe, _LENGTH.size)
    return None if head is None else _exactly(pipe, _LENGTH.unpack(head)[0])


def _exactly(pipe: socket.socket, size: int) -> bytes | None:
    """Return `size` bytes, None if the socket was closed."""
    data = bytearray(size)
    view = memoryview(data)
    while view:
        count = pipe.recv_into(view)
        if count == 0:
            return None
        view = view[count:]
    return bytes(data)
