"""Networks, each trained for one seed after the other, and what they say of images."""

import re
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from deepfreak.models.evaluation import Evaluation, evaluate
from deepfreak.networks import (
    OURS,
    Architecture,
    Compact,
    Training,
    cost,
    load_network,
    train_network,
)
from deepfreak.networks.curve import Epoch
from deepfreak.search.cnn_plan import lasting
from paper.record import made_with

if TYPE_CHECKING:
    from deepfreak.datasets import Dataset

WEIGHTS = "weights.safetensors"

Progress = Callable[[str, int], AbstractContextManager[Callable[[int], None]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A network and how it is trained, under a name."""

    name: str
    architecture: Architecture
    training: Training

    @property
    def folder(self) -> str:
        """The name as that of a folder."""
        return re.sub(r"\W+", "-", self.name.lower()).strip("-")

    def multiply_adds(self, *, classes: int, side: int) -> int:
        """Return the multiplications with addition that an image of `side` x `side` costs."""
        size = self.training.inputs.shrink_to or side
        return cost(self.architecture, classes=classes, size=size).multiply_adds

    def parameters(self, *, classes: int, side: int) -> int:
        """Return how many numbers it learns."""
        size = self.training.inputs.shrink_to or side
        return cost(self.architecture, classes=classes, size=size).parameters


def our_network(train: "Dataset", *, epochs: int | None = None) -> Candidate:
    """Return the network of our own, trained as its recipe says or for other `epochs`.

    Where the truth of `train` does not tell the crystals' volumes, it does not learn them.
    """
    from deepfreak.networks.batches.batch import VOLUME

    training = OURS if epochs is None else lasting(OURS, epochs)
    if VOLUME not in train.truth:
        training = replace(training, volume_weight=0.0)
    return Candidate(name="our network", architecture=Compact(), training=training)


@dataclass(frozen=True, slots=True, kw_only=True)
class Runs:
    """What came of a candidate, once for each seed from 0 on: files of weights, and curves."""

    candidate: Candidate
    weights: tuple[Path, ...]
    histories: tuple[tuple[Epoch, ...], ...]

    @property
    def validation(self) -> NDArray[np.float64]:
        """Accuracy on the validation images (runs, epochs)."""
        return np.array(
            [[row.validation_accuracy for row in each] for each in self.histories], float
        )

    @property
    def training(self) -> NDArray[np.float64]:
        """Accuracy on the training images as they were shown (runs, epochs)."""
        return np.array([[row.accuracy for row in each] for each in self.histories], float)

    @property
    def chosen(self) -> int:
        """The run that ended with the highest accuracy on the validation images."""
        return int(self.validation[:, -1].argmax())

    def judge(
        self,
        data: "Dataset",
        *,
        device: str | None = None,
        only: Sequence[int] | None = None,
        by_image: bool = False,
        advance: Callable[[int], None] | None = None,
    ) -> tuple[Evaluation, ...]:
        """Return what each run, or `only` some, says of `data`.

        With `by_image` each image is normalised by its own statistics, not by the running ones.
        """
        from deepfreak.networks.normalisation import normalised_by_image

        chosen = range(len(self.weights)) if only is None else only
        place = device or _default_device()
        models = (load_network(self.weights[run], device=place) for run in chosen)
        return tuple(
            evaluate(normalised_by_image(model) if by_image else model, data, advance=advance)
            for model in models
        )


def spread(values: NDArray[np.float64]) -> str:
    """Return mean and standard deviation of parts of 1, in per cent."""
    per_cent = 100 * values
    if per_cent.size == 1:
        return f"{per_cent[0]:.2f}"
    return f"{per_cent.mean():.2f} ± {per_cent.std(ddof=1):.2f} ({per_cent.size} runs)"


@dataclass(slots=True, kw_only=True)
class Trainer:
    """Trains candidates in folders of their own, and says how long the rest will take.

    Parameters
    ----------
    work
        Each run has the folder `work`/<candidate>/<seed>, from which it goes on if broken off.
    planned
        How many runs of each candidate there will be; for the time left.
    """

    train: "Dataset"
    validation: "Dataset"
    work: Path
    planned: Mapping[Candidate, int]
    device: str | None = None
    progress: Progress | None = None
    say: Callable[[str], None] = lambda _: None
    _left: float = field(init=False)
    _seconds: float = field(init=False, default=0.0)
    _done: float = field(init=False, default=0.0)

    def __post_init__(self) -> None:
        self._left = sum(self._cost(each) * runs for each, runs in self.planned.items())

    def runs(self, candidate: Candidate) -> Runs:
        """Train a candidate as often as planned, or go on with it."""
        weights, histories = [], []
        for seed in range(self.planned[candidate]):
            history = self._run(candidate, seed)
            weights.append(self._folder(candidate, seed) / WEIGHTS)
            histories.append(history)
        return Runs(candidate=candidate, weights=tuple(weights), histories=tuple(histories))

    def _run(self, candidate: Candidate, seed: int) -> tuple[Epoch, ...]:
        folder = self._folder(candidate, seed)
        shown = 0

        def count(_: Epoch) -> None:
            nonlocal shown
            shown += 1

        began = time.monotonic()
        made = train_network(
            self.train,
            architecture=candidate.architecture,
            training=candidate.training,
            out=folder,
            seed=seed,
            validation=self.validation,
            device=self.device,
            show=self.progress,
            on_epoch=count,
        )
        whole = self._cost(candidate)
        self._left -= whole
        # what an earlier call had done tells nothing about how long the rest will take
        self._done += whole * shown / candidate.training.epochs
        self._seconds += time.monotonic() - began if shown else 0.0
        left = f", {self._time_left()} left" if self._done and self._left > 0 else ""
        accuracy = made.history[-1].validation_accuracy or 0.0
        self.say(
            f"{candidate.name}, run {seed + 1} of {self.planned[candidate]}: validation "
            f"{100 * accuracy:.2f} %{left}"
        )
        return made.history

    def _folder(self, candidate: Candidate, seed: int) -> Path:
        return self.work / candidate.folder / str(seed)

    def _cost(self, candidate: Candidate) -> float:
        """Return roughly what a run costs, in multiply-adds of a forward pass."""
        side = int(self.train.images.shape[1])
        each = candidate.multiply_adds(classes=len(self.train.classes), side=side)
        # going back costs twice what going forward does
        images = 3 * len(self.train) + len(self.validation)
        return float(each) * images * candidate.training.epochs

    def _time_left(self) -> str:
        from deepfreak.networks.figures import hours

        return f"about {hours(self._seconds / self._done * self._left)}"


def _default_device() -> str:
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def hardware(device: str | None) -> str:
    """Return the name of what networks are trained on."""
    import torch

    if torch.cuda.is_available() and device != "cpu":
        return str(torch.cuda.get_device_name())
    made = made_with()
    return f"{made['cores']} cores ({made['processor']})"
