"""Training small perceptrons: all data at once, by L-BFGS, in float64."""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from deepfreak.models.perceptrons import Perceptrons

Array = NDArray[np.float64]

_MEMORY = 20  # corrections that L-BFGS remembers


def fit_perceptrons(
    values: Array,
    labels: NDArray[np.integer],
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
    its squared weights, from its own random weights. Its last bits depend on the number of threads
    of the linear algebra: limit it to one.

    Parameters
    ----------
    values
        (n, k), columns as `names`; scaled to mean 0 and deviation 1 here.
    labels
        (n,), 0 to classes - 1.
    weights
        (n,), of the frames.
    hidden
        Sizes of the hidden layers; without any it is a linear regression.
    clip
        Numbers are clipped at this quantile and at 1 minus it.
    min_scale
        Lower limit of the deviations, for numbers that hardly vary.
    steps
        Maximum number of iterations of L-BFGS.
    """
    low, high = np.quantile(values, [clip, 1 - clip], axis=0)
    clipped = np.clip(values, low, high)
    mean, scale = clipped.mean(axis=0), np.maximum(clipped.std(axis=0), min_scale)
    inputs = (clipped - mean) / scale
    outputs = 1 if classes == 2 else classes
    sizes = (values.shape[1], *hidden, outputs)
    found = [
        _fit(
            inputs, labels, weights / weights.sum(), sizes, decay, steps,
            np.random.default_rng([seed, m]),
        )
        for m in range(members)
    ]  # fmt: skip
    layers = list(zip(*found, strict=True))
    return Perceptrons(
        names=tuple(names),
        low=low,
        high=high,
        mean=mean,
        scale=scale,
        weights=tuple(np.stack([member[0] for member in layer]) for layer in layers),
        biases=tuple(np.stack([member[1] for member in layer]) for layer in layers),
    )


def _fit(
    inputs: Array,
    labels: NDArray[np.integer],
    weights: Array,
    sizes: tuple[int, ...],
    decay: float,
    steps: int,
    rng: np.random.Generator,
) -> list[tuple[Array, Array]]:
    """Return weights and biases of each layer of one member."""
    start = [
        np.concatenate([rng.normal(0, 1 / np.sqrt(a), a * b), np.zeros(b)])
        for a, b in pairwise(sizes)
    ]
    options = {"maxiter": steps, "maxcor": _MEMORY}
    end = minimize(
        loss,
        np.concatenate(start),
        args=(inputs, labels, weights, sizes, decay),
        jac=True,
        method="L-BFGS-B",
        options=options,
    )
    return _unpacked(end.x, sizes)


def loss(
    flat: Array,
    inputs: Array,
    labels: NDArray[np.integer],
    weights: Array,
    sizes: tuple[int, ...],
    decay: float,
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
