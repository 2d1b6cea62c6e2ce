"""Which images a step shows: it follows from the seed and the step's number alone."""

from collections.abc import Iterator
from itertools import count as count_from

import numpy as np
from numpy.typing import NDArray

from deepfreak.networks.processes import Processes

# First word of a generator's key: each kind of chance has its own.
ORDER, STEP = 0, 1


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
