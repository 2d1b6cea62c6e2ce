"""Which file it is, and which series: its own name, or with a number behind it.

A file keeps its series while its first frame stays; another one under its name is another series.
"""

import hashlib
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from functools import lru_cache, partial
from itertools import count as count_from
from pathlib import Path, PurePath
from typing import Any

from deepfreak.errors import FrameError
from deepfreak.formats.finishing import ReadOptions
from deepfreak.formats.frame import FrameFile
from deepfreak.formats.options import ReadSettings
from deepfreak.text import spelled

Known = Callable[[str], int]
ContextOf = Callable[[str], bytes | None]

_DIGEST_BYTES = 16
_MAX_CONTEXT_BYTES = 1 << 16
_NONE = type(None)
UNREAD = ""  # the digest of what could not be read
UNREADABLE = "unreadable"  # before the digest of the bytes of what could not be read as frames


@dataclass(frozen=True, slots=True, kw_only=True)
class FileIdentity:
    """A file as it was when its first frame was published."""

    path: str  # absolute
    # inode, size, mtime_ns: while these stay, so does the file
    inode: int
    size: int
    mtime_ns: int
    # of its first frame, hexadecimal; `UNREAD` or beginning with `UNREADABLE` where none was read.
    # So a file that was touched or has grown stays the same
    digest: str

    def is_unchanged(self, state: os.stat_result) -> bool:
        """Return whether the file cannot have been written or replaced since."""
        now = state.st_ino, state.st_size, state.st_mtime_ns
        return (self.inode, self.size, self.mtime_ns) == now

    def is_same(self, other: "FileIdentity | None") -> bool:
        """Return whether this is the same file as `other`, as far as can be told."""
        if other is None:
            return False
        mine = self.inode, self.size, self.mtime_ns
        if mine == (other.inode, other.size, other.mtime_ns):
            return True
        return self.digest == other.digest != UNREAD


@dataclass(frozen=True, slots=True, kw_only=True)
class FileContext:
    """What a decoder needs to read the frames of a file."""

    identity: FileIdentity
    frames: int | None  # how many the file has, None where it may grow
    # what the user gave beside the files
    reading: ReadSettings = field(default_factory=ReadSettings)
    unreadable: str | None = None  # why no frame of it can be read, None where one may

    def pack(self) -> bytes:
        """Return it as JSON, `unpack` backwards."""
        return json.dumps(asdict(self), default=os.fspath).encode("ascii")


def unpack(context: bytes) -> FileContext:
    """Return the context that `FileContext.pack` made bytes of; `FrameError` if that did not."""
    wrong = FrameError(
        "expected the context of a file, found something else: was the ledger written by another "
        "version?"
    )
    if len(context) > _MAX_CONTEXT_BYTES:
        raise wrong
    try:
        table = json.loads(context)
        of_file = table["identity"]
        return FileContext(
            identity=FileIdentity(
                **{name: _of_kind(of_file[name], str) for name in ("path", "digest")},
                **{name: _of_kind(of_file[name], int) for name in ("inode", "size", "mtime_ns")},
            ),
            frames=_of_kind(table["frames"], int, _NONE),
            reading=_settings(table["reading"]),
            unreadable=_of_kind(table.get("unreadable"), str, _NONE),
        )
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise wrong from error


def digest_of_bytes(path: str) -> str:
    """Return the digest of a file's bytes; `OSError` where it cannot be read."""
    # a pipe that has taken the file's place must not block
    with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:  # noqa: PTH123
        return hashlib.file_digest(
            file, partial(hashlib.blake2b, digest_size=_DIGEST_BYTES)
        ).hexdigest()


def digest_of_first_frame(file: FrameFile) -> str:
    """Return the digest of the first frame's counts, `UNREAD` where it cannot be read."""
    try:
        counts = file.read(0).counts
    except FrameError:
        return UNREAD
    digest = hashlib.blake2b(
        repr((counts.shape, counts.dtype.str)).encode(), digest_size=_DIGEST_BYTES
    )
    digest.update(counts.tobytes())
    return digest.hexdigest()


