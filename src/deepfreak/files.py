"""Writing results: beside their final name, and renamed when whole."""

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from deepfreak.errors import OutputError


def check_output(path: Path, *, overwrite: bool, expected_bytes: int = 0) -> None:
    """Refuse an output that exists, whose folder is missing, or for which there is no room.

    Raises
    ------
    OutputError
        In one line, before any work is done.
    """
    folder = path.absolute().parent
    if path.is_dir():
        raise OutputError(f"{path} is a folder; expected the name of a file to write")
    if path.exists() and not overwrite:
        raise OutputError(f"{path} exists already; choose another name or add --overwrite")
    if not folder.is_dir():
        raise OutputError(f"no folder {folder} to write {path.name} into; make it first")
    if not os.access(folder, os.W_OK):
        raise OutputError(f"no permission to write into {folder}")
    free = shutil.disk_usage(folder).free
    if free < expected_bytes:
        raise OutputError(
            f"{path} needs about {expected_bytes / 1e6:.0f} MB, {folder} has {free / 1e6:.0f} MB "
            "free; make room or choose another place"
        )


@contextmanager
def whole_file(path: Path, *, overwrite: bool) -> Iterator[Path]:
    """Give a temporary path beside `path`; rename it when the block ends well, else remove it.

    Raises
    ------
    OutputError
        If `path` exists and may not be replaced, or the disk is full.
    """
    check_output(path, overwrite=overwrite)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        yield partial
        with partial.open("rb") as written:
            os.fsync(written.fileno())
        if path.exists() and not overwrite:
            raise OutputError(f"{path} appeared meanwhile; it was left as it is")
        partial.replace(path)
    except OSError as error:
        raise OutputError(_cannot_write(path, error)) from error
    finally:
        partial.unlink(missing_ok=True)


def _cannot_write(path: Path, error: OSError) -> str:
    # HDF5 wraps the system's error number into its text
    full = error.errno == errno.ENOSPC or f"errno = {errno.ENOSPC}" in str(error)
    reason = "no space left on the disk" if full else (error.strerror or str(error))
    return f"cannot write {path}: {reason}; nothing was left behind"
