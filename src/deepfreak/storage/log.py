"""Append logs: files of records that lose nothing when their writer is killed.

Each record is a line: its length and CRC-32, eight hexadecimal digits each, its bytes, a newline.
The first record is a JSON manifest with format and settings. One process at a time appends records.
An incomplete last record, left by a killed writer or a power failure, is cut off when the log is
opened again.
"""

import json
import os
import re
import time
import zlib
from array import array
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from deepfreak.errors import InputError, OutputError
from deepfreak.storage.files import reason_of, write_all
from deepfreak.storage.locks import opened_alone
from deepfreak.storage.manifest import Format, difference

MAX_RECORD_BYTES = 1 << 30
_HEAD = re.compile(rb"([0-9a-f]{8}) ([0-9a-f]{8}) ")
_HEAD_BYTES = 18
_READ_BYTES = 1 << 16
_MAX_MANIFEST_BYTES = 1 << 24

Settings = Mapping[str, Any]


class Log:
    """An open log; `open_log` gives one to append to, `read_log` one to read.

    One thread may append while others read. `settings` are those that the log was started with.
    """

    def __init__(self, path: Path, descriptor: int, settings: Settings, start: int) -> None:
        self.path, self.settings = path, settings
        self._descriptor = descriptor
        self._bounds = array("Q", [start])  # where each record begins, and the last one ends
        self.refresh()

    @property
    def end(self) -> int:
        """Bytes of all complete records."""
        return self._bounds[-1]

    def __len__(self) -> int:
        return len(self._bounds) - 1

    def refresh(self) -> int:
        """Find records that another process has appended since; return how many."""
        before = len(self)
        for record in _whole_records(self._descriptor, self.end):
            self._bounds.append(self.end + _size(record))
        return len(self) - before

    def records(self, start: int = 0, stop: int | None = None) -> Iterator[bytes]:
        """Yield the records `start` to `stop` - 1; `InputError` if one was damaged meanwhile."""
        found = _whole_records(self._descriptor, self._bounds[min(start, len(self))])
        for index in range(start, len(self) if stop is None else min(stop, len(self))):
            record = next(found, None)
            if record is None:
                raise InputError(f"{self.path} was damaged at record {index} while it was open")
            yield record


class AppendLog(Log):
    """A log that this process alone appends to; `open_log` gives one.

    `extend` syncs if the last sync was `sync_s` seconds ago or more: 0 syncs each time, infinity
    never. A killed process loses nothing; a power failure loses what was not synced. `left` is what
    an error message says remains of the work.
    """

    def __init__(
        self,
        path: Path,
        descriptor: int,
        settings: Settings,
        start: int,
        *,
        sync_s: float = 0.0,
        left: str = "",
    ) -> None:
        super().__init__(path, descriptor, settings, start)
        self._sync_s, self._left = sync_s, left
        self._synced = time.monotonic()

    def append(self, record: bytes) -> None:
        """Add a record; see `extend`."""
        self.extend((record,))

    def extend(self, records: Sequence[bytes]) -> None:
        """Add all records, or none of them and raise `OutputError`."""
        with self._writing():
            write_all(self._descriptor, b"".join(map(_line, records)), self.end)
            if time.monotonic() - self._synced >= self._sync_s:
                self._sync()
        for record in records:
            self._bounds.append(self.end + _size(record))

    def sync(self) -> None:
        """Wait until all records are on the disk, or raise `OutputError`."""
        with self._writing():
            self._sync()

    def clear(self) -> None:
        """Drop all records; the settings stay."""
        del self._bounds[1:]
        os.ftruncate(self._descriptor, self.end)

    def _sync(self) -> None:
        os.fsync(self._descriptor)
        self._synced = time.monotonic()

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            os.ftruncate(self._descriptor, self.end)
            left = f"; {self._left}" if self._left else ""
            raise OutputError(f"cannot write {self.path}: {reason_of(error)}{left}") from error


