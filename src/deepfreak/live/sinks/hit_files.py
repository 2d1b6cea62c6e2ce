"""Copies of frames to keep, or of unsure ones, with their peaks, as HDF5 files.

A folder of hits holds::

    hits-00001.h5 or .cxi, ...   whole files, each renamed when it is whole (`hit_layout`)
    .hits-00007.h5.draft         hits that are to make the next one
    hits.jsonl                   which frame lies where (`hit_index`)

Whatever ends the process leaves whole files, at most one draft, and an index that may lack the last
file. At the next start the draft is gone on with, and the index completed.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from deepfreak.errors import InputError, OutputError
from deepfreak.live.events import Decision, Hit
from deepfreak.live.sinks.crystfel_list import Copy
from deepfreak.live.sinks.hit_draft import HitDraft, setup_in
from deepfreak.live.sinks.hit_index import HitIndex
from deepfreak.live.sinks.hit_layout import SUFFIXES, members
from deepfreak.live.sinks.hit_record import Chunks, Setup, setup_of, spelled
from deepfreak.storage.files import read_hdf5, reason_of

_FILE = re.compile(r"hits-(\d{5,})\.(h5|cxi)")
_DRAFT = re.compile(r"\.(hits-(\d{5,})\.(h5|cxi))\.draft")


class HitFiles:
    """A `HitSink` that copies frames into files of one folder, which is made if there is none.

    A file's frames have shape, type and detector in common; a frame of another kind begins
    another file. A frame that comes again is not taken again, whichever process took it.

    Parameters
    ----------
    form
        "nxmx" or "cxi".
    decision
        The one whose frames are copied; others are passed over.
    frames_per_file
        A file with fewer is made by `close` and by a frame of another kind only.
    classes
        Of the probabilities, in their order.

    Raises
    ------
    InputError
        `form` or `frames_per_file` makes no sense.
    OutputError
        The folder cannot be written, another process writes it, or what it holds is not ours.
    """

    def __init__(
        self,
        folder: Path,
        *,
        form: Literal["nxmx", "cxi"],
        decision: Decision = "keep",
        frames_per_file: int = 100,
        classes: tuple[str, ...],
    ) -> None:
        if form not in SUFFIXES or frames_per_file < 1:
            raise InputError(
                "expected hits in the form nxmx or cxi, and at least 1 frame a file, found "
                f"{form!s:.40} and {frames_per_file}"
            )
        self._folder = folder
        self._form: str = form
        self._decision = decision
        self._frames_per_file = frames_per_file
        self._classes = classes
        self._chunks = Chunks()
        self._draft: HitDraft | None = None
        try:
            folder.mkdir(exist_ok=True)
        except OSError as error:
            raise OutputError(f"cannot make the folder {folder}: {reason_of(error)}") from error
        self._index = HitIndex(folder)
        try:
            self._complete_index()
            self._last_number = self._highest_number()
            self._go_on()
        except BaseException:
            self._let_go()
            raise

    def keep(self, hit: Hit) -> None:
        """Copy a frame of the folder's decision; it is safe from `kill -9` when this returns.

        Raises
        ------
        OutputError
            It cannot be written, or the file that it completes cannot; in the second case the frame
            is safe, and the file is tried again with the next one.
        FrameError
            The frame cannot be decoded, or is no image.
        """
        if hit.outcome.decision != self._decision:
            return
        series, number = spelled(hit.outcome.series), hit.outcome.number
        if self._index.place(series, number) is not None:
            return
        frame = hit.frame()
        setup = setup_of(frame, form=self._form, classes=self._classes)
        draft = self._draft_for(setup)
        draft.add(hit, frame, self._chunks)
        self._index.remember(draft.out.name, len(draft.records) - 1, series, number)
        if len(draft.records) >= self._frames_per_file:
            self._finish(draft)

    def place(self, series: str, number: int) -> Copy | None:
        """Return where the copy of a frame lies, None if it was not copied.

        A file that is not whole is a draft still.
        """
        place = self._index.place(spelled(series), number)
        if place is None:
            return None
        file, index = place
        return Copy(file, index, file.name in self._index.files)

    def close(self) -> None:
        """Make a file of what is left.

        Raises
        ------
        OutputError
            It cannot be written; its hits are safe, and the next start goes on with them.
        """
        try:
            if self._draft is not None:
                self._finish(self._draft)
        finally:
            self._let_go()

    def _draft_for(self, setup: Setup) -> HitDraft:
        """Return the draft for the next hit, a new one if the last is full or of another kind."""
        draft = self._draft
        if draft is not None:
            is_full = len(draft.records) >= self._frames_per_file
            # its file is there where only the index could not be written
            if draft.setup == setup and not is_full and not draft.out.exists():
                return draft
            self._finish(draft)
        name = f"hits-{self._last_number + 1:05d}{SUFFIXES[setup['form']]}"
        self._draft = HitDraft(self._folder / name, setup)
        self._last_number += 1
        return self._draft

    def _finish(self, draft: HitDraft) -> None:
        """Make the draft's file, put it into the index, and drop the draft, in this order."""
        frames = [(record.series, record.number) for record in draft.records]
        if frames:
            if not draft.out.exists():
                draft.write()
            elif _members(draft.out) != frames:
                raise OutputError(
                    f"expected no file {draft.out}, or the hits of its draft in it, found others: "
                    "move it away"
                )
            self._index.add(draft.out.name, frames)
        draft.remove()
        self._draft = None

    def _complete_index(self) -> None:
        """Add the files to the index that it lacks; remove what killed processes were writing."""
        for path in sorted(self._folder.iterdir()):
            if re.fullmatch(r"\.hits-\d+\.(h5|cxi)\.\d+\.partial", path.name):
                path.unlink(missing_ok=True)
            elif _FILE.fullmatch(path.name) and path.name not in self._index.files:
                self._index.add(path.name, _members(path) or [])

    def _go_on(self) -> None:
        """Open what earlier processes left; only one draft stays open."""
        drafts = (path for path in self._folder.iterdir() if _DRAFT.fullmatch(path.name))
        for path in sorted(drafts, key=_number):
            setup = setup_in(path)
            if setup is None:
                path.unlink()
                continue
            if self._draft is not None:
                self._finish(self._draft)
            self._draft = draft = HitDraft(self._folder / path.name[1 : -len(".draft")], setup)
            for index, record in enumerate(draft.records):
                self._index.remember(draft.out.name, index, record.series, record.number)
            if draft.out.exists() or len(draft.records) >= self._frames_per_file:
                self._finish(draft)

    def _highest_number(self) -> int:
        """Return the highest number that a file has or had, 0 if there is none."""
        names = [*self._index.files, *self._names()]
        return max((int(found[1]) for found in map(_FILE.fullmatch, names) if found), default=0)

    def _names(self) -> Iterator[str]:
        for path in self._folder.iterdir():
            draft = _DRAFT.fullmatch(path.name)
            yield draft[1] if draft else path.name

    def _let_go(self) -> None:
        if self._draft is not None:
            self._draft.leave()
            self._draft = None
        self._chunks.close()
        self._index.close()


def _number(draft: Path) -> int:
    found = _DRAFT.fullmatch(draft.name)
    return int(found[2]) if found else 0


def _members(path: Path) -> list[tuple[str, int]] | None:
    """Return series and number of each hit of a file, None where it is none of ours."""
    try:
        with read_hdf5(path) as file:
            return members(file)
    except (OSError, RuntimeError, KeyError, ValueError):
        return None
