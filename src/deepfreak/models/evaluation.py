"""How often a model is right: confusion, recall, precision and their intervals."""

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from deepfreak.classes import (
    GROUPS,
    WITH_DIFFRACTION,
    WITHOUT_DIFFRACTION,
    group_probabilities,
    grouped,
)
from deepfreak.datasets.verifying import identity
from deepfreak.errors import DatasetError

if TYPE_CHECKING:
    from deepfreak.datasets import Dataset
    from deepfreak.models import Classifier

NORMAL_95 = 1.959963984540054
CONFIDENCE_BINS = 15


@dataclass(frozen=True, slots=True)
class Proportion:
    """`hits` out of `total`; the value and the interval are nan where `total` is 0."""

    hits: int
    total: int

    @property
    def value(self) -> float:
        """The fraction itself."""
        return self.hits / self.total if self.total else math.nan

    @property
    def interval(self) -> tuple[float, float]:
        """95 % interval of Wilson (1927), which stays within 0 and 1 and has width at both ends."""
        if self.total == 0:
            return math.nan, math.nan
        z2 = NORMAL_95**2 / self.total
        middle = (self.value + z2 / 2) / (1 + z2)
        spread = self.value * (1 - self.value) * z2 + z2**2 / 4
        half = math.sqrt(spread) / (1 + z2)
        low = 0.0 if self.hits == 0 else middle - half
        high = 1.0 if self.hits == self.total else middle + half
        return low, high

    def to_json(self) -> dict[str, Any]:
        """Return the fraction, its interval and its counts; None where nothing was counted."""
        value, low, high = (self.value, *self.interval) if self.total else (None, None, None)
        return {"value": value, "low": low, "high": high, "hits": self.hits, "total": self.total}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Evaluation:
    """The predictions of a model for labelled images.

    `truth` is (n,) and `probabilities` (n, classes); the prediction is the most probable class.
    `seconds_per_image` is wall time over n, with `workers` threads and the reading included.
    `grouped_from` are the classes that were summed to two groups, of the model or of the images;
    empty where none were. `data_set` says which images they are; see `identity`.
    """

    model: str
    data: str
    classes: tuple[str, ...]
    truth: NDArray[np.uint8]
    probabilities: NDArray[np.float64]
    seconds_per_image: float
    workers: int = 1
    grouped_from: tuple[str, ...] = ()
    data_set: Mapping[str, Any] = field(default_factory=dict)

    @property
    def predictions(self) -> NDArray[np.intp]:
        """Most probable class of each image (n,)."""
        most_probable: NDArray[np.intp] = self.probabilities.argmax(axis=1)
        return most_probable

    @property
    def confusion(self) -> NDArray[np.int64]:
        """Number of images by true class (rows) and prediction (columns)."""
        matrix = np.zeros((len(self.classes), len(self.classes)), np.int64)
        np.add.at(matrix, (self.truth, self.predictions), 1)
        return matrix

    @property
    def crystal(self) -> NDArray[np.bool_]:
        """Which classes hold crystal diffraction (classes,)."""
        return np.array([name not in WITHOUT_DIFFRACTION for name in self.classes])

    @property
    def p_crystal(self) -> NDArray[np.float64]:
        """Probability that each image holds crystal diffraction (n,)."""
        return self.probabilities @ self.crystal

    @property
    def accuracy(self) -> Proportion:
        """Images whose prediction is their class."""
        return Proportion(int(self.confusion.trace()), self.truth.size)

    @property
    def crystal_accuracy(self) -> Proportion:
        """Images predicted in their group, crystal or not; the paper's 99.83 % (section 5.3)."""
        right = self.crystal[self.predictions] == self.crystal[self.truth]
        return Proportion(int(right.sum()), self.truth.size)

    @property
    def calibration_error(self) -> float:
        """The expected calibration error (Guo et al. 2017); nan without images.

        In each of `CONFIDENCE_BINS` equal ranges of the prediction's probability: the distance
        between its mean and the share of correct predictions, weighted by images.
        """
        if self.truth.size == 0:
            return math.nan
        confidence = self.probabilities.max(axis=1)
        right = self.predictions == self.truth
        place = np.minimum((confidence * CONFIDENCE_BINS).astype(int), CONFIDENCE_BINS - 1)
        surplus = np.bincount(place, weights=confidence - right)
        return float(np.abs(surplus).sum() / self.truth.size)

    @property
    def recall(self) -> tuple[Proportion, ...]:
        """For each class, how many of its images were found."""
        matrix = self.confusion
        return tuple(
            Proportion(int(matrix[i, i]), int(matrix[i].sum())) for i in range(len(self.classes))
        )

    @property
    def precision(self) -> tuple[Proportion, ...]:
        """For each class, how many of its predictions were correct."""
        matrix = self.confusion
        return tuple(
            Proportion(int(matrix[i, i]), int(matrix[:, i].sum())) for i in range(len(self.classes))
        )

    def to_json(self) -> dict[str, Any]:
        """Return the summary as JSON values."""
        return {
            "model": self.model,
            # without its folder, for results are published
            "data": Path(self.data).name,
            "data_set": dict(self.data_set),
            "count": self.truth.size,
            "classes": list(self.classes),
            "grouped_from": list(self.grouped_from),
            "confusion": self.confusion.tolist(),
            "recall": dict(zip(self.classes, map(Proportion.to_json, self.recall), strict=True)),
            "precision": dict(
                zip(self.classes, map(Proportion.to_json, self.precision), strict=True)
            ),
            "accuracy": self.accuracy.to_json(),
            "crystal_accuracy": self.crystal_accuracy.to_json(),
            "calibration_error": self.calibration_error if self.truth.size else None,
            "seconds_per_image": self.seconds_per_image,
            "workers": self.workers,
        }


