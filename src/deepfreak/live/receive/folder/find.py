"""Which files are below a directory, looked up again and again at little cost.

By polling and not by inotify or its like: those tell only of what this very machine does, and a
detector writes to a network file system from another one.

A directory is read again when its time of change moves. That time is coarse, and may be late on a
network file system, so that a directory that has just changed is read until it has been quiet for
`COARSE_S`, and each one now and then. Its state is asked for through an open handle: NFS then asks
the server and not its cache.
"""

import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from deepfreak.formats.files import is_image_name
from deepfreak.live.messages import Trouble

COARSE_S = 2.5  # the coarsest clock of a file system in use, FAT's, ticks every 2 s
ANYWAY_S = 30.0  # a directory is read again after so long, whatever its time of change
MAX_SHARE = 0.3  # of the time is spent on reading a directory over and over
_BETWEEN_SIGNS = 5000  # names, until the caller is given a chance to do something else
_UNFINISHED = (".tmp", ".temp", ".part", ".partial", ".incomplete", ".filepart", ".crdownload")


@dataclass(frozen=True, slots=True)
class FileFound:
    """A file that is new, or that another one has taken the place of."""

    path: str


@dataclass(frozen=True, slots=True)
class FileGone:
    """A file that is not there any more."""

    path: str


Change = FileFound | FileGone | Trouble


@dataclass(slots=True, kw_only=True)
class _Directory:
    """What is known of one folder; times are those of the monotonic clock."""

    path: str
    place: tuple[int, int]  # device and inode: links may lead here twice
    mtime_ns: int = -1
    moved: float = 0.0  # when the time of change was seen to move
    read: float = -ANYWAY_S  # when it was last read, and how long that took
    took_s: float = 0.0
    files: dict[str, int] = field(default_factory=dict)  # name to inode
    others: dict[str, int] = field(default_factory=dict)  # what is no detector's file, likewise
    folders: set[str] = field(default_factory=set)
    error: str | None = None


