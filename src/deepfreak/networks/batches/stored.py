"""Images of data sets: on the device if they fit, else read batch by batch."""

import hashlib
import json
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from deepfreak.classes import groups
from deepfreak.datasets import Dataset
from deepfreak.datasets.verifying import identity
from deepfreak.errors import DatasetError
from deepfreak.networks.batches.batch import VOLUME, Batch, on_device, shuffled, steps_of
from deepfreak.networks.processes import Processes

IMAGES_AT_ONCE = 256
# Beside the images a GPU must hold the network, its gradients and its maps.
PART_FOR_IMAGES = 0.5


class StoredImages:
    """Images of `data`, and `also` of further data sets of which only the group is used.

    An epoch shows all of them in one order. Labels of the further images are groups, see `Targets`,
    and no volume is learned from them.

    Parameters
    ----------
    resident
        Whether all images are copied to the device now; None means if it is a GPU with room.

    Raises
    ------
    DatasetError
        Images are not square, further ones have another size, or classes that are neither with nor
        without diffraction.
    """

    def __init__(
        self,
        data: Dataset,
        processes: Processes,
        *,
        also: Sequence[Dataset] = (),
        resident: bool | None = None,
    ) -> None:
        self.classes, self.side = tuple(data.classes), _side(data)
        for further in also:
            if (side := _side(further)) != self.side:
                raise DatasetError(
                    f"expected further images of {self.side} x {self.side}, found {side} x {side} "
                    f"in {further.path}: prepare them alike"
                )
        self._processes = processes
        self._data = data
        self._parts = [_Part(each, processes.device, resident) for each in (data, *also)]
        for part in self._parts[1:]:
            group_of = torch.from_numpy(groups(part.data.classes)).to(processes.device)
            part.labels = len(self.classes) + group_of[part.labels]
            part.volumes = torch.zeros_like(part.volumes)
        # where the images of each part begin in the common count, and where the last end
        self._begins = np.cumsum([0, *(len(part.data) for part in self._parts)])

    def __len__(self) -> int:
        return int(self._begins[-1])

    def steps(self, batch: int) -> int:
        """Return the steps of an epoch; the last may be smaller, but all processes take part."""
        return steps_of(len(self), batch, self._processes)

    def batches(self, *, batch: int, seed: int, first: int) -> Iterator[Batch]:
        """Yield the batches of step `first`, `first` + 1, ... over all epochs, without end.

        Each epoch shows every image once, in an order that `seed` and the epoch decide. Of each
        batch this process gets its share; at the end of an epoch fewer images than there are
        processes may be left out.
        """
        for chosen in shuffled(len(self), batch, self._processes, seed=seed, first=first):
            yield self._take(chosen)

    def in_order(self, batch: int) -> Iterator[Batch]:
        """Yield this process's share of all images once, `batch` at a time."""
        mine = np.arange(self._processes.rank, len(self), self._processes.count)
        for first in range(0, len(mine), batch):
            yield self._take(mine[first : first + batch])

    def mean(self) -> NDArray[np.float64]:
        """Return the mean of each pixel (side, side), 0 to 255, over all images."""
        total = torch.zeros((self.side, self.side), dtype=torch.int64)
        for part in self._parts:
            for first in range(0, len(part.data), IMAGES_AT_ONCE):
                total += part.slice(first).sum(0, dtype=torch.int64).cpu()
        mean: NDArray[np.float64] = total.numpy() / len(self)
        return mean

    def check_classes(self) -> None:
        """Raise `DatasetError` if a class has no image; further images may lack a group."""
        counts = np.bincount(self._data.labels, minlength=len(self.classes))
        lacking = [name for name, n in zip(self.classes, counts, strict=True) if n == 0]
        if lacking:
            raise DatasetError(
                f"expected images of each class to train on, found none of {', '.join(lacking)} "
                f"in {self._data.path}: generate more images or use another split"
            )

    def check_volumes(self) -> None:
        """Raise `DatasetError` if it is not known how much crystal an image shows."""
        if self._parts[0].volumes.isnan().any():
            raise DatasetError(
                f"expected the truth {VOLUME} to learn, found none in {self._data.path}: use "
                "simulated images, or a configuration with volume_weight=0"
            )

    def describe(self) -> dict[str, Any]:
        """Return what tells these images from others, as JSON values."""
        first, *further = [_describe(part.data) for part in self._parts]
        return {**first, "also": further} if further else first

    def _take(self, chosen: NDArray[np.intp]) -> Batch:
        """Return the images of these indices, those of the same data set side by side."""
        taken = []
        for part, begin, end in zip(self._parts, self._begins, self._begins[1:], strict=False):
            inside = chosen[(begin <= chosen) & (chosen < end)] - begin
            if len(inside) or len(self._parts) == 1:
                taken.append(part.take(inside))
        if len(taken) == 1:
            return taken[0]
        valid = None
        if any(part.valid is not None for part in taken):
            known = (
                torch.ones_like(part.images, dtype=torch.bool) if part.valid is None else part.valid
                for part in taken
            )
            valid = torch.cat(list(known))
        return Batch(
            torch.cat([part.images for part in taken]),
            torch.cat([part.labels for part in taken]),
            torch.cat([part.volumes for part in taken]),
            valid,
        )


