"""Images of a data set: on the device if they fit, else read batch by batch."""

import hashlib
import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from deepfreak.datasets import Dataset
from deepfreak.datasets.identity import identity
from deepfreak.errors import DatasetError
from deepfreak.networks.batches.batch import VOLUME, Batch, on_device
from deepfreak.networks.batches.order import shuffled, steps_of
from deepfreak.networks.processes import Processes

IMAGES_AT_ONCE = 256
# Beside the images a GPU must hold the network, its gradients and its maps.
PART_FOR_IMAGES = 0.5


class StoredImages:
    """Images of a data set: resident on a GPU that has room for them, else read batch by batch.

    Parameters
    ----------
    resident
        Whether all images are copied to the device now; None means if it is a GPU with room.

    Raises
    ------
    DatasetError
        A class has no image, or images are not square.
    """

    def __init__(
        self, data: Dataset, processes: Processes, *, resident: bool | None = None
    ) -> None:
        shape = tuple(data.images.shape)
        if shape[1] != shape[2]:
            raise DatasetError(
                f"expected square images, found {shape[1]} x {shape[2]} in {data.path}: "
                "`deepfreak data prepare` makes square ones"
            )
        self._data, self._processes = data, processes
        self.classes, self.side = tuple(data.classes), int(shape[1])
        self._labels = torch.from_numpy(np.asarray(data.labels, np.int64)).to(processes.device)
        volumes = data.truth.get(VOLUME, np.full(len(data), np.nan))
        self._volumes = torch.from_numpy(volumes.astype(np.float32)).to(processes.device)
        if resident is None:
            resident = _fits(int(np.prod(shape)), processes.device)
        self._resident = self._copy_to_device() if resident else None

    def __len__(self) -> int:
        return len(self._data)

    def steps(self, batch: int) -> int:
        """Return the steps of an epoch; the last may be smaller, but all processes take part."""
        return steps_of(len(self._data), batch, self._processes)

    def batches(self, *, batch: int, seed: int, first: int) -> Iterator[Batch]:
        """Yield the batches of step `first`, `first` + 1, ... over all epochs, without end.

        Each epoch shows every image once, in an order that `seed` and the epoch decide. Of each
        batch this process gets its share; up to a process's number of images are left out at the
        end of an epoch that shares cannot divide.
        """
        for chosen in shuffled(len(self._data), batch, self._processes, seed=seed, first=first):
            yield self.take(chosen)

    def in_order(self, batch: int) -> Iterator[Batch]:
        """Yield this process's share of all images once, `batch` at a time."""
        mine = np.arange(self._processes.rank, len(self._data), self._processes.count)
        for first in range(0, len(mine), batch):
            yield self.take(mine[first : first + batch])

    def mean(self) -> NDArray[np.float64]:
        """Return the mean of each pixel (side, side), 0 to 255."""
        mean: NDArray[np.float64] = self.total().numpy() / len(self._data)
        return mean

    def total(self) -> Tensor:
        """Return the sum of all images, (side, side) int64."""
        total = torch.zeros((self.side, self.side), dtype=torch.int64)
        for first in range(0, len(self._data), IMAGES_AT_ONCE):
            total += self._slice(first).sum(0, dtype=torch.int64).cpu()
        return total

    def check_classes(self) -> None:
        """Refuse images among which a class is missing.

        Raises
        ------
        DatasetError
            In one line with its name.
        """
        counts = np.bincount(self._data.labels, minlength=len(self.classes))
        lacking = [name for name, n in zip(self.classes, counts, strict=True) if n == 0]
        if lacking:
            raise DatasetError(
                f"expected images of each class to learn from, found none of {', '.join(lacking)} "
                f"in {self._data.path}: generate more images or use another split"
            )

    def check_volumes(self) -> None:
        """Refuse images of which it is not known how much crystal they show.

        Raises
        ------
        DatasetError
            In one line.
        """
        if self._volumes.isnan().any():
            raise DatasetError(
                f"expected the truth {VOLUME} to learn from, found none in {self._data.path}: use "
                "simulated images, or a recipe with volume_weight=0"
            )

    def describe(self) -> dict[str, Any]:
        """Return what tells these images from others, as JSON values."""
        manifest = json.dumps(self._data.manifest, sort_keys=True).encode()
        return {
            "count": len(self._data),
            "data_set": identity(self._data.manifest),
            "manifest_sha256": hashlib.sha256(manifest).hexdigest(),
            "labels_sha256": hashlib.sha256(self._data.labels.tobytes()).hexdigest(),
        }

    def take(self, chosen: NDArray[np.intp]) -> Batch:
        """Return the images of these indices."""
        device = self._processes.device
        at = on_device(chosen, device)
        if self._resident is not None:
            pixels = self._resident[at]
        else:
            pixels = self._stacked(self._data.images, chosen)
        valid = None if self._data.valid is None else self._stacked(self._data.valid, chosen)
        return Batch(pixels, self._labels[at], self._volumes[at], valid)

    def _stacked(self, stored: Any, chosen: NDArray[np.intp]) -> Tensor:  # noqa: ANN401 -- as in Dataset
        """Return what a file holds of the images of these indices, read now."""
        read = [stored[int(index)] for index in chosen]
        shape = (len(read), self.side, self.side)
        images = np.stack(read) if read else np.empty(shape, stored.dtype)
        return on_device(images, self._processes.device)

    def _slice(self, first: int) -> Tensor:
        """Return `IMAGES_AT_ONCE` images from `first` on, where they are."""
        if self._resident is not None:
            return self._resident[first : first + IMAGES_AT_ONCE]
        # a copy, for torch takes no memory that it may not write to
        return torch.from_numpy(np.array(self._data.images[first : first + IMAGES_AT_ONCE]))

    def _copy_to_device(self) -> Tensor:
        shape = (len(self._data), self.side, self.side)
        resident = torch.empty(shape, dtype=torch.uint8, device=self._processes.device)
        for first in range(0, len(self._data), IMAGES_AT_ONCE):
            images = np.array(self._data.images[first : first + IMAGES_AT_ONCE])
            resident[first : first + len(images)] = torch.from_numpy(images)
        return resident


def _fits(needed_bytes: int, device: torch.device) -> bool:
    """Return whether images belong on `device`; main memory has them already, or on disk."""
    if device.type != "cuda":
        return False
    free_bytes, _ = torch.cuda.mem_get_info(device)
    return bool(needed_bytes < PART_FOR_IMAGES * free_bytes)
