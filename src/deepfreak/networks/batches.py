"""Batches: of stored images of data sets, or of fresh shots of which none is shown twice."""

import hashlib
import json
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from itertools import count as count_from
from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from deepfreak.classes import groups
from deepfreak.datasets import Dataset, stream
from deepfreak.datasets.verifying import identity
from deepfreak.errors import DatasetError
from deepfreak.networks.processes import Processes
from deepfreak.physics.experiment import Experiment
from deepfreak.physics.recipe import settings_of

if TYPE_CHECKING:
    from deepfreak.physics.gpu.batch import Renderer

# The truth that a network may learn beside the class.
VOLUME = "crystal_volume_mm3"
# First word of a generator's key: each use of random numbers has its own.
ORDER, STEP = 0, 1
IMAGES_AT_ONCE = 256
# Beside the images a GPU must hold the network, its gradients and its maps.
PART_FOR_IMAGES = 0.5
# The mean of each pixel of fresh shots is that of these first ones.
SHOTS_FOR_MEAN = 512
SHOTS_AT_ONCE = 16


class Batch(NamedTuple):
    """A process's part of a step.

    `images` (n, side, side) uint8, `labels` (n,) int64, see `Targets`, and `volumes` (n,) float32,
    those of the crystals in mm^3; 0 without a crystal or where none is to be learned, nan where it
    is not known. `valid` (n, side, side) is true where pixels measured something; None if all did.
    """

    images: Tensor
    labels: Tensor
    volumes: Tensor
    valid: Tensor | None = None


def on_device(array: NDArray[Any], device: torch.device) -> Tensor:
    """Return `array` on `device`, without waiting for what a GPU does meanwhile."""
    return torch.from_numpy(array).to(device, non_blocking=True)


def generator(seed: int, *key: int) -> np.random.Generator:
    """Return the generator that `seed` and `key` name, independent of all others."""
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=key))


class StoredImages:
    """Images of `data`, and `also` of further data sets of which only the group is used.

    An epoch shows all of them in one order. Labels of the further images are groups, see `Targets`,
    and no volume is learned from them. `resident`: whether all images are copied to the device now;
    None means if it is a GPU with room. Raises `DatasetError` if images are not square, or further
    ones have another size, or classes that are neither with nor without diffraction.
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
        full, rest = divmod(len(self), batch)
        return full + (rest >= self._processes.count)

    def batches(self, *, batch: int, seed: int, first: int) -> Iterator[Batch]:
        """Yield the batches of step `first`, `first` + 1, ... over all epochs, without end.

        Each epoch shows every image once, in an order that `seed` and the epoch decide. Of each
        batch this process gets its share; at the end of an epoch fewer images than there are
        processes may be left out.
        """
        steps, rank, epoch = self.steps(batch), self._processes.rank, -1
        for step in count_from(first):
            if step // steps != epoch:
                epoch = step // steps
                order = generator(seed, ORDER, epoch).permutation(len(self))
            chosen = order[step % steps * batch :][:batch]
            share = len(chosen) // self._processes.count
            yield self._take(chosen[rank * share : (rank + 1) * share])

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


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Fresh:
    """Endless shots to train on, of which none is shown twice.

    `series` is the seed of the shots; with several processes number r takes the series `series` +
    r: keep validation and test images out of all of them. Whole batches of `images_per_epoch` make
    an epoch. Shots are simulated by `executor` or `renderer`; see `datasets.stream`.
    """

    experiment: Experiment
    series: int
    images_per_epoch: int
    executor: Executor | None = None
    renderer: "Renderer | None" = None


class FreshShots:
    """Batches of `Fresh` shots, simulated when they are needed."""

    def __init__(self, data: Fresh, processes: Processes) -> None:
        slow, fast = data.experiment.detector.image_size
        if slow != fast:
            raise DatasetError(
                f"expected a detector with square images, found {slow} x {fast}: "
                "change its image_size"
            )
        self._data, self._processes = data, processes
        self.classes, self.side = data.experiment.classes.names, int(slow)

    def steps(self, batch: int) -> int:
        """Return the steps of an epoch."""
        return self._data.images_per_epoch // batch

    def batches(self, *, batch: int, seed: int, first: int) -> Iterator[Batch]:  # noqa: ARG002 -- as StoredImages; the series decides
        """Yield this process's share of step `first`, `first` + 1, ... without end."""
        share = batch // self._processes.count
        yield from self._shots(share, first * share, self._data.series + self._processes.rank)

    def mean(self) -> NDArray[np.float64]:
        """Return the mean of each pixel (side, side), 0 to 255, over the first shots."""
        total = torch.zeros((self.side, self.side), dtype=torch.int64)
        batches = SHOTS_FOR_MEAN // SHOTS_AT_ONCE
        # all processes take the same series
        for batch in islice(self._shots(SHOTS_AT_ONCE, 0, self._data.series), batches):
            total += batch.images.sum(0, dtype=torch.int64).cpu()
        mean: NDArray[np.float64] = total.numpy() / (batches * SHOTS_AT_ONCE)
        return mean

    def check_classes(self) -> None:
        """Do nothing: an experiment draws shots of each class."""

    def check_volumes(self) -> None:
        """Do nothing: the volume of each shot is known."""

    def describe(self) -> dict[str, Any]:
        """Return what tells these shots from others, as JSON values."""
        settings = json.dumps(settings_of(self._data.experiment), sort_keys=True).encode()
        return {
            "experiment_sha256": hashlib.sha256(settings).hexdigest(),
            "series": self._data.series,
            "images_per_epoch": self._data.images_per_epoch,
            "backend": "cpu" if self._data.renderer is None else "gpu",
        }

    def _shots(self, size: int, first: int, series: int) -> Iterator[Batch]:
        device = self._processes.device
        made = stream(
            self._data.experiment,
            seed=series,
            batch=size,
            first=first,
            executor=self._data.executor,
            renderer=self._data.renderer,
        )
        for images, labels, truth in made:
            yield Batch(
                torch.as_tensor(images, device=device),
                torch.from_numpy(labels.astype(np.int64)).to(device),
                torch.from_numpy(truth[VOLUME].astype(np.float32)).to(device),
            )


Source = StoredImages | FreshShots


def source_of(
    data: Dataset | Fresh, processes: Processes, *, also: Sequence[Dataset] = ()
) -> Source:
    """Return where batches come from: those of `data`, mixed with further images if there are any.

    Raises `DatasetError` if images are not square or of one size, groups cannot be formed, or
    fresh shots are to be mixed with stored images.
    """
    if not isinstance(data, Fresh):
        return StoredImages(data, processes, also=also)
    if also:
        raise DatasetError(
            "expected stored images to mix with further ones, found fresh shots: leave one out"
        )
    return FreshShots(data, processes)
