"""Small multilayer perceptrons: an ensemble as plain arrays, its training, and as a classifier."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Annotated, Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from scipy.optimize import minimize

from deepfreak.classes import ClassWeight
from deepfreak.errors import ModelError
from deepfreak.models.archive import Arrays, fingerprint, matches
from deepfreak.models.classifier import (
    Array,
    Fitted,
    Labels,
    Learner,
    check_training,
    held_out_scores,
    weights_by_image,
)
from deepfreak.models.svm import softmax, temperature_of
from deepfreak.settings import Positive, settings

_SCALES, _CALIBRATION = ("low", "high", "mean", "scale"), ("slope", "offset")
_MAX_WIDTH, _MAX_MEMBERS, _MAX_LAYERS = 512, 256, 3
# With these no output overflows.
_MAX_VALUE, _MIN_SCALE = 1e12, 1e-12


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Perceptrons:
    """An ensemble of perceptrons with the same k inputs and layers; all arrays are float64.

    Numbers beyond `low` and `high` (k,), those of the training frames, are clipped to them; `mean`
    is subtracted and the rest divided by `scale` (k,). `weights` (members, inputs, outputs) and
    `biases` (members, outputs) are of a layer each, the first layer first; each layer but the last
    ends in a tanh. One member without hidden layers is a linear regression. The members' mean
    output is multiplied by `slope`, and `offset` is added.
    """

    names: tuple[str, ...]
    low: Array
    high: Array
    mean: Array
    scale: Array
    weights: tuple[Array, ...]
    biases: tuple[Array, ...]
    slope: float = 1.0
    offset: float = 0.0

    def outputs(self, values: Array) -> Array:
        """Return the calibrated outputs (n, outputs) of `values` (n, k), columns as `names`."""
        inputs = (np.clip(values, self.low, self.high) - self.mean) / self.scale
        layer = np.broadcast_to(inputs, (len(self.weights[0]), *inputs.shape))
        for depth, (weights, biases) in enumerate(zip(self.weights, self.biases, strict=True)):
            if depth:
                layer = np.tanh(layer)
            layer = layer @ weights + biases[:, None]
        found: Array = self.slope * layer.mean(axis=0) + self.offset
        return found

    def beyond(self, values: Array) -> Array:
        """Return how far `values` (n, k) lie outside `low` to `high`, in parts of that range."""
        outside = np.maximum(np.maximum(self.low - values, values - self.high), 0.0)
        far: Array = outside / np.maximum(self.high - self.low, self.scale)
        return far

    def columns(self, names: Sequence[str]) -> list[int]:
        """Return which columns of a table are its numbers; `ModelError` if one lacks."""
        place = {name: column for column, name in enumerate(names)}
        if missing := [name for name in self.names if name not in place]:
            raise ModelError(
                f"expected the number {missing[0]!r} in the evidence, found none of this name: "
                "use the version of deepfreak that made the model, or train it again"
            )
        return [place[name] for name in self.names]

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return the arrays of a model file: those of layer k are `weights_k` and `biases_k`."""
        return {
            **{part: getattr(self, part) for part in _SCALES},
            **{f"weights_{depth}": weights for depth, weights in enumerate(self.weights)},
            **{f"biases_{depth}": biases for depth, biases in enumerate(self.biases)},
            **{part: np.asarray(getattr(self, part)) for part in _CALIBRATION},
        }

    @classmethod
    def from_arrays(cls, arrays: Arrays, *, names: Sequence[str], outputs: int) -> Self:
        """Return the ensemble of `arrays`; `ModelError` if they do not fit or are beyond bounds."""
        layers = sum(part.startswith("weights_") for part in arrays)
        weights = [arrays.get(f"weights_{depth}", np.empty(0)) for depth in range(layers)]
        shapes = [each.shape if each.ndim == 3 else (0, 0, 0) for each in weights]
        members = shapes[0][0] if layers else 0
        widths = [len(names), *(shape[2] for shape in shapes)]
        expected: dict[str, Any] = dict.fromkeys(_SCALES, (np.float64, (len(names),)))
        expected |= dict.fromkeys(_CALIBRATION, (np.float64, ()))
        for depth, (entering, leaving) in enumerate(pairwise(widths)):
            expected[f"weights_{depth}"] = (np.float64, (members, entering, leaving))
            expected[f"biases_{depth}"] = (np.float64, (members, leaving))
        sound = (
            1 <= layers <= _MAX_LAYERS
            and 1 <= members <= _MAX_MEMBERS
            and matches(arrays, expected)
            and all(1 <= width <= _MAX_WIDTH for width in widths[1:])
            and widths[-1] == outputs
            and all((np.abs(array) <= _MAX_VALUE).all() for array in arrays.values())
            and (arrays["low"] <= arrays["high"]).all()
            and (arrays["scale"] >= _MIN_SCALE).all()
            and arrays["slope"] > 0
        )
        if not sound:
            raise ModelError(
                f"expected perceptrons of {len(names)} numbers and {outputs} outputs, found arrays "
                "that do not fit one another or the manifest: do not use this file"
            )
        return cls(
            names=tuple(names),
            **{part: arrays[part] for part in _SCALES},
            weights=tuple(weights),
            biases=tuple(arrays[f"biases_{depth}"] for depth in range(layers)),
            slope=float(arrays["slope"]),
            offset=float(arrays["offset"]),
        )

    def fingerprint(self) -> str:
        """Return a SHA-256 over all that decides on the outputs."""
        return fingerprint(self.arrays(), f"{self.names} tanh")