def must_group(classes: tuple[str, ...], data: "Dataset") -> bool:
    """Return whether two sets of classes agree as groups only; `DatasetError` if not even so."""
    found = tuple(data.classes)
    if found == tuple(classes):
        return False
    if (
        GROUPS in {found, tuple(classes)}
        and {*found, *classes} <= WITH_DIFFRACTION | WITHOUT_DIFFRACTION
    ):
        return True
    raise DatasetError(
        f"expected the model's classes {', '.join(classes)}, found {', '.join(found)} in "
        f"{data.path}: use a data set made for this model"
    )


def evaluate(
    model: "Classifier",
    data: "Dataset",
    *,
    batch: int = 64,
    workers: int = 1,
    advance: Callable[[int], None] | None = None,
) -> Evaluation:
    """Classify every image of `data`, `batch` images in memory at a time.

    Where either has the two classes of real images, with and without diffraction, and the other
    more, those are grouped: probabilities are summed, labels are renamed. `advance` is called with
    the number of further images done. Raises `DatasetError` if `data` is empty or its classes are
    not the model's.
    """
    classes, known = tuple(data.classes), tuple(model.classes)
    groups = must_group(known, data)
    total = len(data)
    if total == 0:
        raise DatasetError(f"expected images to evaluate, found none in {data.path}")
    truth = grouped(data.labels, classes) if groups else np.asarray(data.labels)
    probabilities = np.empty((total, len(known)))
    start = time.perf_counter()
    for first in range(0, total, batch):
        last = min(first + batch, total)
        valid = None if data.valid is None else data.valid[first:last]
        probabilities[first:last] = model.probabilities(
            data.images[first:last], valid, workers=workers
        )
        if advance is not None:
            advance(last - first)
    seconds = time.perf_counter() - start
    return Evaluation(
        model=model.name,
        data=str(data.path),
        classes=GROUPS if groups else known,
        truth=truth,
        probabilities=group_probabilities(probabilities, known) if groups else probabilities,
        seconds_per_image=seconds / total,
        workers=workers,
        grouped_from=(known if classes == GROUPS else classes) if groups else (),
        data_set=identity(data.manifest),
    )


def format_confusion(evaluation: Evaluation) -> str:
    """Return the confusion matrix as the paper's Table 6 has it, with 95 % intervals."""
    classes = evaluation.classes
    width = max(8, *(len(name) + 2 for name in classes))
    margin = max(len("Precision (%)"), *(len(name) for name in classes)) + 2

    def line(head: str, cells: list[str], tail: str = "") -> str:
        return (head.ljust(margin) + "".join(cell.rjust(width) for cell in cells) + tail).rstrip()

    precision = evaluation.precision
    rows = [
        line("", ["Predicted class"], " " * (width * (len(classes) - 1)) + "  Recall (%)"),
        line("True class", list(classes)),
        *(
            line(name, [str(count) for count in counts], f"  {format_percent(recall)}")
            for name, counts, recall in zip(
                classes, evaluation.confusion, evaluation.recall, strict=True
            )
        ),
        line("Precision (%)", [_percent(each.value) for each in precision]),
        line("  95 % from", [_percent(each.interval[0]) for each in precision]),
        line("  95 % to", [_percent(each.interval[1]) for each in precision]),
    ]
    return "\n".join(rows)


def format_percent(proportion: Proportion) -> str:
    """Return `98.45 [98.22, 98.65]`: per cent and the 95 % interval."""
    low, high = proportion.interval
    return f"{_percent(proportion.value):>6} [{_percent(low)}, {_percent(high)}]"


def _percent(value: float) -> str:
    return "-" if math.isnan(value) else f"{100 * value:.2f}"