@lru_cache(maxsize=2)
def options_of(settings: ReadSettings) -> ReadOptions:
    """Return what `settings` stand for; mask, geometry and dark are read once."""
    return settings.load()


def _settings(table: Any) -> ReadSettings:  # noqa: ANN401 - checked here
    paths = {name: _of_kind(table[name], str, _NONE) for name in ("mask", "geometry", "dark")}
    return ReadSettings(
        channel=_of_kind(table["channel"], str, _NONE),
        gain=_of_kind(table["gain"], float, int, _NONE),
        pedestal=_of_kind(table["pedestal"], float, int, _NONE),
        **{name: None if path is None else Path(path) for name, path in paths.items()},
    )


def _of_kind(value: Any, *kinds: type) -> Any:  # noqa: ANN401 - checked here
    if not isinstance(value, kinds) or isinstance(value, bool):
        raise TypeError("a value of another kind")
    return value


@dataclass(frozen=True, slots=True)
class PublishedFile:
    """What was published of a series: which file it is, its frames, all of them if `whole`."""

    series: str
    identity: FileIdentity | None
    frames: int
    whole: bool = False


class SeriesNames:
    """The series of files, those of earlier runs included.

    How many frames of a series are recorded is `known`, its context None where there is none.
    """

    def __init__(self, known: Known, context_of: ContextOf) -> None:
        self._known, self._context_of = known, context_of
        self._given: dict[str, PublishedFile] = {}

    def is_known(self, label: str) -> bool:
        """Return whether anything was ever published under the name `label`."""
        return self._past(label) is not None

    def recall(self, label: str, state: os.stat_result) -> PublishedFile | None:
        """Return what was published of the file called `label`, if it is untouched since.

        Without contexts of earlier runs, a file is taken for the one that had its name then.
        """
        for series in _numbered(label):
            past = self._past(series)
            if past is None:
                return None
            if past.identity is None or past.identity.is_unchanged(state):
                return past
        return None

    def assign(self, label: str, identity: FileIdentity) -> PublishedFile:
        """Return which series a file is, and what of it was published before."""
        for series in _numbered(label):
            past = self._past(series)
            if past is None:
                return PublishedFile(series, identity, 0)
            if past.identity is None or identity.is_same(past.identity):
                return past
        raise AssertionError  # there is no end of numbers

    def give(self, series: str, identity: FileIdentity, frames: int, *, whole: bool) -> None:
        """Note how many frames of a series were published."""
        self._given[series] = PublishedFile(series, identity, frames, whole)

    def _past(self, series: str) -> PublishedFile | None:
        """Return what was published of `series`, None if it is new."""
        given = self._given.get(series)
        if given is not None:
            return given
        frames, context = self._known(series), self._context_of(series)
        if context is None:
            return PublishedFile(series, None, frames) if frames else None
        try:
            found = unpack(context)
        except FrameError:
            return PublishedFile(series, None, frames)
        return PublishedFile(
            series, found.identity, frames, found.frames is not None and frames >= found.frames
        )


def label_of(path: str, root: str, prefix: str) -> str:
    """Return the name of the file `path` below the watched directory `root`, made printable."""
    inside = path[len(root) :].lstrip("/")
    return spelled(f"{prefix}/{inside}" if prefix else inside)


def prefixes(roots: list[str]) -> list[str]:
    """Return what tells files of several watched directories apart: enough of each path."""
    if len(roots) == 1:
        return [""]
    return [_shortest_end(root, roots) for root in roots]


def _shortest_end(root: str, roots: list[str]) -> str:
    """Return the last parts of `root` by which it differs from all other `roots`."""
    parts = PurePath(root).parts
    for depth in range(1, len(parts)):
        end = parts[-depth:]
        if sum(PurePath(other).parts[-depth:] == end for other in roots) == 1:
            return "/".join(end)
    return root.strip("/")


def _numbered(label: str) -> Iterator[str]:
    yield label
    for number in count_from(2):
        yield f"{label} ({number})"
