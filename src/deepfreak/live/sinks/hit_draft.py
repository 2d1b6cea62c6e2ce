"""The draft of one file of hits: a log of records until it is written as a whole."""

from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from deepfreak.live.sinks.hit_record import (
    FileSetup,
    HitRecord,
    record_of,
    stored_image,
    stored_mask,
    unpack,
)
from deepfreak.storage.chunks import compress
from deepfreak.storage.draft import draft_path
from deepfreak.storage.files import whole_hdf5
from deepfreak.storage.log import open_log
from deepfreak.storage.manifest import Format

if TYPE_CHECKING:
    from deepfreak.formats.frame import Frame, Valid
    from deepfreak.live.messages import Hit

FORMAT = Format("draft of hits", 1)
_SYNC_S = 1.0


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

    def __init__(self, out: Path, setup: FileSetup) -> None:
        self.out, self.setup = out, setup
        self.records: list[HitRecord] = []
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

        Raises
        ------
        OutputError
            It cannot be written; the draft is then as it was.
        """
        valid, mask = self._valid, self._mask
        if valid is None or not np.array_equal(frame.valid, valid):
            valid = frame.valid.copy()
            mask = compress(stored_mask(valid))
        image = compress(stored_image(frame, self.setup))
        is_new = mask != self._mask
        record = record_of(hit, frame, image=image, mask=mask if is_new else b"")
        self._log.append(record.pack())
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
