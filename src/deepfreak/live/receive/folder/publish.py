"""Which frames of a file can be published now, and when to look at it next."""

import os
import re
import stat
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field

from deepfreak.errors import ReadingStoppedError
from deepfreak.formats.files import is_hdf5_name
from deepfreak.formats.frame import Extent
from deepfreak.formats.options import ReadSettings
from deepfreak.live.messages import Arrival, Event, SeriesBegan, SeriesEnded, Trouble
from deepfreak.live.receive.folder.identify import UNREAD, FileContext, FileIdentity, SeriesNames
from deepfreak.live.receive.folder.inspect import (
    Inspection,
    InspectionPool,
    inspect_in_process,
    inspection_from,
    state_of,
    unread_identity,
)

_DATA_FILE = re.compile(r"_data_\d+\.\w+$")  # EIGER's, to which a master links
_SLOWEST_LOOKS_S = 20.0
_FASTEST_STATES_S, _SLOWEST_STATES_S = 0.05, 2.0
_SHARE_OF_QUIET = 0.05  # what has been quiet for long is asked for less often

Stamp = tuple[tuple[int, int, int] | None, ...]
OLD_S = 3600.0  # beyond any difference between the clocks of two machines


@dataclass(slots=True, kw_only=True, eq=False)
class PendingFile:
    """What is known of one file; times are those of the monotonic clock."""

    # path, root, label: where it is, the watched directory, and the name of its series if no other
    # file had that
    path: str
    root: str
    label: str
    real: str  # the path without links, of HDF5 files only
    # found, changed: when it was found, and when it was last seen to change
    found: float
    changed: float
    stamp: Stamp = ()  # inode, size and time of change of it and of the files to which it links
    # inspection_due, state_due: when to look into it again, and when to ask for its state
    inspection_due: float = 0.0
    state_due: float = 0.0
    delay_s: float = 0.0
    # links, links_of: the files with its images, if these are not in it, and in which state it
    # linked to them
    links: frozenset[str] = frozenset()
    links_of: tuple[int, int, int] | None = None
    links_known: bool = False  # whether they were searched for since the last inspection
    # when how many of its frames could first be read; those older than `settle_s` are safe
    seen: list[tuple[float, int]] = field(default_factory=list)
    # series, identity, given: what was given out, None and 0 before
    series: str | None = None
    identity: FileIdentity | None = None
    given: int = 0
    # last, size: what the last look has found, and in how many bytes
    last: Inspection = field(default_factory=Inspection)
    size: int = 0
    skipped: bool = False  # whether it is a master whose images were given out from their own files
    over: bool = False  # whether there is nothing more to do

    @property
    def name(self) -> str:
        """The file's name without folders."""
        return self.path.rpartition("/")[2]

    @property
    def is_hdf5(self) -> bool:
        """Whether it may grow frame by frame."""
        return is_hdf5_name(self.name)

    @property
    def is_data_file(self) -> bool:
        """Whether its name is that of a file to which a master links."""
        return self.is_hdf5 and _DATA_FILE.search(self.name) is not None

    def note(self, stamp: Stamp, now: float, *, settle_s: float) -> None:
        """Take note of its state."""
        if stamp != self.stamp:
            self.stamp, self.changed = stamp, now
            self.inspection_due = now if self.is_hdf5 else now + settle_s
            self.delay_s = settle_s
        quiet_s = _SHARE_OF_QUIET * (now - self.changed)
        self.state_due = now + min(max(quiet_s, _FASTEST_STATES_S), _SLOWEST_STATES_S)
        if self.inspection_due > now:
            self.state_due = min(self.state_due, self.inspection_due)

    def inspected(self, found: Inspection, now: float) -> None:
        """Take note of an inspection; the next one is due later, and later each time."""
        self.last, self.size = found, found.size
        self.links_known = False
        if found.extent is not None:
            ready = found.extent.ready
            if not self.seen or self.seen[-1][1] != ready:
                self.seen.append((now, ready))
        self.inspection_due = now + self.delay_s
        self.delay_s = min(2 * self.delay_s, _SLOWEST_LOOKS_S)

    def forget(self) -> None:
        """Forget what was published: another file has taken its place."""
        self.series, self.identity, self.given = None, None, 0
        self.seen.clear()

    def safe(self, now: float, *, settle_s: float) -> int:
        """Return how many frames could be read `settle_s` ago and can be read now."""
        if self.last.extent is None:
            return 0
        old = [place for place, (when, _) in enumerate(self.seen) if when <= now - settle_s]
        if not old:
            return 0
        del self.seen[: old[-1]]
        return min(self.seen[0][1], self.last.extent.ready)


