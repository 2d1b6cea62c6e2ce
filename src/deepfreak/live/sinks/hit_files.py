"""Copies of frames to keep, or of unsure ones, with their peaks, as HDF5 files.

A directory of hits holds::

    hits-00001.h5 or .cxi, ...   whole files, each renamed when it is whole (`hit_layout`)
    .hits-00007.h5.draft         hits that are to make the next one

Where a copy lies is in the ledger, with the frame's verdict. Whatever ends the process leaves whole
files and at most one draft; the draft is resumed at the next start. A frame whose copy is safe and
whose verdict is not comes again; it is found among those of the last files.
"""

import re
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from deepfreak.errors import InputError, OutputError
from deepfreak.live.messages import Decision, Hit, HitCopy
from deepfreak.live.sinks.hit_layout import (
    MASK_TYPE,
    MISSING,
    SUFFIXES,
    FileSetup,
    HitRecord,
    HitStack,
    members,
    record_of,
    setup_of,
    spelled,
    unpack,
)
from deepfreak.live.spool import folder_alone
from deepfreak.storage.chunks import compress
from deepfreak.storage.draft import draft_path
from deepfreak.storage.files import read_hdf5, whole_hdf5
from deepfreak.storage.log import open_log, settings_of
from deepfreak.storage.manifest import Format

if TYPE_CHECKING:
    from deepfreak.formats.frame import Frame, Valid

FORMAT = Format("draft of hits", 1)
_SYNC_S = 1.0


class HitDraft:
    """Hits that are to make the file `out`; opened again, those that an earlier process left.

    `setup` is what they have in common. Raises `OutputError` where another process has it.
    """

    def __init__(self, out: Path, setup: FileSetup) -> None:
        self.out, self.setup = out, setup
        self.records: list[HitRecord] = []  # its hits in their order, without image and mask
        self._valid: Valid | None = None
        self._mask = b""
        self._one_mask = True
        self._open = ExitStack()
        opened = open_log(
            draft_path(out),
            setup,
            form=FORMAT,
            cut_damage=True,
            sync_s=_SYNC_S,
            left="the hits before it are safe",
        )
        self._log = self._open.enter_context(opened)
        for packed in self._log.records():
            self._note(unpack(packed))

    def add(self, hit: "Hit", frame: "Frame") -> None:
        """Take a hit, which is safe from `kill -9` when this returns.

        Raises `OutputError` where it cannot be written; the draft is then as it was.
        """
        valid, mask = self._valid, self._mask
        if valid is None or not np.array_equal(frame.valid, valid):
            valid = frame.valid.copy()
            mask = compress(np.where(valid, 0, MISSING).astype(MASK_TYPE))
        image = compress(frame.counts.astype(self.setup["dtype"], copy=False))
        record = record_of(hit, frame, image=image, mask=b"" if mask == self._mask else mask)
        self._log.append(record.pack())
        self._note(record)
        self._valid = valid

    def write(self) -> None:
        """Write the file; the draft stays until `remove`.

        Raises `OutputError` where it cannot be written; its hits are safe in the draft.
        """
        left = "its hits are safe in the draft beside it"
        with whole_hdf5(self.out, overwrite=False, left=left) as (file, check_disk):
            stack = HitStack(file, self.setup, self.records, one_mask=self._one_mask)
            for index, packed in enumerate(self._log.records()):
                stack.put(index, unpack(packed))
                check_disk()

    def remove(self) -> None:
        """Close and remove the draft."""
        self._log.path.unlink()
        self._open.close()

    def close(self) -> None:
        """Close the draft and leave it for the next process."""
        self._open.close()

    def _note(self, record: HitRecord) -> None:
        if record.mask:
            self._one_mask = not self.records
            self._mask = record.mask
        self.records.append(replace(record, image=b"", mask=b""))


_FILE = re.compile(r"hits-(\d{5,})\.(h5|cxi)")
_DRAFT = re.compile(r"\.(hits-(\d{5,})\.(h5|cxi))\.draft")
_PARTIAL = re.compile(r"\.hits-\d+\.(h5|cxi)\.\d+\.partial")


