"""The images of a record of networks; these, trained with one seed after the other, evaluated."""

import math
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from deepfreak.datasets import Dataset
from deepfreak.datasets.in_memory import agreement, on_cpu, rendered_splits
from deepfreak.models.evaluation import Evaluation, evaluate
from deepfreak.networks import (
    OURS,
    Architecture,
    Compact,
    Topology,
    Training,
    cost,
    load_network,
    train_network,
)
from deepfreak.networks.figures import hours
from deepfreak.networks.state import Epoch
from deepfreak.physics.experiment import Experiment
from deepfreak.search.cnn_plan import lasting
from deepfreak.search.images import first_images
from paper.record import Request, made_with

WEIGHTS = "weights.safetensors"
# of each class one or two
SHOTS_COMPARED = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class Simulated:
    """A recipe whose images are simulated in memory, on a GPU where there is one."""

    experiment: Experiment
    seed: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Images:
    """Images to train on, to choose by and to test on."""

    train: Dataset
    validation: Dataset
    test: Dataset
    # of a simulation: its rate, and how far a GPU's images are from the CPU's
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A network and how it is trained, under a name."""

    name: str
    architecture: Architecture
    training: Training

    @property
    def folder(self) -> str:
        """The name as that of a directory."""
        return re.sub(r"\W+", "-", self.name.lower()).strip("-")

    def multiply_adds(self, *, classes: int, side: int) -> int:
        """Return the multiplications with addition for an image of `side` x `side`."""
        size = self.training.inputs.shrink_to or side
        return cost(self.architecture, classes=classes, size=size).multiply_adds


def our_network(train: Dataset, *, epochs: int | None = None) -> Candidate:
    """Return our network, trained as its recipe says or for another number of epochs.

    It learns volumes of crystals only where the truth of `train` has them.
    """
    from deepfreak.networks.batches import VOLUME

    training = OURS if epochs is None else lasting(OURS, epochs)
    if VOLUME not in train.truth:
        training = replace(training, volume_weight=0.0)
    return Candidate(name="our network", architecture=Compact(), training=training)


@dataclass(frozen=True, slots=True, kw_only=True)
class Runs:
    """A candidate trained with several seeds: files of weights, and curves."""

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
        """The run with the highest accuracy on the validation images at its end."""
        return int(self.validation[:, -1].argmax())

    @property
    def normalises_by_batch(self) -> bool:
        """Whether it is one of the paper's networks as they normalise."""
        architecture = self.candidate.architecture
        return isinstance(architecture, Topology) and architecture.normalise == "batch"

    @property
    def seconds_per_epoch(self) -> float:
        """Mean over all epochs but the first of a run, in which libraries warm up."""
        seconds = [
            (rows[-1].seconds - rows[0].seconds) / (len(rows) - 1) if rows[1:] else rows[0].seconds
            for rows in self.histories
        ]
        return sum(seconds) / len(seconds)

    def evaluate(
        self,
        data: Dataset,
        *,
        device: str | None = None,
        only: Sequence[int] | None = None,
        by_image: bool = False,
    ) -> tuple[Evaluation, ...]:
        """Return the evaluation of each run, or of `only` some, on `data`.

        With `by_image` each image is normalised by itself, not by running statistics.
        """
        from deepfreak.networks.network import normalised_by_image

        chosen = range(len(self.weights)) if only is None else only
        place = device or ("cuda" if torch.cuda.is_available() else "cpu")
        models = (load_network(self.weights[run], device=place) for run in chosen)
        return tuple(
            evaluate(normalised_by_image(model) if by_image else model, data) for model in models
        )


@dataclass(slots=True, kw_only=True)
class Trainer:
    """Trains candidates in directories of their own, and says how long the rest will take.

    Each run has the directory `work`/<candidate>/<seed>, from which it resumes.
    """

    train: Dataset
    validation: Dataset
    request: Request
    planned: Mapping[Candidate, int]  # runs
    device: str | None = None
    time_limit_s: float = math.inf  # no run begins later; one that is under way is finished
    _began: float = field(init=False, default_factory=time.monotonic)
    _left: float = field(init=False)
    _seconds: float = field(init=False, default=0.0)
    _done: float = field(init=False, default=0.0)

    def __post_init__(self) -> None:
        self._left = sum(self._cost(each) * runs for each, runs in self.planned.items())

    def run_all(self) -> dict[Candidate, Runs]:
        """Train all candidates; those of which no run has ended in time are left out."""
        found = {candidate: self._runs(candidate) for candidate in self.planned}
        return {candidate: runs for candidate, runs in found.items() if runs.weights}

    def _runs(self, candidate: Candidate) -> Runs:
        weights, histories = [], []
        for seed in range(self.planned[candidate]):
            place = self.request.work / candidate.folder / str(seed)
            late = time.monotonic() - self._began >= self.time_limit_s
            if late and not (place / WEIGHTS).exists():
                break
            histories.append(self._run(candidate, seed, place))
            weights.append(place / WEIGHTS)
        return Runs(candidate=candidate, weights=tuple(weights), histories=tuple(histories))

    def _run(self, candidate: Candidate, seed: int, place: Path) -> tuple[Epoch, ...]:
        trained = list[Epoch]()
        began = time.monotonic()
        made = train_network(
            self.train,
            architecture=candidate.architecture,
            training=candidate.training,
            out=place,
            seed=seed,
            validation=self.validation,
            device=self.device,
            show=self.request.progress,
            on_epoch=trained.append,
        )
        whole = self._cost(candidate)
        self._left -= whole
        # what an earlier call had trained tells nothing about how long the rest will take
        self._done += whole * len(trained) / candidate.training.epochs
        self._seconds += time.monotonic() - began if trained else 0.0
        left = ""
        if self._done and self._left > 0:
            left = f", about {hours(self._seconds / self._done * self._left)} left"
        self.request.say(
            f"{candidate.name}, run {seed + 1} of {self.planned[candidate]}: validation "
            f"{100 * (made.history[-1].validation_accuracy or 0.0):.2f} %{left}"
        )
        return made.history

    def _cost(self, candidate: Candidate) -> float:
        """Return roughly what a run costs, in multiply-adds of a forward pass."""
        side = int(self.train.images.shape[1])
        each = candidate.multiply_adds(classes=len(self.train.classes), side=side)
        # the backward pass costs twice the forward pass
        images = 3 * len(self.train) + len(self.validation)
        return float(each) * images * candidate.training.epochs


def hardware(device: str | None) -> str:
    """Return the name of what networks are trained on."""
    if torch.cuda.is_available() and device != "cpu":
        return str(torch.cuda.get_device_name())
    made = made_with()
    return f"{made['cores']} cores ({made['processor']})"
