"""One writer per file, on file systems with locks and on those without.

NFS without its lock service, and Lustre mounted without `flock`, have no locks. There a name in
Linux's abstract socket namespace replaces the lock, which excludes other processes of this machine
only, and a line on stderr says so. Both are released when the process ends, even if it is killed.
"""

import errno
import fcntl
import os
import socket
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from deepfreak.errors import OutputError
from deepfreak.storage.files import reason_of

_NO_LOCKS = {errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOSYS, errno.EINVAL}
_said: set[int] = set()


@contextmanager
def opened_alone(
    path: Path, *, busy: str, flags: int = 0, called: str | None = None
) -> Iterator[int]:
    """Open a file for reading and writing under an exclusive lock; create it if missing.

    `busy` is the message of the error if another process has the lock, `flags` are further ones for
    `os.open`, `called` is the file's name in messages, by default its path. Raises `OutputError` if
    it cannot be opened, or another process has the lock.
    """
    while True:
        with ExitStack() as held:
            try:
                descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | flags, 0o644)
            except OSError as error:
                raise OutputError(f"cannot write {called or path}: {reason_of(error)}") from error
            held.callback(os.close, descriptor)
            held.enter_context(alone(descriptor, path, busy=busy))
            if _is_still(descriptor, path):
                yield descriptor
                return
        # the process that had the lock has removed the file


@contextmanager
def alone(descriptor: int, path: Path, *, busy: str) -> Iterator[None]:
    """Lock an open file or directory until it is closed; `OutputError` if it is `busy`."""
    with ExitStack() as held:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise OutputError(busy) from None
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise OutputError(f"cannot lock {path}: {reason_of(error)}") from error
            held.enter_context(_named(descriptor, path, busy))
        yield


def lacks_record_locks(folder: Path) -> bool:
    """Return whether the file system of a directory lacks the record locks that SQLite needs."""
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return error.errno in _NO_LOCKS
    return False


@contextmanager
def _named(descriptor: int, path: Path, busy: str) -> Iterator[None]:
    """Bind a name that stands for the file, in place of a lock."""
    about = os.fstat(descriptor)
    others = "other processes"
    with socket.socket(socket.AF_UNIX) as name:
        if sys.platform == "linux":
            try:
                name.bind(f"\0deepfreak {about.st_dev} {about.st_ino}")
            except OSError as error:
                if error.errno == errno.EADDRINUSE:
                    raise OutputError(busy) from None
            else:
                others = "other machines"
        if about.st_dev not in _said:
            _said.add(about.st_dev)
            sys.stderr.write(
                f"deepfreak: the disk of {path} has no locks: {others} are not prevented from "
                "writing there\n"
            )
        yield


def _is_still(descriptor: int, path: Path) -> bool:
    """Return whether `path` is still the name of an open file."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False