class HitFiles:
    """A `HitSink` that copies frames into files of one directory, which is made if there is none.

    A file's frames have shape, type and detector in common; a frame of another kind begins another
    file. Raises `InputError` where `form` or `frames_per_file` makes no sense; `OutputError` where
    the directory cannot be written, another process writes it, or what it holds is not ours.
    """

    def __init__(
        self,
        directory: Path,
        *,
        form: Literal["nxmx", "cxi"],  # "nxmx" or "cxi"
        decision: Decision = "keep",  # the one whose frames are copied; others are not
        # a file with fewer is made by `close` and by a frame of another kind only
        frames_per_file: int = 100,
        classes: tuple[str, ...],  # of the probabilities, in their order
        last: HitCopy | None = None,  # the last copy in this directory of which the ledger knows
    ) -> None:
        if form not in SUFFIXES or frames_per_file < 1:
            raise InputError(
                "expected hits in the form nxmx or cxi, and at least 1 frame a file, found "
                f"{form!s:.40} and {frames_per_file}"
            )
        self._directory, self._form, self._decision = directory, form, decision
        self._frames_per_file, self._classes = frames_per_file, classes
        # by series and number: copies that may be of frames without a verdict, and those in the
        # draft or in the last file
        self._found: dict[tuple[str, int], HitCopy] = {}
        self._copies: dict[tuple[str, int], HitCopy] = {}
        self._draft: HitDraft | None = None
        with ExitStack() as stack:
            busy = f"another process writes {directory}: stop it or choose another name"
            stack.enter_context(folder_alone(directory, busy=busy))
            stack.callback(self._close_draft)
            for path in directory.iterdir():
                if _PARTIAL.fullmatch(path.name):
                    path.unlink(missing_ok=True)  # a killed process was writing it
            recorded = 0 if last is None else _number(last.file.rpartition("/")[2])
            for name in sorted(self._names(), key=_number):
                if _number(name) >= recorded:
                    self._found |= self._places(name, _members(directory / name) or [])
            self._last_number = max([recorded, *map(_number, self._names())])
            self._resume(last)
            self._open = stack.pop_all()

    def keep(self, hit: Hit) -> HitCopy | None:
        """Copy a frame of the directory's decision; it is safe from `kill -9` when this returns.

        Raises `OutputError` where it cannot be written, or the file that it completes cannot; in
        the second case the frame is safe, and the file is tried again with the next one;
        `FrameError` where the frame cannot be decoded, or is not an image.
        """
        if hit.outcome.decision != self._decision:
            return None
        key = spelled(hit.outcome.series), hit.outcome.number
        copy = self._found.get(key) or self._copies.get(key)
        if copy is None:
            frame = hit.frame()
            draft = self._draft_for(setup_of(frame, form=self._form, classes=self._classes))
            draft.add(hit, frame)
            copy = self._copies[key] = self._copy(draft.out.name, len(draft.records) - 1)
            if len(draft.records) >= self._frames_per_file:
                self._finish(draft)
        return copy

    def close(self) -> None:
        """Make a file of what is left.

        Raises `OutputError` where it cannot be written; its hits are safe, and the next start
        resumes with them.
        """
        with self._open:
            if self._draft is not None:
                self._finish(self._draft)

    def _copy(self, name: str, index: int) -> HitCopy:
        return HitCopy(f"{self._directory.name}/{name}", index)

    def _places(self, name: str, frames: list[tuple[str, int]]) -> dict[tuple[str, int], HitCopy]:
        return {key: self._copy(name, index) for index, key in enumerate(frames)}

    def _draft_for(self, setup: FileSetup) -> HitDraft:
        """Return the draft for the next hit, a new one if the last is full or of another kind."""
        draft = self._draft
        if draft is not None:
            is_full = len(draft.records) >= self._frames_per_file
            if draft.setup == setup and not is_full:
                return draft
            self._finish(draft)
        name = f"hits-{self._last_number + 1:05d}{SUFFIXES[setup['form']]}"
        self._draft = HitDraft(self._directory / name, setup)
        self._last_number += 1
        return self._draft

    def _finish(self, draft: HitDraft) -> None:
        """Make the draft's file, then remove the draft; forget the copies in files before it."""
        frames = [(record.series, record.number) for record in draft.records]
        if frames:
            if not draft.out.exists():
                draft.write()
            elif _members(draft.out) != frames:
                raise OutputError(
                    f"expected no file {draft.out}, or the hits of its draft in it, found others: "
                    "move it away"
                )
            self._copies = self._places(draft.out.name, frames)
        draft.remove()
        self._draft = None

    def _resume(self, last: HitCopy | None) -> None:
        """Open what earlier processes left; only one draft stays open."""
        drafts = filter(None, (_DRAFT.fullmatch(path.name) for path in self._directory.iterdir()))
        for found in sorted(drafts, key=lambda each: int(each[2])):
            path = self._directory / found[0]
            setup = settings_of(path, form=FORMAT)
            if setup is None:
                path.unlink()
                continue
            if self._draft is not None:
                self._finish(self._draft)
            self._draft = draft = HitDraft(self._directory / found[1], setup)
            count = len(draft.records)
            frames = [(each.series, each.number) for each in draft.records]
            self._found |= self._places(found[1], frames)
            # after a power failure it may lack hits that the ledger has
            is_short = last is not None and last == self._copy(found[1], max(last.index, count))
            if draft.out.exists() or count >= self._frames_per_file or is_short:
                self._finish(draft)

    def _names(self) -> Iterator[str]:
        """Yield the names of all files, and of those that are drafts still."""
        for path in self._directory.iterdir():
            draft = _DRAFT.fullmatch(path.name)
            if draft or _FILE.fullmatch(path.name):
                yield draft[1] if draft else path.name

    def _close_draft(self) -> None:
        if self._draft is not None:
            self._draft.close()
            self._draft = None


def _number(name: str) -> int:
    found = _FILE.fullmatch(name)
    return int(found[1]) if found else 0


def _members(path: Path) -> list[tuple[str, int]] | None:
    """Return series and number of each hit of a file, None where it is not ours."""
    try:
        with read_hdf5(path) as file:
            return members(file)
    except (OSError, RuntimeError, KeyError, ValueError):
        return None
