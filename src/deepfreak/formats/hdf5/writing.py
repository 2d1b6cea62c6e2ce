"""Whether an HDF5 file is being written."""

import contextlib
import fcntl
import os
from dataclasses import dataclass
from pathlib import Path

from deepfreak.errors import FrameError

_SIGNATURE = b"\x89HDF\r\n\x1a\n"
_FLAGGED_VERSION = 3  # of the superblock: those before say nothing of writers
_WRITING, _SWMR = 0x1, 0x4
_MAX_USER_BLOCK = 1 << 16


@dataclass(frozen=True, slots=True)
class Writing:
    """Whether a file is being written."""

    line: str | None = None  # by what, in words; None if it is not
    readable: bool = True  # whether others may read it meanwhile, that is by SWMR
    locked: bool = False  # whether the writer is certainly alive

    @property
    def refusal(self) -> str:
        """The line that says why others must not read the file, and what to do."""
        line = f"expected a finished file, found that {self.line}: wait for it"
        if self.locked:
            return line
        return f"{line}; if no program does, mark it as closed with HDF5's tool: h5clear -s FILE"


def writing_of(path: str | Path) -> Writing:
    """Return whether the HDF5 file is open for writing.

    A writer marks the file, if it uses the newer file format, or holds its lock. One that does
    neither, old format and locking off, goes unnoticed; one that was killed leaves its mark.

    Raises `FrameError`: the file cannot be opened.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise FrameError(f"cannot be read: {error.strerror}") from error
    try:
        flags = _flags(descriptor)
        if flags & _SWMR:
            return Writing("a program is writing it (SWMR)")
        with contextlib.suppress(OSError):  # a file system without locks
            try:
                # for a moment only, so as not to keep a writer out
                fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return Writing("a program has locked it for writing", readable=False, locked=True)
        if flags & _WRITING:
            return Writing("a program has it open for writing, or was killed", readable=False)
    finally:
        os.close(descriptor)  # gives the lock back
    return Writing()


def _flags(descriptor: int) -> int:
    """Return the consistency flags of the file's superblock, 0 where it has none."""
    place = 0
    while place <= _MAX_USER_BLOCK:
        start = os.pread(descriptor, 12, place)
        if len(start) < 12:
            return 0
        if start.startswith(_SIGNATURE):
            return start[11] if start[8] >= _FLAGGED_VERSION else 0
        place = max(512, 2 * place)  # behind a user block, whose size is a power of two
    return 0
