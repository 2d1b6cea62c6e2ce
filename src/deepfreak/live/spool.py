"""The spool: received frames without a verdict, one file each.

It carries frames from the receiver to the workers, which read the files, and it survives `kill -9`:
a frame counts as received once its file is complete, and the file is removed when the ledger has
the verdict. The files live in the page cache and are mostly removed before a disk writes them; a
directory in memory (/dev/shm) spares the disk altogether.

A file's name states its session: `deepfreak-SESSION-000000000012.frame`. Nothing else in the
directory is read, overwritten or removed.
"""

import json
import os
import re
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from deepfreak.errors import FrameError, OutputError
from deepfreak.live.messages import Arrival
from deepfreak.storage.files import reason_of
from deepfreak.storage.locks import alone

# Length of the JSON that says whose payload this is, and of the payload.
_HEAD = struct.Struct("<4sIQ")
_MARK = b"DFS1"
_MAX_FACTS_LENGTH = 1 << 20
_NAME = re.compile(r"deepfreak-([0-9a-z]+)-(\d{12})\.frame")


def make_folder(folder: Path, *, parents: bool = True) -> None:
    """Make a directory unless there is one; `OutputError` where that cannot be."""
    try:
        folder.mkdir(parents=parents, exist_ok=True)
    except OSError as error:
        raise OutputError(f"cannot make the directory {folder}: {reason_of(error)}") from error


@contextmanager
def folder_alone(folder: Path, *, busy: str) -> Iterator[None]:
    """Keep other processes out of a directory, which is made in its parent if there is none."""
    make_folder(folder, parents=False)
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError as error:
        raise OutputError(f"cannot open the directory {folder}: {reason_of(error)}") from error
    try:
        with alone(descriptor, folder, busy=busy):
            yield
    finally:
        os.close(descriptor)


class Spool:
    """A directory of frames that wait; `owner` is the `id` of the session's ledger.

    One thread puts frames in, another one drops them.
    """

    def __init__(self, folder: Path, owner: str) -> None:
        self.folder, self._owner = folder, owner
        # each changed by one thread only: what both add to would lose some of it
        self._put_bytes = self._dropped_bytes = 0
        self._next = 0
        self._sizes: dict[Path, int] = {}
        make_folder(folder)

    @property
    def waiting_bytes(self) -> int:
        """What the files in it take."""
        return self._put_bytes - self._dropped_bytes

    @contextmanager
    def held(self) -> Iterator["Spool"]:
        """Keep other sessions out of the directory; `OutputError` where one is in it."""
        busy = f"another session keeps its frames in {self.folder}: give another --spool"
        with folder_alone(self.folder, busy=busy):
            yield self

    def put(self, arrival: Arrival) -> Path:
        """Store a frame and return its file, which survives the program when this returns.

        Raises `OutputError` where there is no room; nothing of the frame is left.
        """
        metadata = json.dumps(
            {
                "series": arrival.series,
                "number": arrival.number,
                "received": arrival.received,
                "sent": arrival.sent,
                "truth": None if arrival.truth is None else dict(arrival.truth),
            }
        ).encode()
        payload = memoryview(arrival.payload).cast("B")
        path = self.folder / f"deepfreak-{self._owner}-{self._next:012d}.frame"
        self._next += 1
        size = _HEAD.size + len(metadata) + len(payload)
        created = False
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            created = True
            try:
                # a file whose end is missing was never ours: its length says so
                _write(
                    descriptor, [_HEAD.pack(_MARK, len(metadata), len(payload)), metadata, payload]
                )
            finally:
                os.close(descriptor)
        except OSError as error:
            if created:
                path.unlink(missing_ok=True)
            raise OutputError(
                f"cannot keep a frame in {path.parent}: {reason_of(error)}"
            ) from error
        self._sizes[path] = size
        self._put_bytes += size
        return path

    def drop(self, path: Path) -> None:
        """Remove a frame whose verdict is in the ledger."""
        self._dropped_bytes += self._sizes.pop(path, 0)
        path.unlink(missing_ok=True)

    def left(self) -> Iterator[tuple[Path, Arrival]]:
        """Yield what an earlier run of this session left, oldest first; remove incomplete files.

        The payload stays in the file. Raises `OutputError` where a file cannot be read, or is of
        another session; all are left as they are.
        """
        try:
            files = [path.name for path in self.folder.iterdir()]
        except OSError as error:
            raise OutputError(f"cannot read {self.folder}: {reason_of(error)}") from error
        names = sorted(filter(None, map(_NAME.fullmatch, files)), key=_number)
        if any(name[1] != self._owner for name in names):
            raise OutputError(
                f"expected frames of this session in {self.folder}, found some of another one: "
                "resume with the --out that they belong to, or give another --spool"
            )
        for name in names:
            path = self.folder / name[0]
            self._next = _number(name) + 1
            try:
                content = path.read_bytes()
            except OSError as error:
                raise OutputError(f"cannot read {path}: {reason_of(error)}") from error
            try:
                arrival = _unpacked(content)
            except FrameError:
                path.unlink(missing_ok=True)
                continue
            self._sizes[path] = len(content)
            self._put_bytes += len(content)
            yield path, arrival


def read(path: Path) -> Arrival:
    """Return the frame in a file of the spool; `FrameError` where it is incomplete, or not ours."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise FrameError(f"cannot be read from the spool: {reason_of(error)}") from error
    return _unpacked(content)


def _unpacked(content: bytes) -> Arrival:
    """Return the frame in the content of a file; `FrameError` for anything else."""
    if len(content) < _HEAD.size:
        raise FrameError("expected a whole frame in the spool, found a torn file")
    mark, facts_length, payload_length = _HEAD.unpack_from(content)
    start = _HEAD.size + facts_length
    if mark != _MARK or facts_length > _MAX_FACTS_LENGTH or start + payload_length != len(content):
        raise FrameError("expected a whole frame in the spool, found a torn file")
    try:
        metadata = json.loads(content[_HEAD.size : start])
        return Arrival(payload=memoryview(content)[start:], **metadata)
    except (ValueError, TypeError) as error:  # as after a power failure
        raise FrameError("expected a whole frame in the spool, found other bytes") from error


def _number(name: re.Match[str]) -> int:
    return int(name[2])


def _write(descriptor: int, parts: list[bytes | memoryview]) -> None:
    """Write all of `parts`."""
    views = [memoryview(part) for part in parts]
    while views:
        written = os.writev(descriptor, views)
        while views and written >= len(views[0]):
            written -= len(views.pop(0))
        if written:
            views[0] = views[0][written:]