def stamp_of(state: os.stat_result, links: frozenset[str]) -> Stamp:
    """Return the stamp of a file in this state; None in it stands for a link's missing file."""
    stamp: list[tuple[int, int, int] | None] = [numbers(state)]
    for link in sorted(links):
        stamp.append(None)
        with suppress(OSError):
            stamp[-1] = numbers(os.stat(link))  # noqa: PTH116 - paths are str, and many
    return tuple(stamp)


def numbers(state: os.stat_result) -> tuple[int, int, int]:
    """Return what changes when a file is written or replaced."""
    return state.st_ino, state.st_size, state.st_mtime_ns


class FilePublisher:
    """Publishes the frames of pending files; the parameters are those of `FolderSource`."""

    def __init__(
        self,
        names: SeriesNames,
        inspections: InspectionPool,
        *,
        settle_s: float,
        patience_s: float,
        reading: ReadSettings,  # with absolute paths
    ) -> None:
        self._names, self._inspections = names, inspections
        self._settle_s, self._patience_s = settle_s, patience_s
        self._reading = reading

    def publish(self, file: PendingFile, *, last: bool = False) -> Iterator[Event]:
        """Yield what can be published of a file now; it is `over` when there will be no more.

        `last` at the end of everything: what cannot be read is published as unreadable then, except
        what a living program has locked.
        """
        if file.skipped:
            file.over = True
            yield Trouble(
                message=f"{file.label} is skipped: the images to which it links are read from "
                "their own files"
            )
            return
        try:
            state = state_of(file.path)
        except (FileNotFoundError, NotADirectoryError):
            yield from self._vanished(file)
        except OSError:  # it may not be opened: wait for it, or publish it as unreadable
            now = time.monotonic()
            file.state_due = now + self._settle_s
            if last or now - file.changed >= self._patience_s:
                yield from self._publish_unreadable(file)
        else:
            if not stat.S_ISREG(state.st_mode):
                file.over = True
                return
            now = time.monotonic()
            stamp = stamp_of(state, file.links)
            file.note(stamp, now, settle_s=self._settle_s)
            old = not file.is_hdf5 and time.time() - state.st_mtime > OLD_S
            due = now >= file.inspection_due and not self._waits_for_master(file, now)
            if due or old or last:
                yield from self._inspect(file, state, old=old, last=last)
        if last and not file.over:
            yield from self._close_series(file)

    def _waits_for_master(self, file: PendingFile, now: float) -> bool:
        return (
            file.is_data_file
            and file.series is None
            and now - file.found < self._patience_s
            and not self._names.is_known(file.label)
        )

    def _inspect(
        self, file: PendingFile, state: os.stat_result, *, old: bool, last: bool
    ) -> Iterator[Event]:
        known = file.identity
        # whether it still is the same file costs reading a frame of it
        identify = not file.is_hdf5 or known is None or not _has_grown(known, state, file)
        inspection = self._inspection(file, state, identify=identify, old=old, last=last)
        if inspection is None:
            file.state_due = time.monotonic()
            return
        file.inspected(inspection, time.monotonic())
        quiet_s = time.monotonic() - file.changed
        if inspection.stopped and (last or quiet_s >= self._settle_s):
            yield from self._publish_unreadable(file)
            return
        if inspection.extent is None:
            if not inspection.locked and (last or quiet_s >= self._patience_s):
                yield from self._publish_unreadable(file)
            return
        if inspection.identity is not None:
            if file.series is not None and _is_other(inspection.identity, known):
                yield SeriesEnded(series=file.series)
                file.forget()
            file.identity = inspection.identity
        if file.identity is not None:
            patience_s = 0.0 if last else self._patience_s
            yield from self._publish(
                file,
                file.identity,
                inspection.extent,
                quiet=old or last or quiet_s >= self._settle_s,
                stuck=not inspection.extent.missing_file and quiet_s >= patience_s,
            )

    def _inspection(
        self, file: PendingFile, state: os.stat_result, *, identify: bool, old: bool, last: bool
    ) -> Inspection | None:
        """Return the inspection of a file, None while it has not ended."""
        # of a file that grows a late answer is still true; of another one that has changed not
        key = (file.path, state.st_ino if file.is_hdf5 else file.stamp)
        try:
            found = self._inspections.ask(
                ("look", *key),
                inspect_in_process,
                file.path,
                reading=self._reading,
                identify=identify,
                old=old,
                patient=last,
            )
        except ReadingStoppedError as error:
            return Inspection(error=str(error), stopped=True)
        return inspection_from(found[0]) if found else None

    def _publish(
        self, file: PendingFile, identity: FileIdentity, extent: Extent, *, quiet: bool, stuck: bool
    ) -> Iterator[Event]:
        """Publish the frames that are safe to read.

        `quiet`: nothing was written for a while; `stuck`: for so long that nothing will be.
        """
        whole = quiet and extent.waiting is None
        ready = extent.ready
        if stuck and extent.waiting is not None and not extent.swmr:
            whole, ready = True, extent.written  # gaps among them are unreadable
        elif not (whole or extent.swmr):
            ready = file.safe(time.monotonic(), settle_s=self._settle_s)
        if ready == 0:
            if whole and stuck:
                yield from self._publish_unreadable(file)
            return
        expected = extent.expected if not whole else max(extent.expected or 0, ready)
        if file.series is None:
            past = self._names.assign(file.label, identity)
            file.series, file.given = past.series, past.frames
            if past.frames >= ready and whole and not file.is_hdf5:
                self._names.give(past.series, identity, past.frames, whole=True)
                file.over = True
                return
            yield self._began(file, identity, expected, frames=ready if whole else None)
        received = time.time()
        for number in range(file.given, ready):
            yield Arrival(series=file.series, number=number, received=received)
        file.given = max(file.given, ready)
        self._names.give(file.series, identity, file.given, whole=whole)
        if whole:
            yield SeriesEnded(series=file.series, expected=expected)
            file.over = True

    def _publish_unreadable(self, file: PendingFile) -> Iterator[Event]:
        """Publish a file that cannot be read, so that this is recorded."""
        file.over = True
        if file.series is not None:
            yield Trouble(
                message=f"{file.series} cannot be read any more after {file.given} "
                f"frames: {file.last.error}"
            )
            yield SeriesEnded(series=file.series)
            return
        try:
            identity = unread_identity(file.path)
        except OSError:
            yield from self._vanished(file)
            return
        past = self._names.assign(file.label, identity)
        file.series = past.series
        self._names.give(past.series, identity, max(past.frames, 1), whole=True)
        if past.frames == 0:
            unreadable = file.last.error if file.last.stopped else None
            yield self._began(file, identity, 1, frames=1, unreadable=unreadable)
            yield Arrival(series=past.series, number=0, received=time.time())
            yield SeriesEnded(series=past.series, expected=1)

    def _began(
        self,
        file: PendingFile,
        identity: FileIdentity,
        expected: int | None,
        *,
        frames: int | None,
        unreadable: str | None = None,
    ) -> SeriesBegan:
        context = FileContext(
            identity=identity, frames=frames, reading=self._reading, unreadable=unreadable
        )
        return SeriesBegan(
            series=file.series or file.label,
            kind="file",
            context=context.pack(),
            expected=expected,
            metadata={"file": file.label},
        )

    def _vanished(self, file: PendingFile) -> Iterator[Event]:
        if not os.path.isdir(file.root):  # noqa: PTH112 - paths are str, and many
            file.state_due = time.monotonic() + self._settle_s
            return  # with its folder, which may come back
        file.over = True
        if file.series is None:
            yield Trouble(message=f"{file.label} vanished before it could be read")
        else:
            yield Trouble(message=f"{file.series} vanished after {file.given} of its frames")

    def _close_series(self, file: PendingFile) -> Iterator[Event]:
        """Report what is left of a file at the end of everything."""
        file.over = True
        extent, error = file.last.extent, file.last.error
        if file.series is None:
            why = error or (extent.waiting if extent is not None else None) or "it is not there"
            yield Trouble(message=f"{file.label} was left unread: {why}")
            return
        expected = None if extent is None else extent.expected
        if extent is not None and extent.waiting:
            yield Trouble(
                message=f"{file.series} was left after {file.given} frames: {extent.waiting}"
            )
        yield SeriesEnded(series=file.series, expected=expected)


def _has_grown(known: FileIdentity, state: os.stat_result, file: PendingFile) -> bool:
    """Return whether a file can be the one that it was, with no more than further frames."""
    return (
        known.digest != UNREAD
        and known.inode == state.st_ino
        and state.st_size >= file.size
        and (file.last.extent is None or file.last.extent.ready >= file.given)
    )


def _is_other(now: FileIdentity, known: FileIdentity | None) -> bool:
    """Return whether another file has taken the place of the one that was `known`."""
    if known is None or UNREAD in {now.digest, known.digest}:
        return known is not None and known.inode != now.inode
    return not now.is_same(known)
