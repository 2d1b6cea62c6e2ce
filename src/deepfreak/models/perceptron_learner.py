"""Perceptrons over the features of an extractor: an ensemble of a few small networks."""

from dataclasses import dataclass, replace
from typing import Annotated, Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from deepfreak.classes import ClassWeight
from deepfreak.models.archive import Arrays
from deepfreak.models.fitted import (
    Fitted,
    Learner,
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
class PerceptronLearner(Learner):
    """The settings of an ensemble of perceptrons with one hidden layer.

    Parameters
    ----------
    hidden
        Units of the hidden layer.
    decay
        Cost of half the sum of squared weights, beside a mean cross-entropy.
    members
        Number of perceptrons, each from its own random weights.
    """

    name: ClassVar[str] = "perceptrons"

    hidden: Annotated[int, Field(ge=1, le=512)] = 24
    decay: Positive = 1e-4
    members: Annotated[int, Field(ge=1, le=256)] = 4
    class_weight: ClassWeight = None

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
        """Return perceptrons; see `Learner.fit`. `held_out` finds the slope, too, from folds.

        They do not depend on the number of threads of the linear algebra either.
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
                names=_numbered(vectors.shape[1]),
                classes=classes,
                hidden=(self.hidden,),
                decay=self.decay,
                members=self.members,
                clip=_CLIP,
                min_scale=_MIN_SCALE,
                steps=_STEPS,
                seed=seed,
            )
            return FittedPerceptrons(perceptrons=found)

        with threadpool_limits(1):  # the last bits depend on the number of threads
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
class FittedPerceptrons(Fitted):
    """Perceptrons whose outputs are log-probabilities of classes, or log-odds of two classes."""

    name: ClassVar[str] = "perceptrons"

    perceptrons: Perceptrons

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

    def arrays(self) -> Arrays:
        """Return the arrays of a model file by name."""
        return self.perceptrons.arrays()

    @classmethod
    def from_arrays(cls, arrays: Arrays, *, features: int, classes: int) -> Self:
        """Return the perceptrons of `arrays`; see `Fitted`."""
        outputs = 1 if classes == 2 else classes
        names = _numbered(features)
        return cls(perceptrons=Perceptrons.from_arrays(arrays, names=names, outputs=outputs))

    def fingerprint(self) -> str:
        """Return a SHA-256 over all that decides on the probabilities."""
        return self.perceptrons.fingerprint()


def _numbered(features: int) -> tuple[str, ...]:
    """Return numbers as names: the extractor has the real ones."""
    return tuple(map(str, range(features)))
