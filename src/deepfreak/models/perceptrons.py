"""Small multilayer perceptrons over named numbers, as plain arrays."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from deepfreak.errors import ModelError

Activation = Literal["tanh", "softplus"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Perceptrons:
    """An ensemble of perceptrons with the same k inputs and layers; all arrays are float64.

    Without a hidden layer and with one member it is a linear regression.

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
    activation
        After each layer but the last.
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
    activation: Activation = "tanh"
    slope: float = 1.0
    offset: float = 0.0

    def outputs(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the calibrated outputs (n, outputs) of `values` (n, k), columns as `names`."""
        inputs = (np.clip(values, self.low, self.high) - self.mean) / self.scale
        layer = np.broadcast_to(inputs, (len(self.weights[0]), *inputs.shape))
        for depth, (weights, biases) in enumerate(zip(self.weights, self.biases, strict=True)):
            if depth:
                layer = np.tanh(layer) if self.activation == "tanh" else np.logaddexp(0, layer)
            layer = layer @ weights + biases[:, None]
        found: NDArray[np.float64] = self.slope * layer.mean(axis=0) + self.offset
        return found

    def beyond(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return how far each of `values` (n, k) lies outside `low` to `high`, in its width."""
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
                f"expected the number {missing[0]!r} among the evidence, found none of this name: "
                "use the version of deepfreak that made the model, or train it again"
            )
        return [place[name] for name in self.names]

    def fingerprint(self) -> str:
        """Return a SHA-256 over all that decides on the outputs."""
        digest = hashlib.sha256(f"{self.names} {self.activation}".encode())
        for array in (
            self.low, self.high, self.mean, self.scale, *self.weights, *self.biases, self.slope,
            self.offset,
        ):  # fmt: skip
            digest.update(np.ascontiguousarray(array, dtype="<f8").tobytes())
        return digest.hexdigest()
