"""What of a file can be read now, and which file it is: found in processes with limits.

Several inspect at a time, so that no file holds up others: whatever a file does to its reader, the
program that watches a directory continues.
"""

import os
import threading
from collections.abc import Callable, Hashable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import Any

from deepfreak.errors import InputError
from deepfreak.formats.files import is_hdf5_name, open_frames
from deepfreak.formats.frame import Extent, FrameFile
from deepfreak.formats.guarded import MODULES, limits_for
from deepfreak.formats.hdf5.links import writing_of
from deepfreak.formats.options import ReadSettings
from deepfreak.isolation import LimitedProcess, Limits
from deepfreak.live.receive.folder.identify import (
    UNREAD,
    UNREADABLE,
    FileIdentity,
    digest_of_bytes,
    digest_of_first_frame,
    options_of,
)

PROCESSES = 3  # started when they are needed: a further one when files keep the others busy
_PROMPT_S = 0.05  # most answers come sooner


@dataclass(frozen=True, slots=True, kw_only=True)
class Inspection:
    """The result of inspecting a file.

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
    """Return the inspection with the fields that `inspect_in_process` returned."""
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
        Whether to find out which file it is, for which its first frame is read.
    old
        It was not written for long: that it can be opened is enough.
    """
    hdf5 = is_hdf5_name(os.path.basename(path))  # noqa: PTH119 - paths are str, and many
    try:
        before = state_of(path)
        with open_frames(path, growing=True, **options_of(reading)) as file:
            # a file of one frame is whole if that can be read, which its digest needs anyway
            digest = digest_of_first_frame(file) if identify and file.count else UNREAD
            is_read = not hdf5 and (old or (file.count == 1 and digest != UNREAD))
            if old and not hdf5 and digest == UNREAD:
                digest = f"{UNREADABLE} {digest_of_bytes(path)}"
            extent = _whole(file.count) if is_read else _extent(file)
            identity = identity_of(path, before, digest) if identify else None
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


class InspectionPool:
    """Processes that inspect files for one thread, which asks again for late answers."""

    def __init__(
        self, count: int = PROCESSES, limits_of: Callable[[str], Limits] = limits_for
    ) -> None:
        self._limits_of = limits_of
        modules = [*MODULES, "deepfreak.live.receive.folder.inspect"]
        self._idle = [LimitedProcess(modules=modules) for _ in range(count)]
        self._busy: dict[Hashable, tuple[LimitedProcess, Future[Any]]] = {}
        self._threads = ThreadPoolExecutor(count, thread_name_prefix="deepfreak look")

    @property
    def waiting(self) -> bool:
        """Whether answers are still to come."""
        return bool(self._busy)

    def ask(
        self,
        key: Hashable,
        function: Callable[..., Any],
        path: str,
        *,
        patient: bool = False,
        **kwargs: object,
    ) -> list[Any]:
        """Return a list of what `function(path, **kwargs)` gives in a process; empty while none.

        Parameters
        ----------
        key
            Tells questions apart; who asks the same again gets the answer once.
        patient
            Whether to wait as long as it takes, which the limits bound.

        Raises
        ------
        ReadingStoppedError
            A limit has ended it.
        """
        if key in self._busy:
            timeout = None if patient else 0.0
        else:
            process = self._free_process(patient=patient)
            if process is None:
                return []
            future = self._threads.submit(
                process.call, function, path, limits=self._limits_of(path), **kwargs
            )
            self._busy[key] = process, future
            timeout = None if patient else _PROMPT_S
        process, future = self._busy[key]
        if not wait([future], timeout).done:
            return []
        del self._busy[key]
        self._idle.append(process)
        return [future.result()]

    def stop(self) -> None:
        """Stop what still runs."""
        for process, future in list(self._busy.values()):
            if not future.done():
                process.close()
        for key, (process, future) in list(self._busy.items()):
            wait([future])
            del self._busy[key]
            self._idle.append(process)

    def _free_process(self, *, patient: bool) -> LimitedProcess | None:
        while not self._idle:
            # an answer that was not fetched is of a file that has changed or gone
            for key, (process, future) in list(self._busy.items()):
                if future.done():
                    del self._busy[key]
                    self._idle.append(process)
            if self._idle or not patient:
                break
            wait([future for _, future in self._busy.values()], return_when=FIRST_COMPLETED)
        return self._idle.pop() if self._idle else None


@lru_cache(maxsize=8)
def _pool(_thread: int) -> InspectionPool:
    return InspectionPool()


def inspection_pool() -> InspectionPool:
    """Return the processes that inspect for this thread; they stay for the next source."""
    return _pool(threading.get_ident())
