"""Perceptrons over the numbers of a feature extractor: a few small networks, their mean counts."""

from dataclasses import dataclass, replace
from typing import Annotated, Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from deepfreak.classes import (
    ClassWeight,
)
from deepfreak.models.fitted import (
    check_training,
    held_out_scores,
    weights_by_image,
)
from deepfreak.models.perceptron_fit import fit_perceptrons
from deepfreak.models.perceptrons import Perceptrons
from deepfreak.models.svm import softmax, temperature_of
from deepfreak.settings import Positive, settings

_CLIP, _MIN_SCALE, _STEPS = 0.0005, 1e-6, 500


@settings
class PerceptronLearner:
    """The settings of an ensemble of perceptrons with one hidden layer.

    Parameters
    ----------
    hidden
        Units of the hidden layer.
    decay
        Cost of half the sum of squared weights, beside a mean cross-entropy.
    members
        Number of perceptrons, each from random weights of its own.
    """

    name: ClassVar[str] = "perceptrons"

    hidden: Annotated[int, Field(ge=1, le=512)] = 24
    decay: Positive = 1e-4
    members: Annotated[int, Field(ge=1, le=256)] = 4
    class_weight: ClassWeight = None

    def settings(self) -> dict[str, Any]:
        """Return the settings as JSON values."""
        weight = self.class_weight
        return {
            "classifier": self.name,
            "hidden": self.hidden,
            "decay": self.decay,
            "members": self.members,
            "class_weight": list(weight) if isinstance(weight, tuple) else weight,
        }

    def fit(
        self,
        vectors: NDArray[np.float64],
        labels: NDArray[np.integer[Any]],
        *,
        classes: int,
        seed: int = 0,
        workers: int = 1,
        held_out: bool = False,
    ) -> "FittedPerceptrons":
        """Return the perceptrons that vectors (n, k) with labels (n,) teach.

        They depend neither on `workers`, the threads over the folds, nor on those of the linear
        algebra. `held_out` asks for the accuracy and the slope from folds that were held out.

        Raises
        ------
        DatasetError
            A class without vectors (with `held_out` two of each are needed), or a number that is
            not finite.
        """
        from threadpoolctl import threadpool_limits

        check_training(vectors, labels, classes=classes, class_weight=self.class_weight)
        vectors = np.ascontiguousarray(vectors)
        weights = weights_by_image(self.class_weight, labels, classes)

        def fit(rows: NDArray[np.intp]) -> FittedPerceptrons:
            found = fit_perceptrons(
                vectors[rows],
                labels[rows],
                weights[rows],
                names=numbered(vectors.shape[1]),
                classes=classes,
                hidden=(self.hidden,),
                decay=self.decay,
                members=self.members,
                clip=_CLIP,
                least_scale=_MIN_SCALE,
                steps=_STEPS,
                seed=seed,
            )
            return FittedPerceptrons(perceptrons=found)

        with threadpool_limits(1):  # the last bits depend on how many there are
            fitted = fit(np.arange(len(labels)))
            if not held_out:
                return fitted
            scores = held_out_scores(
                lambda seen, unseen: fit(seen).scores(vectors[unseen]),
                labels,
                seed=seed,
                workers=workers,
            )
        return FittedPerceptrons(
            perceptrons=replace(fitted.perceptrons, slope=1 / temperature_of(scores, labels)),
            accuracy_held_out=float(np.mean(scores.argmax(axis=1) == labels)),
        )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FittedPerceptrons:
    """Perceptrons whose outputs are log-probabilities of classes, or log-odds of two classes."""

    name: ClassVar[str] = "perceptrons"

    perceptrons: Perceptrons
    accuracy_held_out: float | None = None

    def scores(self, vectors: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return log-probabilities (n, classes), up to a constant of each vector."""
        found = self.perceptrons.outputs(vectors)
        return np.pad(found, ((0, 0), (1, 0))) if found.shape[1] == 1 else found

    def probabilities(self, vectors: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the probabilities (n, classes) of vectors (n, k)."""
        return softmax(self.scores(vectors))

    def predict(self, vectors: NDArray[np.float64]) -> NDArray[np.intp]:
        """Return the most probable class (n,) of vectors (n, k)."""
        most_probable: NDArray[np.intp] = self.scores(vectors).argmax(axis=1)
        return most_probable

    def fingerprint(self) -> str:
        """Return a SHA-256 over all that decides on the answers."""
        return self.perceptrons.fingerprint()


def numbered(features: int) -> tuple[str, ...]:
    """Return names of so many numbers: an extractor has those that tell."""
    return tuple(map(str, range(features)))