class _Part:
    """The images of one data set."""

    def __init__(self, data: Dataset, device: torch.device, resident: bool | None) -> None:
        self.data, self._device = data, device
        self.labels = torch.from_numpy(np.asarray(data.labels, np.int64)).to(device)
        volumes = data.truth.get(VOLUME, np.full(len(data), np.nan))
        self.volumes = torch.from_numpy(volumes.astype(np.float32)).to(device)
        shape = tuple(data.images.shape)
        self._resident: Tensor | None = None
        if _fits(int(np.prod(shape)), device) if resident is None else resident:
            copied = torch.empty(shape, dtype=torch.uint8, device=device)
            for first in range(0, len(data), IMAGES_AT_ONCE):
                copied[first : first + IMAGES_AT_ONCE] = self.slice(first)
            self._resident = copied

    def take(self, chosen: NDArray[np.intp]) -> Batch:
        """Return the images of these indices."""
        at = on_device(chosen, self._device)
        if self._resident is not None:
            images = self._resident[at]
        else:
            images = self._stacked(self.data.images, chosen)
        valid = None if self.data.valid is None else self._stacked(self.data.valid, chosen)
        return Batch(images, self.labels[at], self.volumes[at], valid)

    def slice(self, first: int) -> Tensor:
        """Return `IMAGES_AT_ONCE` images from `first` on, where they are."""
        if self._resident is not None:
            return self._resident[first : first + IMAGES_AT_ONCE]
        # a copy, for torch takes no memory that it may not write to
        return torch.from_numpy(np.array(self.data.images[first : first + IMAGES_AT_ONCE]))

    def _stacked(self, stored: Any, chosen: NDArray[np.intp]) -> Tensor:  # noqa: ANN401 -- as in Dataset
        """Return what a file holds of the images of these indices, read now."""
        read = [stored[int(index)] for index in chosen]
        images = np.stack(read) if read else np.empty((0, *stored.shape[1:]), stored.dtype)
        return on_device(images, self._device)


def _side(data: Dataset) -> int:
    slow, fast = data.images.shape[1:]
    if slow != fast:
        raise DatasetError(
            f"expected square images, found {slow} x {fast} in {data.path}: "
            "`deepfreak data prepare` makes square ones"
        )
    return int(slow)


def _describe(data: Dataset) -> dict[str, Any]:
    manifest = json.dumps(data.manifest, sort_keys=True).encode()
    return {
        "count": len(data),
        "data_set": identity(data.manifest),
        "manifest_sha256": hashlib.sha256(manifest).hexdigest(),
        "labels_sha256": hashlib.sha256(data.labels.tobytes()).hexdigest(),
    }


def _fits(needed_bytes: int, device: torch.device) -> bool:
    """Return whether images belong on `device`; main memory has them already, or on disk."""
    if device.type != "cuda":
        return False
    free_bytes, _ = torch.cuda.mem_get_info(device)
    return bool(needed_bytes < PART_FOR_IMAGES * free_bytes)