def fit_perceptrons(
    values: Array,
    labels: Labels,
    weights: Array,
    *,
    names: Sequence[str],
    classes: int = 2,
    hidden: tuple[int, ...] = (),
    decay: float = 1e-3,
    members: int = 1,
    clip: float = 0.001,
    min_scale: float = 0.05,
    steps: int = 300,
    seed: int = 0,
) -> Perceptrons:
    """Return an ensemble that gives the log-odds of `labels`, or log-probabilities of classes.

    Each member minimises the weighted mean of the cross-entropy plus `decay` times half the sum of
    its squared weights, from its own random weights, in `steps` iterations of L-BFGS at most. Its
    last bits depend on the number of threads of the linear algebra: limit it to one.

    `values` (n, k), columns as `names`, are clipped at the quantile `clip` and at 1 minus it, and
    scaled to mean 0 and deviation 1; `min_scale` is the lower limit of deviations, for numbers that
    hardly vary. `labels` (n,) are 0 to classes - 1, `weights` (n,) those of the frames. `hidden`
    are the sizes of the hidden layers; without any it is a linear regression.
    """
    low, high = np.quantile(values, [clip, 1 - clip], axis=0)
    clipped = np.clip(values, low, high)
    mean, scale = clipped.mean(axis=0), np.maximum(clipped.std(axis=0), min_scale)
    inputs = (clipped - mean) / scale
    outputs = 1 if classes == 2 else classes
    sizes = (values.shape[1], *hidden, outputs)
    shares = weights / weights.sum()

    def member(index: int) -> list[tuple[Array, Array]]:
        """Return weights and biases of each layer."""
        rng = np.random.default_rng([seed, index])
        start = [
            np.concatenate([rng.normal(0, 1 / np.sqrt(a), a * b), np.zeros(b)])
            for a, b in pairwise(sizes)
        ]
        end = minimize(
            loss,
            np.concatenate(start),
            args=(inputs, labels, shares, sizes, decay),
            jac=True,
            method="L-BFGS-B",
            options={"maxiter": steps, "maxcor": 20},  # iterations, and corrections remembered
        )
        return _unpacked(end.x, sizes)

    layers = list(zip(*map(member, range(members)), strict=True))
    return Perceptrons(
        names=tuple(names),
        low=low,
        high=high,
        mean=mean,
        scale=scale,
        weights=tuple(np.stack([member[0] for member in layer]) for layer in layers),
        biases=tuple(np.stack([member[1] for member in layer]) for layer in layers),
    )


def loss(
    flat: Array, inputs: Array, labels: Labels, weights: Array, sizes: tuple[int, ...], decay: float
) -> tuple[float, Array]:
    """Return what a member minimises, and its gradient, at `flat`: weights and biases by layer."""
    layers = _unpacked(flat, sizes)
    steps = [inputs]
    for depth, (w, b) in enumerate(layers):
        steps.append((steps[-1] if depth == 0 else np.tanh(steps[-1])) @ w + b)
    logits = steps[-1]
    if logits.shape[1] == 1:
        logits = np.concatenate([np.zeros_like(logits), logits], axis=1)
    logs = logits - np.logaddexp.reduce(logits, axis=1, keepdims=True)
    total = -float((weights * logs[np.arange(len(labels)), labels]).sum())
    slope = weights[:, None] * (np.exp(logs) - np.eye(logits.shape[1])[labels])
    slope = slope[:, -sizes[-1] :]
    gradient = []
    for depth in range(len(layers) - 1, -1, -1):
        w, _ = layers[depth]
        total += decay / 2 * float((w * w).sum())
        entered = steps[depth] if depth == 0 else np.tanh(steps[depth])
        gradient.append(
            np.concatenate([(entered.T @ slope + decay * w).ravel(), slope.sum(axis=0)])
        )
        if depth:
            slope = (slope @ w.T) * (1 - entered * entered)
    return total, np.concatenate(gradient[::-1])


def _unpacked(flat: Array, sizes: tuple[int, ...]) -> list[tuple[Array, Array]]:
    layers, place = [], 0
    for a, b in pairwise(sizes):
        weights = flat[place : place + a * b].reshape(a, b)
        layers.append((weights, flat[place + a * b : place + a * b + b]))
        place += a * b + b
    return layers


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
        vectors: Array,
        labels: Labels,
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
                clip=0.0005,
                min_scale=1e-6,
                steps=500,
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

    def scores(self, vectors: Array) -> Array:
        """Return log-probabilities (n, classes), up to a constant of each vector."""
        found = self.perceptrons.outputs(vectors)
        return np.pad(found, ((0, 0), (1, 0))) if found.shape[1] == 1 else found

    def probabilities(self, vectors: Array) -> Array:
        """Return the probabilities (n, classes) of vectors (n, k)."""
        return softmax(self.scores(vectors))

    def predict(self, vectors: Array) -> NDArray[np.intp]:
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
        found = Perceptrons.from_arrays(arrays, names=_numbered(features), outputs=outputs)
        return cls(perceptrons=found)

    def fingerprint(self) -> str:
        """Return a SHA-256 over all that decides on the probabilities."""
        return self.perceptrons.fingerprint()


def _numbered(features: int) -> tuple[str, ...]:
    """Return numbers as names: the extractor has the real ones."""
    return tuple(map(str, range(features)))
