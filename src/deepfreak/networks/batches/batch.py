"""What a step is given: which images it shows, and what is known of each."""

from collections.abc import Iterator
from itertools import count as count_from
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from deepfreak.networks.processes import Processes

# The truth that a network may learn beside the class.
VOLUME = "crystal_volume_mm3"
# First word of a generator's key: each use of random numbers has its own.
ORDER, STEP = 0, 1


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


def steps_of(images: int, batch: int, processes: Processes) -> int:
    """Return the steps of an epoch; the last may be smaller, but all processes take part."""
    full, rest = divmod(images, batch)
    return full + (rest >= processes.count)


def shuffled(
    images: int, batch: int, processes: Processes, *, seed: int, first: int
) -> Iterator[NDArray[np.intp]]:
    """Yield which images this process shows in step `first`, `first` + 1, ... without end."""
    steps, rank, count = steps_of(images, batch, processes), processes.rank, processes.count
    epoch = -1
    for step in count_from(first):
        if step // steps != epoch:
            epoch = step // steps
            order = generator(seed, ORDER, epoch).permutation(images)
        chosen = order[step % steps * batch :][:batch]
        share = len(chosen) // count
        yield chosen[rank * share : (rank + 1) * share]
