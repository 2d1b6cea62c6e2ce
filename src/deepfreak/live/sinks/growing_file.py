"""A file that only ever grows by whole pieces: all of a piece is in it, or nothing."""

import os
import stat
from contextlib import ExitStack
from pathlib import Path

from deepfreak.errors import OutputError
from deepfreak.storage.files import reason_of
from deepfreak.storage.locks import opened_alone

_BLOCK = 1 << 16
_MAX_LINE_LENGTH = 1 << 22


class GrowingFile:
    """An open file, locked against a second writer; made if there is none.

    `size` is where the next piece goes. The caller decides what an incomplete end means and
    calls `cut` or `append`.

    Raises
    ------
    OutputError
        It cannot be written, it is no plain file, or another process writes it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        busy = f"another process writes {path}: stop it or choose another name"
        with ExitStack() as held:
            # without O_NONBLOCK a pipe would wait for its reader
            opened = opened_alone(path, busy=busy, flags=os.O_NONBLOCK)
            self._descriptor = held.enter_context(opened)
            about = os.fstat(self._descriptor)
            if not stat.S_ISREG(about.st_mode):
                raise OutputError(
                    f"expected the name of a plain file, found a device or pipe: {path}"
                )
            self.size = about.st_size
            self._held = held.pop_all()

    def append(self, piece: bytes) -> None:
        """Add a piece, which is safe from `kill -9` when this returns.

        Raises
        ------
        OutputError
            It cannot be written; the file is then as it was.
        """
        self._require_in_place()
        try:
            _write(self._descriptor, piece, self.size)
        except OSError as error:
            os.ftruncate(self._descriptor, self.size)
            raise OutputError(
                f"cannot write {self.path}: {reason_of(error)}; it was left as it was"
            ) from error
        self.size += len(piece)

    def cut(self, size: int) -> None:
        """Drop what is behind the first `size` bytes."""
        os.ftruncate(self._descriptor, size)
        self.size = size

    def read(self, start: int, stop: int) -> bytes:
        """Return the bytes from `start` up to `stop`, fewer at the end."""
        return os.pread(self._descriptor, max(0, stop - start), start)

    def last_line(self) -> tuple[bytes, bytes]:
        """Return the last whole line, empty if there is none, and what is torn behind it.

        Raises
        ------
        OutputError
            A line is too long.
        """
        end, tail = self.size, b""
        while end and tail.count(b"\n") < 2:
            if len(tail) > _MAX_LINE_LENGTH:
                raise OutputError(
                    f"expected {self.path} to be a file of verdicts, found a line of more than "
                    f"{_MAX_LINE_LENGTH >> 20} MiB; choose another name"
                )
            start = max(0, end - _BLOCK)
            tail, end = self.read(start, end) + tail, start
        whole, newline, torn = tail.rpartition(b"\n")
        if not newline:
            return b"", torn
        return whole.rpartition(b"\n")[2], torn

    def close(self) -> None:
        """Let another process write it."""
        self._held.close()
        self._descriptor = -1

    def _require_in_place(self) -> None:
        """Raise `OutputError` where what is written would land in a file without a name."""
        try:
            same = os.path.samestat(os.fstat(self._descriptor), self.path.stat())
        except FileNotFoundError:
            same = False
        if not same:
            raise OutputError(
                f"{self.path} was moved or removed while it was written; start again to rebuild it"
            )


def _write(descriptor: int, piece: bytes, place: int) -> None:
    """Write all of `piece` at `place`."""
    view = memoryview(piece)
    while view:
        written = os.pwrite(descriptor, view, place)
        view, place = view[written:], place + written
