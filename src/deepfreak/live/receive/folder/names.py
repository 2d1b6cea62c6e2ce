"""Which series a file is: its own name, or with a number behind it if another file had that."""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import count as count_from
from pathlib import PurePath

from deepfreak.errors import FrameError
from deepfreak.live.receive.folder.identify import FileIdentity, has_only_grown, unpack
from deepfreak.text import spelled

Known = Callable[[str], int]
ContextOf = Callable[[str], bytes | None]


@dataclass(frozen=True, slots=True)
class PublishedFile:
    """What was given out of a series: which file it is, its frames, all of them if `whole`."""

    series: str
    identity: FileIdentity | None
    frames: int
    whole: bool = False


class SeriesNames:
    """The series of files, those of earlier runs included.

    Parameters
    ----------
    known, context_of
        How many frames of a series are recorded, and its context, None where there is none.
    """

    def __init__(self, known: Known, context_of: ContextOf) -> None:
        self._known, self._context_of = known, context_of
        self._given: dict[str, PublishedFile] = {}

    def is_known(self, label: str) -> bool:
        """Return whether anything was ever given out under the name `label`."""
        return self._past(label) is not None

    def recall(self, label: str, state: os.stat_result) -> PublishedFile | None:
        """Return what was given out of the file that is called `label`, if it is untouched since.

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
        """Return which series a file is, and what of it was given out before."""
        for series in _numbered(label):
            past = self._past(series)
            if past is None:
                return PublishedFile(series, identity, 0)
            if past.identity is None or identity.is_same(past.identity):
                return past
            if has_only_grown(identity.path, past.identity, identity.size):
                return past
        raise AssertionError  # there is no end of numbers

    def give(self, series: str, identity: FileIdentity, frames: int, *, whole: bool) -> None:
        """Note that so many frames of a series were given out."""
        self._given[series] = PublishedFile(series, identity, frames, whole)

    def _past(self, series: str) -> PublishedFile | None:
        """Return what was given out of `series`, None if it is new."""
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
    """Return the name of the file `path` below the watched folder `root`, made printable."""
    inside = path[len(root) :].lstrip("/")
    return spelled(f"{prefix}/{inside}" if prefix else inside)


def prefixes(roots: list[str]) -> list[str]:
    """Return what tells files of several watched folders apart: enough of each folder's path."""
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