@contextmanager
def open_log(
    path: Path,
    settings: Settings,
    *,
    form: Format,
    busy: str = "",
    advice: str = "choose another name, or remove it",
    may_follow: Callable[[Settings, Settings], bool] | None = None,
    replace: bool = False,
    cut_damage: bool = False,
    sync_s: float = 0.0,
    left: str = "",
) -> Iterator[AppendLog]:
    """Open the log at `path` for appending: new, or with the records of earlier runs.

    Runs with other `settings`, JSON values, do not share a log. `may_follow` tells whether a log
    that was started with its first argument may be resumed with its second; by default only if they
    are equal. The log keeps the settings that it was started with. `replace` drops a log of other
    settings, `cut_damage` complete records after a damaged one, because they can be recomputed.
    `busy` is the message if another process writes it, `advice` what to do about a log of other
    settings; `sync_s` and `left` are as in `AppendLog`. Raises `OutputError` if another process
    writes it, it is damaged, of another format, version or settings, or it cannot be written.
    """
    wanted = json.loads(json.dumps(settings))
    busy = busy or f"another process writes {path}: wait for it or choose another name"
    with opened_alone(path, busy=busy) as descriptor:
        found, start = _manifest(descriptor, path, form, error=OutputError)
        if found is not None and not (may_follow(found, wanted) if may_follow else found == wanted):
            if not replace:
                said = difference(found, wanted)
                raise OutputError(f"{path} is the {form.name} of another run ({said}); {advice}")
            found = None
        if found is None:
            start = _begin(descriptor, path, form.manifest(settings=wanted))
            found = wanted
        log = AppendLog(path, descriptor, found, start, sync_s=sync_s, left=left)
        if not cut_damage and _has_whole_record(descriptor, log.end):
            raise OutputError(
                f"{path} is damaged at byte {log.end}, after {len(log)} complete records: cut it "
                f"off there (truncate -s {log.end}) to resume from them, or choose another name"
            )
        os.ftruncate(descriptor, log.end)
        yield log


@contextmanager
def read_log(path: Path, *, form: Format) -> Iterator[Log]:
    """Open the log at `path`, which another process may be writing; `InputError` if it is none."""
    with _opened(path) as descriptor:
        settings, start = _manifest(descriptor, path, form)
        if settings is None:
            raise InputError(f"{path} is empty: its writer was interrupted while it started")
        yield Log(path, descriptor, settings, start)


def settings_of(path: Path, *, form: Format) -> dict[str, Any] | None:
    """Return the settings of a log, None if its writer was interrupted before it wrote them."""
    with _opened(path) as descriptor:
        return _manifest(descriptor, path, form)[0]


@contextmanager
def _opened(path: Path) -> Iterator[int]:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise InputError(f"cannot read {path}: {reason_of(error)}") from error
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _begin(descriptor: int, path: Path, manifest: dict[str, Any]) -> int:
    """Replace the content by the first record, and return where that ends."""
    line = _line(json.dumps(manifest).encode())
    try:
        os.ftruncate(descriptor, 0)
        write_all(descriptor, line, 0)
        os.fsync(descriptor)
    except OSError as error:
        raise OutputError(f"cannot write {path}: {reason_of(error)}") from error
    return len(line)


def _manifest(
    descriptor: int, path: Path, form: Format, *, error: type[InputError | OutputError] = InputError
) -> tuple[dict[str, Any] | None, int]:
    """Return the settings in the first record, None if it is incomplete, and its end."""
    record = next(_whole_records(descriptor, 0), None)
    if record is None:
        begun = os.pread(descriptor, _MAX_MANIFEST_BYTES, 0)
        start = json.dumps(form.manifest()).encode().rstrip(b"}")
        head, content = begun[:_HEAD_BYTES], begun[_HEAD_BYTES:][: len(start)]
        is_ours = not head.strip(b"0123456789abcdef ") and start.startswith(content)
        if is_ours and b"\n" not in begun:
            return None, 0
    try:
        manifest = json.loads(record or b"")
    except ValueError:
        manifest = None
    found = form.check(manifest, path, error=error)
    return dict(found["settings"]), _size(record or b"")


def _line(record: bytes) -> bytes:
    if len(record) > MAX_RECORD_BYTES:
        raise ValueError(f"expected records of at most {MAX_RECORD_BYTES} bytes")
    return b"%08x %08x %b\n" % (len(record), zlib.crc32(record), record)


def _size(record: bytes) -> int:
    """Return how many bytes a record takes in the file."""
    return _HEAD_BYTES + len(record) + 1


def _whole_records(descriptor: int, place: int) -> Iterator[bytes]:
    """Yield the complete records from byte `place` to the end, or to one that is not complete."""
    block, at = b"", 0
    while True:
        head = _HEAD.match(block, at)
        size = _HEAD_BYTES + int(head[1], 16) + 1 if head else _HEAD_BYTES
        if at + size > len(block):
            place, at = place + at, 0
            if place + size > os.fstat(descriptor).st_size:
                return
            block = os.pread(descriptor, max(size, _READ_BYTES), place)
            continue
        if head is None:
            return
        record = block[at + _HEAD_BYTES : at + size - 1]
        if zlib.crc32(record) != int(head[2], 16) or block[at + size - 1] != 0x0A:
            return
        yield record
        at += size


def _has_whole_record(descriptor: int, start: int) -> bool:
    """Return whether there is a complete record anywhere after byte `start`."""
    rest = os.pread(descriptor, MAX_RECORD_BYTES, start)
    return any(
        next(_whole_records(descriptor, start + head.start()), None) is not None
        for head in _HEAD.finditer(rest)
    )
