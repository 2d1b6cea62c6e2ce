"""Files that one process writes at a time, on file systems with locks and on those without.

NFS without its lock service and Lustre mounted without `flock` answer that there are no locks. Then
a name that the kernel gives to one process of the machine stands in for them, and a line says that
other machines are not kept out. Either goes with the process, however it ends.
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
    """Give the descriptor of a file to read and write, made if there is none, held alone.

    Parameters
    ----------
    busy
        What to say if another process holds it.
    flags
        For `os.open`, beside those.
    called
        What messages call it; its path by default.

    Raises
    ------
    OutputError
        It cannot be opened, or another process holds it.
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
        # who held it has finished and removed it meanwhile


@contextmanager
def alone(descriptor: int, path: Path, *, busy: str) -> Iterator[None]:
    """Hold an open file or folder, `path`, alone; until its descriptor is closed at the latest.

    Raises
    ------
    OutputError
        Another process holds it; the message is `busy`. Or it cannot be locked.
    """
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
    """Return whether the file system of a folder has none of the locks that SQLite takes."""
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return error.errno in _NO_LOCKS
    return False


@contextmanager
def _named(descriptor: int, path: Path, busy: str) -> Iterator[None]:
    """Hold a name that stands for the file on this machine."""
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
                f"deepfreak: the disk of {path} has no locks: {others} are not kept from writing "
                "there\n"
            )
        yield


def _is_still(descriptor: int, path: Path) -> bool:
    """Return whether a name still stands for an open file."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False
