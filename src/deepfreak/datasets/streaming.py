"""An infinite stream of shots, for training that never uses an image twice."""

from collections.abc import Iterator, Sequence
from concurrent.futures import Executor
from itertools import count as count_from
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from deepfreak.datasets.executors import AHEAD, in_order
from deepfreak.datasets.file import LabelledImages
from deepfreak.datasets.records import columns_of, flat_truth
from deepfreak.physics.experiment import Experiment
from deepfreak.physics.exposure import simulate
from deepfreak.physics.shot import MATERIALS, Shot

if TYPE_CHECKING:
    from deepfreak.physics.gpu.batch import Renderer


def stream(
    experiment: Experiment,
    *,
    seed: int,
    batch: int,
    first: int = 0,
    executor: Executor | None = None,
    ahead: int = AHEAD,
    renderer: "Renderer | None" = None,
) -> Iterator[LabelledImages]:
    """Yield batches of the shots `first`, `first` + 1, ... of a series, indefinitely.

    Batches are as those of `Dataset.batches`. Image i is image i of `generate` with the same seed,
    so a data set and a stream of another seed have no image in common.

    Parameters
    ----------
    executor, ahead
        Where to work, by default in this process, and the maximum number of batches in progress.
    renderer
        Simulates on a GPU: images stay there, their noise differs from the CPU's, and the truth has
        only what is known before a shot is rendered.
    """
    tasks = ((experiment, seed, start, batch) for start in count_from(first, batch))
    if renderer is not None:
        for _, _, start, _ in tasks:
            made = renderer.render(seed=seed, first=start, count=batch)
            labels = np.array([shot.label for shot in made.shots], np.uint8)
            yield LabelledImages(made.images, labels, _drawn(made.shots))
        return
    yield from in_order(executor, _simulate, tasks, ahead=ahead)


def _simulate(experiment: Experiment, seed: int, first: int, count: int) -> LabelledImages:
    """Return a batch; runs in a worker."""
    shots = [experiment.draw(seed=seed, index=first + i) for i in range(count)]
    images, truths = zip(*(simulate(shot) for shot in shots), strict=True)
    labels = np.array([shot.label for shot in shots], np.uint8)
    truth = columns_of(np.stack([flat_truth(one) for one in truths]))
    return LabelledImages(np.stack(images), labels, truth)


def _drawn(shots: Sequence[Shot]) -> dict[str, NDArray[np.float64]]:
    """Return the part of the truth that is known before a shot is rendered."""
    return {
        "pulse_photons": np.array([shot.photons for shot in shots]),
        "wavelength_A": np.array([shot.wavelength_A for shot in shots]),
        "orientation": np.array(
            [shot.orientation if shot.photons > 0 else np.full((3, 3), np.nan) for shot in shots]
        ),
        "crystal_volume_mm3": np.array([shot.crystal_volume_mm3 for shot in shots]),
        **{
            f"{material}_mm": np.array([shot.path_mm(material) for shot in shots], dtype=float)
            for material in MATERIALS
        },
    }