class DirectoryTree:
    """The detector files in a directory and below it; without hidden ones and unfinished names.

    With `only`, the name of the one file that matters, everything else is left alone.
    """

    def __init__(
        self, root: Path, *, only: str | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._root, self._only, self._clock = str(root), only, clock
        self._folders: dict[str, _Directory] = {}
        self._places: dict[tuple[int, int], str] = {}

    def poll(self) -> Iterator[Change | None]:
        """Yield what has changed, and None now and then while there is much to look at."""
        waiting = [self._root]
        while waiting:
            path = waiting.pop()
            yield from self._poll_folder(path)
            yield None
            folder = self._folders.get(path)
            if folder is not None and folder.error is None:
                waiting.extend(folder.folders)

    def _poll_folder(self, path: str) -> Iterator[Change | None]:
        try:
            handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            yield from self._lost(path, error)
            return
        try:
            folder = self._folder(path, os.fstat(handle))
            if folder is None:
                return
            if _is_due(folder, self._clock()):
                yield from self._read(folder, handle)
        except OSError as error:
            yield from self._lost(path, error)
            return
        finally:
            os.close(handle)
        if folder.error is not None:
            folder.error = None
            yield Trouble(message=f"{_shown(path)} can be read again")

    def _folder(self, path: str, state: os.stat_result) -> _Directory | None:
        """Return what is known of a directory, None if it was reached before by another way."""
        place = state.st_dev, state.st_ino
        if self._places.setdefault(place, path) != path:
            return None  # a loop of links ends here
        folder = self._folders.get(path)
        if folder is None:
            folder = self._folders[path] = _Directory(path=path, place=place)
        elif folder.place != place:
            self._places.pop(folder.place, None)
            folder.place, folder.mtime_ns = place, -1
        if folder.mtime_ns != state.st_mtime_ns:
            folder.mtime_ns, folder.moved = state.st_mtime_ns, self._clock()
        return folder

    def _lost(self, path: str, error: OSError) -> Iterator[Change | None]:
        """Say once that a directory cannot be read; one below the root may have been deleted."""
        folder = self._folders.get(path)
        deleted = isinstance(error, FileNotFoundError | NotADirectoryError)
        if deleted and path != self._root:
            yield from self._forget(path)
            return
        if folder is None:
            folder = self._folders[path] = _Directory(path=path, place=(-1, -1))
        folder.read = -ANYWAY_S
        if folder.error is None:
            folder.error = error.strerror or str(error)
            yield Trouble(message=f"{_shown(path)} cannot be read ({folder.error}); waiting for it")

    def _forget(self, path: str) -> Iterator[Change]:
        folder = self._folders.pop(path, None)
        if folder is None:
            return
        if self._places.get(folder.place) == path:
            del self._places[folder.place]
        for name in folder.files:
            yield FileGone(f"{path}/{name}")
        for below in folder.folders:
            yield from self._forget(below)

    def _read(self, folder: _Directory, handle: int) -> Iterator[Change | None]:
        """Read the names in a directory and tell how they differ from those of the last time."""
        start = self._clock()
        spent = 0.0
        files: dict[str, int] = {}
        others: dict[str, int] = {}
        folders: set[str] = set()
        known, ignored = folder.files, folder.others
        with os.scandir(handle) as entries:
            for number, entry in enumerate(entries, start=1):
                name, inode = entry.name, entry.inode()
                if known.get(name) == inode:
                    files[name] = inode
                elif ignored.get(name) == inode:
                    others[name] = inode
                elif self._is_folder(entry):
                    folders.add(f"{folder.path}/{name}")
                else:
                    self._sort(entry, folder.path, files, others)
                if number % _BETWEEN_SIGNS == 0:
                    paused = self._clock()
                    yield None
                    spent += self._clock() - paused
        folder.files, folder.others = files, others
        gone_folders, folder.folders = folder.folders - folders, folders
        folder.read, folder.took_s = start, self._clock() - start - spent
        for path in gone_folders:
            yield from self._forget(path)
        for name, inode in files.items():
            if known.get(name) != inode:
                yield FileFound(f"{folder.path}/{name}")
        for name in known.keys() - files.keys():
            yield FileGone(f"{folder.path}/{name}")

    def _sort(
        self, entry: "os.DirEntry[str]", path: str, files: dict[str, int], others: dict[str, int]
    ) -> None:
        """Put an entry of the directory `path` other than a directory where it belongs."""
        if self._matters(entry, path):
            files[entry.name] = entry.inode()
        else:
            # a link may lead to a file one day: ask again
            others[entry.name] = -1 if entry.is_symlink() else entry.inode()

    def _is_folder(self, entry: "os.DirEntry[str]") -> bool:
        return self._only is None and not entry.name.startswith(".") and _says(entry.is_dir)

    def _matters(self, entry: "os.DirEntry[str]", folder: str) -> bool:
        if self._only is not None:
            return entry.name == self._only and _says(entry.is_file)
        if not is_finished_name(entry.name) or not _says(entry.is_file):
            return False
        if not entry.is_symlink():
            return True
        # what it leads to is seen under its own name, if that is below the root
        target = os.path.realpath(f"{folder}/{entry.name}")
        below = target.startswith(os.path.realpath(self._root) + "/")
        return not (below and is_finished_name(os.path.basename(target)))  # noqa: PTH119 - a str


def is_finished_name(name: str) -> bool:
    """Return whether `name` is one that a finished detector file can have."""
    stem, _, _ = name.lower().rpartition(".")
    return is_image_name(name) and not stem.endswith(_UNFINISHED)


def _is_due(folder: _Directory, now: float) -> bool:
    """Return whether a directory is to be read again."""
    if now - folder.read >= max(ANYWAY_S, folder.took_s / MAX_SHARE):
        return True
    if now - folder.read < folder.took_s / MAX_SHARE - folder.took_s:
        return False
    return folder.read < folder.moved + COARSE_S


def _says(question: Callable[[], bool]) -> bool:
    try:
        return question()
    except OSError:  # a broken link, or gone
        return False


def _shown(path: str) -> str:
    """Return the directory's own name, without its path."""
    name = os.path.basename(path.rstrip("/")) or path  # noqa: PTH119 - a str
    return f"folder {name!a}"
