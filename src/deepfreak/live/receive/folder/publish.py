"""Which frames of a file can be published now, and when to look at it next."""

import os
import re
import stat
import time
from collections.abc import Iterator
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
    """What is known of one file; times are those of the monotonic clock.

    Attributes
    ----------
    path, root, label
        Where it is, the watched directory, and the name of its series if no other file had that.
    real
        The path without links, of HDF5 files only.
    found, changed
        When it was found, and when it was last seen to change.
    stamp
        Inode, size and time of change of it and of the files to which it links.
    look_due, state_due
        When to look into it again, and when to ask for its state.
    links, links_of
        The files with its images, if these are not in it, and in which state it linked to them.
    links_known
        Whether they were searched for since the last inspection.
    seen
        When how many of its frames could first be read; those older than `settle_s` are safe.
    series, identity, given
        What was given out, None and 0 before.
    last, size
        What the last look has found, and in how many bytes.
    skipped
        Whether it is a master whose images were given out from their own files.
    over
        Whether there is nothing more to do.
    """

    path: str
    root: str
    label: str
    real: str
    found: float
    changed: float
    stamp: Stamp = ()
    look_due: float = 0.0
    state_due: float = 0.0
    delay_s: float = 0.0
    links: frozenset[str] = frozenset()
    links_of: tuple[int, int, int] | None = None
    links_known: bool = False
    seen: list[tuple[float, int]] = field(default_factory=list)
    series: str | None = None
    identity: FileIdentity | None = None
    given: int = 0
    last: Inspection = field(default_factory=Inspection)
    size: int = 0
    skipped: bool = False
    over: bool = False

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
            self.look_due = now if self.is_hdf5 else now + settle_s
            self.delay_s = settle_s
        quiet_s = _SHARE_OF_QUIET * (now - self.changed)
        self.state_due = now + min(max(quiet_s, _FASTEST_STATES_S), _SLOWEST_STATES_S)
        if self.look_due > now:
            self.state_due = min(self.state_due, self.look_due)

    def looked(self, look: Inspection, now: float) -> None:
        """Take note of what a look has found, and look again later, and later each time."""
        self.last, self.size = look, look.size
        self.links_known = False
        if look.extent is not None:
            ready = look.extent.ready
            if not self.seen or self.seen[-1][1] != ready:
                self.seen.append((now, ready))
        self.look_due = now + self.delay_s
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
    return (numbers(state), *(_linked(link) for link in sorted(links)))


def _linked(path: str) -> tuple[int, int, int] | None:
    try:
        return numbers(os.stat(path))  # noqa: PTH116 - paths are str, and many
    except OSError:
        return None


def numbers(state: os.stat_result) -> tuple[int, int, int]:
    """Return what changes when a file is written or replaced."""
    return state.st_ino, state.st_size, state.st_mtime_ns


