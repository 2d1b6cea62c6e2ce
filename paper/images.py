"""The images of a record of networks: of a file, or of a recipe, simulated in memory."""

import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from deepfreak.datasets import Dataset
from deepfreak.datasets.in_memory import agreement, on_cpu, rendered_splits
from deepfreak.physics.experiment import Experiment
from deepfreak.search.images import first_images
from paper.request import Request

# of each class one or two
SHOTS_COMPARED = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class Simulated:
    """A recipe whose images are simulated in memory, on a GPU where there is one."""

    experiment: Experiment
    seed: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Images:
    """Images to train on, to choose by and to test on.

    Attributes
    ----------
    measured
        Of a simulation: its rate, and how far a GPU's images are from the CPU's.
    """

    train: Dataset
    validation: Dataset
    test: Dataset
    measured: tuple[tuple[str, str], ...] = ()


@contextmanager
def opened(
    request: Request, counts: Mapping[str, int | None], simulated: Simulated | None
) -> Iterator[Images]:
    """Give the first images of each split, None for all."""
    if simulated is not None:
        yield _simulated(request, counts, simulated)
        return
    with ExitStack() as stack:
        train, validation, test = (
            first_images(stack.enter_context(Dataset.open(request.data, split=split)), count)
            for split, count in counts.items()
        )
        yield Images(train=train, validation=validation, test=test)


def _simulated(request: Request, counts: Mapping[str, int | None], simulated: Simulated) -> Images:
    from deepfreak.physics.gpu import Renderer, missing_on_this_machine

    experiment, seed = simulated.experiment, simulated.seed
    began = time.monotonic()
    data = rendered_splits(
        experiment, seed=seed, counts=counts, workers=request.workers, show=request.progress
    )
    rate = len(data) / (time.monotonic() - began)
    measured = [("images simulated a second", f"{rate:,.0f}")]
    if missing_on_this_machine() is None:
        with ThreadPoolExecutor(2) as pool:
            found = [pool.submit(on_cpu, experiment, seed, i) for i in range(SHOTS_COMPARED)]
            measured += [
                (f"GPU against CPU, {SHOTS_COMPARED} shots: {what}", value)
                for what, value in agreement(Renderer(experiment), seed, found)
            ]
    train, validation, test = (data.split(split) for split in counts)
    return Images(train=train, validation=validation, test=test, measured=tuple(measured))
