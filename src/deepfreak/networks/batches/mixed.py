"""Images of known class, and further ones of which only the group is known, in one order."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from deepfreak.classes import (
    groups,
)
from deepfreak.datasets import Dataset
from deepfreak.errors import DatasetError
from deepfreak.networks.batches.batch import Batch
from deepfreak.networks.batches.order import shuffled, steps_of
from deepfreak.networks.batches.stored import StoredImages
from deepfreak.networks.processes import Processes


class MixedImages:
    """Images whose class is known, and further ones of which only the group is, in one order.

    Labels of the further images are groups, see `Targets`; no volume is learnt from them.

    Raises
    ------
    DatasetError
        Further images have another size, or classes that are neither with nor without diffraction.
    """

    def __init__(self, stored: StoredImages, also: Sequence[Dataset], processes: Processes) -> None:
        self.classes, self.side = stored.classes, stored.side
        self._stored, self._processes = stored, processes
        self._further = tuple(StoredImages(further, processes) for further in also)
        for further, data in zip(self._further, also, strict=True):
            if further.side != self.side:
                raise DatasetError(
                    f"expected further images of {self.side} x {self.side}, found "
                    f"{further.side} x {further.side} in {data.path}: prepare them alike"
                )
        self._groups = tuple(
            torch.from_numpy(groups(further.classes)).to(processes.device)
            for further in self._further
        )
        # where the images of each part begin in the common count, and where the last end
        self._begins = np.cumsum([0, len(stored), *map(len, self._further)])

    def __len__(self) -> int:
        return int(self._begins[-1])

    def steps(self, batch: int) -> int:
        """Return the steps of an epoch."""
        return steps_of(len(self), batch, self._processes)

    def batches(self, *, batch: int, seed: int, first: int) -> Iterator[Batch]:
        """Yield the batches of step `first`, `first` + 1, ...; see `StoredImages.batches`."""
        for chosen in shuffled(len(self), batch, self._processes, seed=seed, first=first):
            yield self._take(chosen)

    def mean(self) -> NDArray[np.float64]:
        """Return the mean of each pixel (side, side), 0 to 255, over all images."""
        total = torch.stack([part.total() for part in (self._stored, *self._further)]).sum(0)
        mean: NDArray[np.float64] = total.numpy() / len(self)
        return mean

    def check_classes(self) -> None:
        """Refuse images among which a class is missing; further ones may lack a group."""
        self._stored.check_classes()

    def check_volumes(self) -> None:
        """Refuse images of which it is not known how much crystal they show."""
        self._stored.check_volumes()

    def describe(self) -> dict[str, Any]:
        """Return what tells these images from others, as JSON values."""
        further = [part.describe() for part in self._further]
        return {**self._stored.describe(), "also": further}

    def _take(self, chosen: NDArray[np.intp]) -> Batch:
        """Return the images of these indices, those of the same set side by side."""
        taken = []
        ends = zip(self._begins[:-1], self._begins[1:], strict=True)
        for which, (begin, end) in enumerate(ends):
            inside = chosen[(begin <= chosen) & (chosen < end)] - begin
            if not len(inside):
                continue
            part = (self._stored, *self._further)[which].take(inside)
            if which > 0:
                labels = len(self.classes) + self._groups[which - 1][part.labels]
                part = part._replace(labels=labels, volumes=torch.zeros_like(part.volumes))
            taken.append(part)
        return _together(taken)


def _together(parts: Sequence[Batch]) -> Batch:
    """Return batches as one."""
    images, labels, volumes, valid = zip(*parts, strict=True)
    if any(each is not None for each in valid):
        # all that is not said to be missing has measured something
        known = [
            torch.ones_like(part.images, dtype=torch.bool) if part.valid is None else part.valid
            for part in parts
        ]
        return Batch(torch.cat(images), torch.cat(labels), torch.cat(volumes), torch.cat(known))
    return Batch(torch.cat(images), torch.cat(labels), torch.cat(volumes))
