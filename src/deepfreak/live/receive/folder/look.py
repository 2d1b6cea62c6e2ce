"""One look at one file: what of it can be read now, and which file it is."""

import os
from dataclasses import asdict, dataclass
from typing import Any

from deepfreak.errors import InputError
from deepfreak.formats.files import is_hdf5_name, open_frames
from deepfreak.formats.frame import Extent, FrameFile
from deepfreak.formats.hdf5.writing import writing_of
from deepfreak.formats.options import ReadSettings
from deepfreak.live.receive.folder.identify import (
    UNREAD,
    UNREADABLE,
    FileIdentity,
    digest_of_bytes,
    digest_of_first_frame,
    options_of,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Inspection:
    """What a look has found.

    Attributes
    ----------
    extent
        None where the file cannot be read.
    error
        Why it cannot.
    locked
        Whether that is because a living program writes it.
    stopped
        Whether that is because looking had to be stopped: another look would end the same way.
    size
        Of the file, in bytes, when the look began.
    identity
        None where it was not asked for, or has changed meanwhile.
    """

    extent: Extent | None = None
    error: str = ""
    locked: bool = False
    stopped: bool = False
    size: int = 0
    identity: FileIdentity | None = None


def state_of(path: str) -> os.stat_result:
    """Return the state of a file, asked of the server where a network file system has it.

    Raises
    ------
    OSError
        It is not there, or may not be read.
    """
    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)  # a pipe must not block
    try:
        return os.fstat(handle)
    finally:
        os.close(handle)


def inspection_from(found: dict[str, Any]) -> Inspection:
    """Return the look of which `inspect_in_process` gave the fields."""
    extent, identity = found["extent"], found["identity"]
    fields = found | {
        "extent": None if extent is None else Extent(**extent),
        "identity": None if identity is None else FileIdentity(**identity),
    }
    return Inspection(**fields)


def inspect_in_process(
    path: str, *, reading: ReadSettings, identify: bool, old: bool
) -> dict[str, Any]:
    """Return the fields of what `inspect_file` finds, which can leave a process."""
    return asdict(inspect_file(path, reading=reading, identify=identify, old=old))


def inspect_file(path: str, *, reading: ReadSettings, identify: bool, old: bool) -> Inspection:
    """Inspect a file.

    Parameters
    ----------
    reading
        What the user gave beside the files.
    identify
        Whether to find out which file it is, for which its bytes or first frame are read.
    old
        Nobody has written it for long: that it can be opened is enough.
    """
    hdf5 = is_hdf5_name(os.path.basename(path))  # noqa: PTH119 - paths are str, and many
    try:
        before = state_of(path)
        with open_frames(path, growing=True, **options_of(reading)) as file:
            extent = _whole(file.count) if old and not hdf5 else _extent(file)
            identity = None
            if identify:
                digest = digest_of_first_frame(file) if hdf5 else digest_of_bytes(path)
                identity = identity_of(path, before, digest)
        after = state_of(path)
    except (InputError, OSError) as error:
        return Inspection(error=" ".join(str(error).split()), locked=hdf5 and _is_locked(path))
    moved = (before.st_ino, before.st_size, before.st_mtime_ns) != (
        after.st_ino,
        after.st_size,
        after.st_mtime_ns,
    )
    if moved and not hdf5:
        return Inspection(error="it changed while it was read")
    if before.st_ino != after.st_ino:
        identity = None
    return Inspection(extent=extent, identity=identity, size=before.st_size)


def unread_identity(path: str) -> FileIdentity:
    """Return which file it is of one that cannot be read.

    Raises
    ------
    OSError
        It is not there.
    """
    state = os.stat(path)  # noqa: PTH116 - paths are str, and many
    try:
        hdf5 = is_hdf5_name(os.path.basename(path))  # noqa: PTH119
        # what is added to it later makes another file of it
        digest = UNREAD if hdf5 else f"{UNREADABLE} {digest_of_bytes(path)}"
    except OSError:
        digest = UNREAD
    return identity_of(path, state, digest)


def identity_of(path: str, state: os.stat_result, digest: str) -> FileIdentity:
    """Return the identity of a file in this state."""
    return FileIdentity(
        path=path,
        inode=state.st_ino,
        size=state.st_size,
        mtime_ns=state.st_mtime_ns,
        digest=digest,
    )


def _extent(file: FrameFile) -> Extent:
    return _whole(file.count) if file.look is None else file.look()


def _whole(count: int) -> Extent:
    return Extent(ready=count, written=count, expected=count)


def _is_locked(path: str) -> bool:
    try:
        return writing_of(path).locked
    except InputError:
        return False
