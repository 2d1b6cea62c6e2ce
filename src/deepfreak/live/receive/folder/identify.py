"""What tells a file from another one of the same name, and the context that says so for ever."""

import hashlib
import json
import os
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from deepfreak.errors import FrameError
from deepfreak.formats.files import is_hdf5_name
from deepfreak.formats.frame import FrameFile
from deepfreak.formats.options import ReadOptions, ReadSettings

_DIGEST_BYTES = 16
_MAX_CONTEXT_BYTES = 1 << 16
_NONE = type(None)
UNREAD = ""  # the digest of what could not be read
UNREADABLE = "unreadable"  # before the digest of the bytes of what could not be read as frames


@dataclass(frozen=True, slots=True, kw_only=True)
class FileIdentity:
    """A file as it was when its first frame was given out.

    Attributes
    ----------
    path
        Absolute.
    inode, size, mtime_ns
        While these stay, so does the file.
    digest
        Of its bytes; of an HDF5 file, which may grow, of its first frame. Hexadecimal.
    """

    path: str
    inode: int
    size: int
    mtime_ns: int
    digest: str

    def is_unchanged(self, state: os.stat_result) -> bool:
        """Return whether nobody can have written the file since, nor put another in its place."""
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
    """What a decoder needs to read the frames of a file.

    Attributes
    ----------
    frames
        How many the file has, None where it may grow.
    reading
        What the user gave beside the files.
    unreadable
        Why no frame of it can be read, None where one may.
    """

    identity: FileIdentity
    frames: int | None
    reading: ReadSettings = field(default_factory=ReadSettings)
    unreadable: str | None = None

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
                path=_of_kind(of_file["path"], str),
                inode=_of_kind(of_file["inode"], int),
                size=_of_kind(of_file["size"], int),
                mtime_ns=_of_kind(of_file["mtime_ns"], int),
                digest=_of_kind(of_file["digest"], str),
            ),
            frames=_of_kind(table["frames"], int, _NONE),
            reading=_settings(table["reading"]),
            unreadable=_of_kind(table.get("unreadable"), str, _NONE),
        )
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise wrong from error


def digest_of_bytes(path: str, size: int | None = None) -> str:
    """Return the digest of a file's bytes, or of the first `size` of them.

    Raises
    ------
    OSError
        It cannot be read.
    """
    digest = hashlib.blake2b(digest_size=_DIGEST_BYTES)
    # a pipe that has taken the file's place must not block
    with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:  # noqa: PTH123
        left = os.fstat(file.fileno()).st_size if size is None else size
        while left > 0 and (data := file.read(min(left, 1 << 20))):
            digest.update(data)
            left -= len(data)
    return digest.hexdigest()


def has_only_grown(path: str, past: FileIdentity | None, size: int) -> bool:
    """Return whether the file `path` of `size` bytes is `past` with further bytes behind it.

    Such as a file that was taken for whole while its writer paused. False for HDF5, whose frames
    tell, and for what could not be read as frames.
    """
    if past is None or is_hdf5_name(os.path.basename(path)):  # noqa: PTH119 - a str
        return False
    if size < past.size or past.digest == UNREAD or past.digest.startswith(UNREADABLE):
        return False
    try:
        return digest_of_bytes(path, past.size) == past.digest
    except OSError:
        return False


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
