"""Shots that are simulated when they are needed; none is shown twice."""

import hashlib
import json
from collections.abc import Iterator
from concurrent.futures import Executor
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from deepfreak.datasets import stream
from deepfreak.errors import DatasetError
from deepfreak.networks.batches.batch import VOLUME, Batch
from deepfreak.networks.processes import Processes
from deepfreak.physics.experiment import Experiment
from deepfreak.physics.recipe import settings_of

if TYPE_CHECKING:
    from deepfreak.physics.gpu.batch import Renderer

# The mean of each pixel is that of these first shots.
SHOTS_FOR_MEAN = 512
SHOTS_AT_ONCE = 16


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