class FilePublisher:
    """Gives out the frames of candidates; the parameters are those of `FolderSource`.

    Parameters
    ----------
    reading
        With absolute paths.
    """

    def __init__(
        self,
        names: SeriesNames,
        looking: InspectionPool,
        *,
        settle_s: float,
        patience_s: float,
        reading: ReadSettings,
    ) -> None:
        self._names, self._looking = names, looking
        self._settle_s, self._patience_s = settle_s, patience_s
        self._reading = reading

    def publish(self, candidate: PendingFile, *, last: bool = False) -> Iterator[Event]:
        """Yield what a candidate has to give now; it is `over` when there will be no more.

        `last` at the end of everything: what cannot be read is published as unreadable then, except
        what a living program has locked.
        """
        if candidate.skipped:
            candidate.over = True
            yield _skipped_master(candidate)
            return
        try:
            state = state_of(candidate.path)
        except (FileNotFoundError, NotADirectoryError):
            yield from self._vanished(candidate)
        except OSError:
            yield from self._refused(candidate, last=last)
        else:
            if not stat.S_ISREG(state.st_mode):
                candidate.over = True
                return
            now = time.monotonic()
            stamp = stamp_of(state, candidate.links)
            candidate.note(stamp, now, settle_s=self._settle_s)
            old = not candidate.is_hdf5 and time.time() - state.st_mtime > OLD_S
            due = now >= candidate.look_due and not self._waits_for_master(candidate, now)
            if due or old or last:
                yield from self._inspect(candidate, state, old=old, last=last)
        if last and not candidate.over:
            yield from self._close_series(candidate)

    def _waits_for_master(self, candidate: PendingFile, now: float) -> bool:
        return (
            candidate.is_data_file
            and candidate.series is None
            and now - candidate.found < self._patience_s
            and not self._names.is_known(candidate.label)
        )

    def _inspect(
        self, candidate: PendingFile, state: os.stat_result, *, old: bool, last: bool
    ) -> Iterator[Event]:
        known = candidate.identity
        # whether it still is the same file costs reading a frame of it
        identify = not candidate.is_hdf5 or known is None or not _has_grown(known, state, candidate)
        look = self._inspection(candidate, state, identify=identify, old=old, last=last)
        if look is None:
            candidate.state_due = time.monotonic()
            return
        candidate.looked(look, time.monotonic())
        quiet_s = time.monotonic() - candidate.changed
        if look.stopped and (last or quiet_s >= self._settle_s):
            yield from self._publish_unreadable(candidate)
            return
        if look.extent is None:
            if not look.locked and (last or quiet_s >= self._patience_s):
                yield from self._publish_unreadable(candidate)
            return
        if look.identity is not None:
            if candidate.series is not None and _is_other(look.identity, known):
                yield SeriesEnded(series=candidate.series)
                candidate.forget()
            candidate.identity = look.identity
        if candidate.identity is not None:
            patience_s = 0.0 if last else self._patience_s
            yield from self._publish(
                candidate,
                candidate.identity,
                look.extent,
                quiet=old or last or quiet_s >= self._settle_s,
                stuck=not look.extent.missing_file and quiet_s >= patience_s,
            )

    def _inspection(
        self,
        candidate: PendingFile,
        state: os.stat_result,
        *,
        identify: bool,
        old: bool,
        last: bool,
    ) -> Inspection | None:
        """Return what a look finds, None while it has not ended."""
        # of a file that grows a late answer is still true; of another one that has changed not
        key = (candidate.path, state.st_ino if candidate.is_hdf5 else candidate.stamp)
        try:
            found = self._looking.ask(
                ("look", *key),
                inspect_in_process,
                candidate.path,
                reading=self._reading,
                identify=identify,
                old=old,
                patient=last,
            )
        except ReadingStoppedError as error:
            return Inspection(error=str(error), stopped=True)
        return inspection_from(found[0]) if found else None

    def _publish(
        self,
        candidate: PendingFile,
        identity: FileIdentity,
        extent: Extent,
        *,
        quiet: bool,
        stuck: bool,
    ) -> Iterator[Event]:
        """Give out the frames that are safe to read.

        Parameters
        ----------
        quiet
            Nothing was written for a while.
        stuck
            Nothing was written for so long that nothing will.
        """
        whole = quiet and extent.waiting is None
        ready = extent.ready
        if stuck and extent.waiting is not None and not extent.swmr:
            whole, ready = True, extent.written  # gaps among them are unreadable
        elif not (whole or extent.swmr):
            ready = candidate.safe(time.monotonic(), settle_s=self._settle_s)
        if ready == 0:
            if whole and stuck:
                yield from self._publish_unreadable(candidate)
            return
        expected = extent.expected if not whole else max(extent.expected or 0, ready)
        if candidate.series is None:
            past = self._names.assign(candidate.label, identity)
            candidate.series, candidate.given = past.series, past.frames
            if past.frames >= ready and whole and not candidate.is_hdf5:
                self._names.give(past.series, identity, past.frames, whole=True)
                candidate.over = True
                return
            yield self._began(candidate, identity, expected, frames=ready if whole else None)
        received = time.time()
        for number in range(candidate.given, ready):
            yield Arrival(series=candidate.series, number=number, received=received)
        candidate.given = max(candidate.given, ready)
        self._names.give(candidate.series, identity, candidate.given, whole=whole)
        if whole:
            yield SeriesEnded(series=candidate.series, expected=expected)
            candidate.over = True

    def _publish_unreadable(self, candidate: PendingFile) -> Iterator[Event]:
        """Give out a file that cannot be read, so that this is recorded."""
        candidate.over = True
        if candidate.series is not None:
            yield Trouble(
                message=f"{candidate.series} cannot be read any more after {candidate.given} "
                f"frames: {candidate.last.error}"
            )
            yield SeriesEnded(series=candidate.series)
            return
        try:
            identity = unread_identity(candidate.path)
        except OSError:
            yield from self._vanished(candidate)
            return
        past = self._names.assign(candidate.label, identity)
        candidate.series = past.series
        self._names.give(past.series, identity, max(past.frames, 1), whole=True)
        if past.frames == 0:
            unreadable = candidate.last.error if candidate.last.stopped else None
            yield self._began(candidate, identity, 1, frames=1, unreadable=unreadable)
            yield Arrival(series=past.series, number=0, received=time.time())
            yield SeriesEnded(series=past.series, expected=1)

    def _began(
        self,
        candidate: PendingFile,
        identity: FileIdentity,
        expected: int | None,
        *,
        frames: int | None,
        unreadable: str | None = None,
    ) -> SeriesBegan:
        context = FileContext(
            identity=identity,
            frames=frames,
            reading=self._reading,
            unreadable=unreadable,
        )
        return SeriesBegan(
            series=candidate.series or candidate.label,
            kind="file",
            context=context.pack(),
            expected=expected,
            metadata={"file": candidate.label},
        )

    def _vanished(self, candidate: PendingFile) -> Iterator[Event]:
        if not os.path.isdir(candidate.root):  # noqa: PTH112 - paths are str, and many
            candidate.state_due = time.monotonic() + self._settle_s
            return  # with its folder, which may come back
        candidate.over = True
        if candidate.series is None:
            yield Trouble(message=f"{candidate.label} vanished before it could be read")
        else:
            yield Trouble(
                message=f"{candidate.series} vanished after {candidate.given} of its frames"
            )

    def _refused(self, candidate: PendingFile, *, last: bool) -> Iterator[Event]:
        """Wait for a file that may not be opened, or give it out as unreadable."""
        now = time.monotonic()
        candidate.state_due = now + self._settle_s
        if last or now - candidate.changed >= self._patience_s:
            yield from self._publish_unreadable(candidate)

    def _close_series(self, candidate: PendingFile) -> Iterator[Event]:
        """Say what is left of a candidate at the end of everything."""
        candidate.over = True
        extent, error = candidate.last.extent, candidate.last.error
        if candidate.series is None:
            why = error or (extent.waiting if extent is not None else None) or "it is not there"
            yield Trouble(message=f"{candidate.label} was left unread: {why}")
            return
        expected = None if extent is None else extent.expected
        if extent is not None and extent.waiting:
            yield Trouble(
                message=f"{candidate.series} was left after {candidate.given} frames: "
                f"{extent.waiting}"
            )
        yield SeriesEnded(series=candidate.series, expected=expected)


def _has_grown(known: FileIdentity, state: os.stat_result, candidate: PendingFile) -> bool:
    """Return whether a file can be the one that it was, with no more than further frames."""
    return (
        known.digest != UNREAD
        and known.inode == state.st_ino
        and state.st_size >= candidate.size
        and (candidate.last.extent is None or candidate.last.extent.ready >= candidate.given)
    )


def _is_other(now: FileIdentity, known: FileIdentity | None) -> bool:
    """Return whether another file has taken the place of the one that was `known`."""
    if known is None or UNREAD in {now.digest, known.digest}:
        return known is not None and known.inode != now.inode
    return not now.is_same(known)


def _skipped_master(candidate: PendingFile) -> Trouble:
    return Trouble(
        message=f"{candidate.label} is skipped: the images to which it links are read from their "
        "own files"
    )
