"""A file of which frames may still come, and when to look at it next."""

import os
import re
from dataclasses import dataclass, field

from deepfreak.formats.files import is_hdf5_name
from deepfreak.live.receive.folder.identify import FileIdentity
from deepfreak.live.receive.folder.look import Inspection

_DATA_FILE = re.compile(r"_data_\d+\.\w+$")  # EIGER's, to which a master links
_SLOWEST_LOOKS_S = 20.0
_FASTEST_STATES_S, _SLOWEST_STATES_S = 0.05, 2.0
_SHARE_OF_QUIET = 0.05  # what has been quiet for long is asked for less often

Stamp = tuple[tuple[int, int, int] | None, ...]


@dataclass(slots=True, kw_only=True, eq=False)
class PendingFile:
    """What is known of one file; times are those of the monotonic clock.

    Attributes
    ----------
    path, root, label
        Where it is, the watched folder, and the name of its series if no other file had that.
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
        Whether they were sought since the last look.
    seen
        When so many of its frames could first be read; those of before `settle_s` are safe.
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
        """Start anew: another file has taken its place."""
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
