"""The draft beside a data set in the making: what survives `kill -9`, Ctrl-C and a full disk.

A line of JSON that says what is being made, then one record an image in their order, each with its
length and checksum. It is only ever appended to, so that whatever ends a run leaves whole records
and perhaps a torn one behind, which is cut off when the draft is opened again. It cannot be taken
for a data set: it is no HDF5, and its name is hidden.
"""

import json
import os
import struct
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from deepfreak.errors import OutputError
from deepfreak.storage.locks import opened_alone

KIND = "deepfreak draft 1"
# At most this much work is lost when the power fails; nothing is when only the process dies.
SECONDS_BETWEEN_SYNCS = 10.0

_FRAME = struct.Struct("<4sII")
_MARK = b"SHOT"
_MAX_HEADER_LENGTH = 1_000_000


def draft_path(out: Path) -> Path:
    """Return where the draft of `out` lies."""
    return out.with_name(f".{out.name}.draft")


class Draft:
    """An open and locked draft; `open_draft` gives one."""

    def __init__(self, path: Path, descriptor: int, start: int) -> None:
        self.path = path
        self.count = 0
        self._descriptor = descriptor
        self._start = self._end = start
        self._synced = time.monotonic()
        for packed in self._read():
            self.count += 1
            self._end += _FRAME.size + len(packed)
        os.ftruncate(descriptor, self._end)

    def append(self, packed: bytes) -> None:
        """Add a record.

        Raises
        ------
        OSError
            If it cannot be written; the draft is then as it was.
        """
        frame = _FRAME.pack(_MARK, len(packed), _checksum(packed)) + packed
        try:
            _write(self._descriptor, frame, self._end)
        except OSError:
            os.ftruncate(self._descriptor, self._end)
            raise
        self._end += len(frame)
        self.count += 1
        if time.monotonic() - self._synced > SECONDS_BETWEEN_SYNCS:
            os.fsync(self._descriptor)
            self._synced = time.monotonic()

    def records(self) -> Iterator[bytes]:
        """Yield the records in their order.

        Raises
        ------
        OutputError
            If one was damaged after it had been written.
        """
        found = 0
        for packed in self._read():
            yield packed
            found += 1
        if found != self.count:
            raise OutputError(
                f"{self.path} was damaged meanwhile, at image {found}: give the command again"
            )

    def _read(self) -> Iterator[bytes]:
        """Yield whole records up to the end, or to the first that is torn."""
        place = self._start
        while True:
            head = os.pread(self._descriptor, _FRAME.size, place)
            if len(head) < _FRAME.size:
                return
            mark, length, checksum = _FRAME.unpack(head)
            if mark != _MARK:
                return
            packed = os.pread(self._descriptor, length, place + _FRAME.size)
            if len(packed) < length or _checksum(packed) != checksum:
                return
            yield packed
            place += _FRAME.size + length


@contextmanager
def open_draft(
    out: Path, purpose: dict[str, Any], *, replace: bool = False, must_exist: bool = False
) -> Iterator[Draft]:
    """Give the draft of `out`, new or with what an earlier run for the same `purpose` left.

    It stays when the block fails, and is removed when it ends well.

    Parameters
    ----------
    replace
        Whether to drop a draft of another purpose.

    Raises
    ------
    OutputError
        If another process works on it, it has another purpose, or there is none and one must exist.
    """
    path = draft_path(out)
    if must_exist and not path.exists():
        raise OutputError(f"no draft {path} to resume; leave --resume away to begin")
    busy = f"another process is making {out}; wait for it or choose another name"
    with opened_alone(path, busy=busy) as descriptor:
        found, start = _header(descriptor, path)
        if found is not None and found != purpose:
            if not replace:
                raise OutputError(
                    f"{path} is the draft of another run ({_difference(found, purpose)}); finish "
                    "that one, remove the draft, or add --overwrite"
                )
            found = None
        if found is None:
            line = json.dumps({"kind": KIND, "purpose": purpose}).encode() + b"\n"
            os.ftruncate(descriptor, 0)
            _write(descriptor, line, 0)
            start = len(line)
        yield Draft(path, descriptor, start)
        path.unlink()


def _header(descriptor: int, path: Path) -> tuple[dict[str, Any] | None, int]:
    """Return the purpose that a draft states, None if it is empty or was cut off, and its end."""
    line, newline, _ = os.pread(descriptor, _MAX_HEADER_LENGTH, 0).partition(b"\n")
    if not newline and (not line or line.startswith(f'{{"kind": "{KIND[:8]}'.encode())):
        return None, 0
    try:
        header = json.loads(line)
    except ValueError:
        header = None
    if not isinstance(header, dict) or header.get("kind") != KIND:
        raise OutputError(f"{path} is no draft of a data set; remove it")
    return dict(header["purpose"]), len(line) + 1


def _difference(found: dict[str, Any], purpose: dict[str, Any]) -> str:
    """Return in a few words what tells two purposes apart."""
    names = [name for name in purpose if found.get(name) != purpose[name]]
    plain = [
        f"its {name} is {found.get(name)}, not {purpose[name]}"
        for name in names
        if not isinstance(purpose[name], dict)
    ]
    return plain[0] if plain else f"its {names[0] if names else 'kind'} differs"


def _checksum(packed: bytes) -> int:
    """Return a checksum that is not zero for nothing: a failing disk may leave zeros."""
    return zlib.crc32(packed, 1)


def _write(descriptor: int, data: bytes, place: int) -> None:
    """Write all of `data` at `place`."""
    view = memoryview(data)
    while view:
        written = os.pwrite(descriptor, view, place)
        view, place = view[written:], place + written
