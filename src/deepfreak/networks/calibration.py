"""Calibrating a network's probabilities: one temperature, found on images held out.

A trained network is usually overconfident. Its logits are divided by one number, which changes no
prediction (Guo et al. 2017).
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deepfreak.datasets import Dataset
from deepfreak.errors import DatasetError
from deepfreak.models.classifier import Classifier
from deepfreak.models.evaluation import evaluate
from deepfreak.models.svm import softmax, temperature_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """A temperature, and the images it was found on.

    `log_loss` is the mean over images of -log of the true class's probability,
    `calibration_error` that of `Evaluation`; each before and after.
    """

    temperature: float
    data: str
    split: str | None
    images: int
    log_loss: tuple[float, float]
    calibration_error: tuple[float, float]

    def to_json(self) -> dict[str, Any]:
        """Return the values as JSON."""
        return {
            **asdict(self),
            "log_loss": list(self.log_loss),
            "calibration_error": list(self.calibration_error),
        }


def calibrate(
    model: Classifier,
    data: Dataset,
    *,
    workers: int = 1,
    advance: Callable[[int], None] | None = None,
) -> Calibration:
    """Return the temperature by which `model` fits the labels of `data` best.

    `advance` is called with the number of further images done. Raises `DatasetError` if `data` is
    empty, or its classes are not the model's: groups would ask for another temperature.
    """
    if tuple(data.classes) != tuple(model.classes):
        raise DatasetError(
            f"expected images of the model's classes {', '.join(model.classes)} to calibrate on, "
            f"found {', '.join(data.classes)} in {data.path}: use a data set made for this model"
        )
    before = evaluate(model, data, workers=workers, advance=advance)
    temperature = temperature_of(_logits(before.probabilities), before.truth)
    after = replace(before, probabilities=tempered(before.probabilities, temperature))
    return Calibration(
        temperature=temperature,
        data=data.path.name,
        split=data.manifest.get("split", {}).get("name"),
        images=len(data),
        log_loss=(
            _log_loss(before.probabilities, before.truth),
            _log_loss(after.probabilities, after.truth),
        ),
        calibration_error=(before.calibration_error, after.calibration_error),
    )


def tempered(probabilities: NDArray[np.float64], temperature: float) -> NDArray[np.float64]:
    """Return probabilities (n, classes) with their logits divided by `temperature`."""
    return softmax(_logits(probabilities) / temperature)


def _logits(probabilities: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return logits (n, classes) up to a constant; a 0 counts as the smallest positive number."""
    logits: NDArray[np.float64] = np.log(np.maximum(probabilities, np.finfo(np.float64).tiny))
    return logits


def _log_loss(probabilities: NDArray[np.float64], truth: NDArray[np.integer[Any]]) -> float:
    return float(-_logits(probabilities)[np.arange(len(truth)), truth].mean())
