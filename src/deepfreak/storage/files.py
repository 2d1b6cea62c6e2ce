"""Atomic writes: files are written beside their final name, synced and renamed."""

import errno
import io
import os
import secrets
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from deepfreak.errors import OutputError

if TYPE_CHECKING:
    import h5py
    from _typeshed import ReadableBuffer, WriteableBuffer


def versions(*packages: str) -> dict[str, str]:
    """Return the versions of deepfreak and of those of `packages` that are installed."""
    from deepfreak import __version__

    found = {"deepfreak": __version__}
    for package in packages:
        with suppress(PackageNotFoundError):
            found[package] = version(package)
    return found


def cache_folder() -> Path | None:
    """Return the cache directory: $DEEPFREAK_CACHE, or the user's; None if there is neither."""
    chosen = os.environ.get("DEEPFREAK_CACHE")
    if chosen:
        return Path(chosen)
    import platformdirs

    try:
        folder = Path(platformdirs.user_cache_dir("deepfreak"))
    except RuntimeError:
        return None
    return folder if folder.is_absolute() else None  # "~" if there is no home


@contextmanager
def written_whole(path: Path) -> Iterator[BinaryIO]:
    """Open a file that is renamed to `path` when the block succeeds and removed when it fails.

    Until then it has a hidden name with the same suffixes, in the directory of `path`, which is
    created.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{secrets.token_hex(8)}.{path.name}")
    try:
        with draft.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


def check_output(path: Path, *, overwrite: bool, expected_bytes: int = 0) -> None:
    """Check that `path` can be written, before any work is done.

    Raises `OutputError` if it exists and may not be overwritten, its directory is missing or
    not writable, or the disk has less than `expected_bytes` free.
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


def read_hdf5(path: str | Path, *, swmr: bool = False) -> "h5py.File":
    """Open an HDF5 file for reading, without a lock: some file systems have none.

    A process can open a file twice only with the same locking, so a file that is already open with
    a lock is opened with one. Raises `OSError` as h5py does.
    """
    import h5py

    try:
        return h5py.File(path, "r", swmr=swmr, locking=False)
    except OSError as error:
        if "locking flag" not in str(error):
            raise
        return h5py.File(path, "r")


@contextmanager
def whole_file(
    path: Path, *, overwrite: bool, left: str = "nothing was left behind"
) -> Iterator[Path]:
    """Give a path beside `path` that is renamed to it when the block succeeds, else removed.

    `left` is what an error message says remains of the work. Raises `OutputError` if `path` exists
    and may not be overwritten, or cannot be written.
    """
    check_output(path, overwrite=overwrite)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        yield partial
        with partial.open("rb") as written:
            os.fsync(written.fileno())
        if path.exists() and not overwrite:
            raise OutputError(f"{path} was created meanwhile by another program; it was kept")
        partial.replace(path)
    except OSError as error:
        raise OutputError(f"cannot write {path}: {reason_of(error)}; {left}") from error
    finally:
        partial.unlink(missing_ok=True)


@contextmanager
def whole_hdf5(
    path: Path, *, overwrite: bool, left: str = "nothing was left behind"
) -> Iterator[tuple["h5py.File", Callable[[], None]]]:
    """Give an HDF5 file to fill, as `whole_file`, and a function that raises if a write failed.

    Call the function now and then: a failed write is otherwise noticed only at the end.
    """
    import h5py

    with (
        whole_file(path, overwrite=overwrite, left=left) as partial,
        partial.open("w+b", buffering=0) as raw,
    ):
        sink = _Sink(raw)
        with h5py.File(sink, "w") as file:
            yield file, sink.check
        sink.check()


class _Sink(io.RawIOBase):
    """A file that keeps writes in memory once one has failed, and reports the failure to `check`.

    HDF5 does not survive a failed write: it retries whenever an object is released, and crashes the
    process in the end. So it never sees the failure, and reads back what it has written.
    """

    def __init__(self, raw: io.FileIO) -> None:
        super().__init__()
        self._raw = raw
        self._at = self._end = 0
        self._kept: list[tuple[int, bytes]] = []  # unwritten data by position
        self.failure: OSError | None = None

    def check(self) -> None:
        """Raise the error of the first failed write, if any."""
        if self.failure is not None:
            raise self.failure

    def write(self, data: "ReadableBuffer") -> int:
        view = memoryview(data).cast("B")
        written = 0
        while written < len(view) and self.failure is None:
            try:
                written += os.pwrite(self._raw.fileno(), view[written:], self._at + written)
            except OSError as error:
                self.failure = error
        if written < len(view):
            self._kept.append((self._at + written, bytes(view[written:])))
        self._at += len(view)
        self._end = max(self._end, self._at)
        return len(view)

    def readinto(self, buffer: "WriteableBuffer") -> int:
        view = memoryview(buffer).cast("B")
        start, count = self._at, max(0, min(len(view), self._end - self._at))
        found = os.pread(self._raw.fileno(), count, start)
        view[:count] = found + bytes(count - len(found))
        for place, kept in self._kept:
            low, high = max(start, place), min(start + count, place + len(kept))
            if low < high:
                view[low - start : high - start] = kept[low - place : high - place]
        self._at += count
        return count

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._at = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._end}[whence]
        return self._at

    def tell(self) -> int:
        return self._at

    def truncate(self, size: int | None = None) -> int:
        self._end = self._at if size is None else size
        if self.failure is None:
            try:
                self._raw.truncate(self._end)
            except OSError as error:
                self.failure = error
        return self._end

    def flush(self) -> None:
        if not self._raw.closed:
            self._raw.flush()

    def readable(self) -> bool:
        return True

    def writable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True


def write_all(descriptor: int, data: bytes, place: int) -> None:
    """Write all of `data` at byte `place`; a single write may stop short, or raise `OSError`."""
    view = memoryview(data)
    while view:
        written = os.pwrite(descriptor, view, place)
        view, place = view[written:], place + written


def reason_of(error: OSError) -> str:
    """Return the reason of a failed write in a few words."""
    full = error.errno in {errno.ENOSPC, errno.EDQUOT}
    return "no space left on the disk" if full else (error.strerror or str(error))
