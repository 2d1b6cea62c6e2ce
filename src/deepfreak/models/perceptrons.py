"""Small multilayer perceptrons over named numbers, as plain arrays."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from deepfreak.errors import ModelError
from deepfreak.models.archive import Arrays, fingerprint, matches

_SCALES, _CALIBRATION = ("low", "high", "mean", "scale"), ("slope", "offset")
_MAX_WIDTH, _MAX_MEMBERS, _MAX_LAYERS = 512, 256, 3
# With these no output overflows.
_MAX_VALUE, _MIN_SCALE = 1e12, 1e-12


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Perceptrons:
    """An ensemble of perceptrons with the same k inputs and layers; all arrays are float64.

    Each layer but the last ends in a tanh. One member without hidden layers is a linear regression.

    Attributes
    ----------
    names
        Of the k numbers that it takes.
    low, high
        Of the training frames' numbers (k,); numbers beyond are clipped to them.
    mean, scale
        What is subtracted from a clipped number, and what the rest is divided by (k,).
    weights, biases
        A layer each, the first layer first: (members, inputs, outputs) and (members, outputs).
    slope, offset
        Calibration: the members' mean output is multiplied by `slope`, and `offset` is added.
    """

    names: tuple[str, ...]
    low: NDArray[np.float64]
    high: NDArray[np.float64]
    mean: NDArray[np.float64]
    scale: NDArray[np.float64]
    weights: tuple[NDArray[np.float64], ...]
    biases: tuple[NDArray[np.float64], ...]
    slope: float = 1.0
    offset: float = 0.0

    def outputs(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the calibrated outputs (n, outputs) of `values` (n, k), columns as `names`."""
        inputs = (np.clip(values, self.low, self.high) - self.mean) / self.scale
        layer = np.broadcast_to(inputs, (len(self.weights[0]), *inputs.shape))
        for depth, (weights, biases) in enumerate(zip(self.weights, self.biases, strict=True)):
            if depth:
                layer = np.tanh(layer)
            layer = layer @ weights + biases[:, None]
        found: NDArray[np.float64] = self.slope * layer.mean(axis=0) + self.offset
        return found

    def beyond(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return how far `values` (n, k) lie outside `low` to `high`, in parts of that range."""
        outside = np.maximum(np.maximum(self.low - values, values - self.high), 0.0)
        far: NDArray[np.float64] = outside / np.maximum(self.high - self.low, self.scale)
        return far

    def columns(self, names: Sequence[str]) -> list[int]:
        """Return which columns of a table with these `names` are its numbers.

        Raises
        ------
        ModelError
            One is not among them.
        """
        place = {name: column for column, name in enumerate(names)}
        if missing := [name for name in self.names if name not in place]:
            raise ModelError(
                f"expected the number {missing[0]!r} in the evidence, found none of this name: "
                "use the version of deepfreak that made the model, or train it again"
            )
        return [place[name] for name in self.names]

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return the arrays of a model file by name: those of layer k are `weights_k`, `biases_k`.

        The names belong to the manifest.
        """
        return {
            **{part: getattr(self, part) for part in _SCALES},
            **{f"weights_{depth}": weights for depth, weights in enumerate(self.weights)},
            **{f"biases_{depth}": biases for depth, biases in enumerate(self.biases)},
            **{part: np.asarray(getattr(self, part)) for part in _CALIBRATION},
        }

    @classmethod
    def from_arrays(cls, arrays: Arrays, *, names: Sequence[str], outputs: int) -> Self:
        """Return the ensemble of `arrays`.

        Raises
        ------
        ModelError
            They do not fit one another, are not finite or beyond bounds.
        """
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
