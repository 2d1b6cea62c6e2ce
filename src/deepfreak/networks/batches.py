"""Where batches come from: stored images, on the device if they fit, or endless fresh shots."""

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

from deepfreak.dataset import Dataset, stream
from deepfreak.errors import DatasetError
from deepfreak.experiment import Experiment
from deepfreak.models.group import groups
from deepfreak.networks.processes import Processes
from deepfreak.recipe import settings_of

if TYPE_CHECKING:
    from deepfreak.gpu.batch import Renderer

IMAGES_AT_ONCE = 256
# Beside the images a GPU must hold the network, its gradients and its maps.
PART_FOR_IMAGES = 0.5
# So many of the endless shots are looked at for their mean.
SHOTS_FOR_MEAN = 512
SHOTS_AT_ONCE = 16

# The truth that a network may learn beside the class.
VOLUME = "crystal_volume_mm3"

# First word of a generator's key: each kind of chance has its own.
ORDER, STEP = 0, 1


def generator(seed: int, *key: int) -> np.random.Generator:
    """Return the generator that `seed` and `key` name, independent of all others."""
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=key))


class Batch(NamedTuple):
    """A process's part of a step.

    `images` (n, side, side) uint8, `labels` (n,) int64, see `Targets`, and `volumes` (n,) float32,
    those of the crystals in mm^3; 0 without a crystal or where none is to be learnt, nan where it
    is not known. `valid` (n, side, side) is true where pixels measured something; None if all did.
    """

    images: Tensor
    labels: Tensor
    volumes: Tensor
    valid: Tensor | None = None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Fresh:
    """Endless shots to train on, of which none is shown twice.

    Parameters
    ----------
    series
        Seed of the shots. With several processes number r takes the series `series` + r; keep
        validation and test images out of all of them.
    images_per_epoch
        Whole batches of them make an epoch.
    executor, renderer
        Where shots are simulated; see `dataset.stream`.
    """

    experiment: Experiment
    series: int
    images_per_epoch: int
    executor: Executor | None = None
    renderer: "Renderer | None" = None


def source_of(
    data: Dataset | Fresh, processes: Processes, *, also: Sequence[Dataset] = ()
) -> "StoredImages | MixedImages | FreshShots":
    """Return where batches come from: those of `data`, mixed with further images if there are any.

    Raises
    ------
    DatasetError
        Images are not square or of one size, a class has none, groups cannot be formed, or fresh
        shots are to be mixed with stored images.
    """
    if isinstance(data, Fresh):
        if also:
            raise DatasetError(
                "expected stored images to mix with further ones, found fresh shots: leave one out"
            )
        return FreshShots(data, processes)
    stored = StoredImages(data, processes)
    return MixedImages(stored, also, processes) if also else stored


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
                "`deepfreak prepare` makes square ones"
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
        return _steps(len(self._data), batch, self._processes)

    def batches(self, *, batch: int, seed: int, first: int) -> Iterator[Batch]:
        """Yield the batches of step `first`, `first` + 1, ... over all epochs, without end.

        Each epoch shows every image once, in an order that `seed` and the epoch decide. Of each
        batch this process gets its share; up to a process's number of images are left out at the
        end of an epoch that shares cannot divide.
        """
        for chosen in _shuffled(len(self._data), batch, self._processes, seed=seed, first=first):
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
        return {
            "count": len(self._data),
            "manifest_sha256": _digest(self._data.manifest),
            "labels_sha256": hashlib.sha256(self._data.labels.tobytes()).hexdigest(),
        }

    def take(self, chosen: NDArray[np.intp]) -> Batch:
        """Return the images of these indices."""
        device = self._processes.device
        at = torch.from_numpy(chosen).to(device)
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
        return torch.from_numpy(images).to(self._processes.device)

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
        return _steps(len(self), batch, self._processes)

    def batches(self, *, batch: int, seed: int, first: int) -> Iterator[Batch]:
        """Yield the batches of step `first`, `first` + 1, ...; see `StoredImages.batches`."""
        for chosen in _shuffled(len(self), batch, self._processes, seed=seed, first=first):
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


class FreshShots:
    """Shots that are simulated when they are needed."""

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
        # all processes look at the same series
        for batch in islice(self._shots(SHOTS_AT_ONCE, 0, self._data.series), batches):
            total += batch.images.sum(0, dtype=torch.int64).cpu()
        mean: NDArray[np.float64] = total.numpy() / (batches * SHOTS_AT_ONCE)
        return mean

    def check_classes(self) -> None:
        """Do nothing: sooner or later a shot of each class is drawn."""

    def check_volumes(self) -> None:
        """Do nothing: the volume is known of each shot."""

    def describe(self) -> dict[str, Any]:
        """Return what tells these shots from others, as JSON values."""
        return {
            "experiment_sha256": _digest(settings_of(self._data.experiment)),
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


def _steps(images: int, batch: int, processes: Processes) -> int:
    """Return the steps of an epoch; the last may be smaller, but all processes take part."""
    full, rest = divmod(images, batch)
    return full + (rest >= processes.count)


def _shuffled(
    images: int, batch: int, processes: Processes, *, seed: int, first: int
) -> Iterator[NDArray[np.intp]]:
    """Yield which images this process shows in step `first`, `first` + 1, ... without end."""
    steps, rank, count = _steps(images, batch, processes), processes.rank, processes.count
    epoch = -1
    for step in count_from(first):
        if step // steps != epoch:
            epoch = step // steps
            order = generator(seed, ORDER, epoch).permutation(images)
        chosen = order[step % steps * batch :][:batch]
        share = len(chosen) // count
        yield chosen[rank * share : (rank + 1) * share]


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


def _fits(needed_bytes: int, device: torch.device) -> bool:
    """Return whether images belong on `device`; main memory has them already, or on disk."""
    if device.type != "cuda":
        return False
    free_bytes, _ = torch.cuda.mem_get_info(device)
    return bool(needed_bytes < PART_FOR_IMAGES * free_bytes)


def _digest(values: Any) -> str:  # noqa: ANN401 -- any JSON values
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()
