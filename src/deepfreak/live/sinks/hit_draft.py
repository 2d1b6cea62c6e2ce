"""The draft of one file of hits: append-only until it is written as a whole."""

from contextlib import ExitStack, suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from deepfreak.errors import InputError, OutputError
from deepfreak.live.sinks.hit_record import (
    Chunks,
    HitRecord,
    Setup,
    record_of,
    stored_image,
    stored_mask,
    unpack,
)
from deepfreak.storage.draft import open_draft
from deepfreak.storage.files import reason_of, whole_hdf5
from deepfreak.storage.log import settings_of
from deepfreak.storage.manifest import Format

if TYPE_CHECKING:
    from deepfreak.formats.frame import Frame, Valid
    from deepfreak.live.events import Hit

DRAFT = Format("hit file draft", 1)


class HitDraft:
    """Hits that are to make the file `out`; opened again, those that an earlier process left.

    Attributes
    ----------
    setup
        What its hits have in common.
    records
        Its hits in their order, without image and mask.

    Raises
    ------
    OutputError
        Another process has it, or it cannot be written.
    """

    def __init__(self, out: Path, setup: Setup) -> None:
        self.out = out
        self.setup = setup
        self.records: list[HitRecord] = []
        self._valid: Valid | None = None
        self._mask = b""
        self._one_mask = True
        self._open = ExitStack()
        try:
            self._draft = self._open.enter_context(
                open_draft(out, setup, form=DRAFT, left="the hits before it are safe")
            )
        except OSError as error:
            raise OutputError(f"cannot write {out}: {reason_of(error)}") from error
        for packed in self._draft.records():
            self._note(unpack(packed))

    def add(self, hit: "Hit", frame: "Frame", chunks: Chunks) -> None:
        """Take a hit, which is safe from `kill -9` when this returns.

        Raises
        ------
        OutputError
            It cannot be written; the draft is then as it was.
        """
        valid, mask = self._valid, self._mask
        if valid is None or not np.array_equal(frame.valid, valid):
            valid = frame.valid.copy()
            mask = chunks.compress(stored_mask(valid))
        image = chunks.compress(stored_image(frame, self.setup))
        is_new = mask != self._mask
        record = record_of(hit, frame, image=image, mask=mask if is_new else b"")
        self._draft.append(record.pack())
        self._note(record)
        self._valid = valid

    def write(self) -> None:
        """Write the file; the draft stays until `remove`.

        Raises
        ------
        OutputError
            It cannot be written; its hits are safe in the draft.
        """
        from deepfreak.live.sinks.hit_layout import HitStack

        left = "its hits are safe in the draft beside it"
        with whole_hdf5(self.out, overwrite=False, left=left) as (file, check_disk):
            stack = HitStack(file, self.setup, self.records, one_mask=self._one_mask)
            for index, packed in enumerate(self._draft.records()):
                stack.put(index, unpack(packed))
                check_disk()

    def remove(self) -> None:
        """Close and remove the draft."""
        self._open.close()

    def leave(self) -> None:
        """Close the draft and leave it for the next process."""
        with suppress(_LeftError), self._open:
            raise _LeftError

    def _note(self, record: HitRecord) -> None:
        if record.mask:
            self._one_mask = not self.records
            self._mask = record.mask
        self.records.append(replace(record, image=b"", mask=b""))


class _LeftError(Exception):
    """Tells `open_draft` to leave the draft where it is."""


def setup_in(draft: Path) -> Setup | None:
    """Return the setup that a draft states, None if it was cut off before it had stated it.

    Raises
    ------
    OutputError
        It is no draft of hits.
    """
    try:
        setup = settings_of(draft, form=DRAFT)
    except InputError as error:
        raise OutputError(str(error)) from error
    match setup:
        case None | {"form": "nxmx" | "cxi", "classes": list(), "shape": list()}:
            return setup
    raise OutputError(f"expected a draft of hits in {draft}, found something else; remove it")
