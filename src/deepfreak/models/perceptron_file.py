"""Perceptrons as the arrays of a model file.

They are `low`, `high`, `mean`, `scale`, `slope`, `offset` and, for each layer, `weights_0`,
`biases_0`; names and activation stand in the manifest.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deepfreak.errors import ModelError
from deepfreak.models.perceptrons import Perceptrons

_SCALES = ("low", "high", "mean", "scale")
_CALIBRATION = ("slope", "offset")
_MAX_WIDTH, _MAX_MEMBERS, _MAX_LAYERS = 512, 256, 3
# With these no output overflows.
_MAX_VALUE, _MIN_SCALE = 1e12, 1e-12


def arrays_of(head: Perceptrons) -> dict[str, NDArray[Any]]:
    """Return the arrays of `head` by name."""
    arrays = {part: np.asarray(getattr(head, part)) for part in (*_SCALES, *_CALIBRATION)}
    for depth, (weights, biases) in enumerate(zip(head.weights, head.biases, strict=True)):
        arrays |= {f"weights_{depth}": weights, f"biases_{depth}": biases}
    return arrays


def perceptrons_from(
    arrays: dict[str, NDArray[Any]],
    *,
    names: Sequence[str],
    outputs: int,
    what: str,
    activation: Any = "tanh",  # noqa: ANN401 -- a file's
) -> Perceptrons:
    """Return the ensemble for `what` that the arrays of a file are.

    Raises
    ------
    ModelError
        They do not fit one another, are not finite or beyond bounds.
    """
    layers = sum(part.startswith("weights_") for part in arrays)
    weights = [arrays.get(f"weights_{depth}", np.empty(0)) for depth in range(layers)]
    biases = [arrays.get(f"biases_{depth}", np.empty(0)) for depth in range(layers)]
    sound = (
        activation in {"tanh", "softplus"}
        and 1 <= layers <= _MAX_LAYERS
        and len(arrays) == len(_SCALES) + len(_CALIBRATION) + 2 * layers
        and all(arrays.get(part, np.empty(0)).shape == (len(names),) for part in _SCALES)
        and all(part in arrays and arrays[part].shape == () for part in _CALIBRATION)
        and _fit(weights, biases, inputs=len(names), outputs=outputs)
        and all(
            array.dtype == np.float64
            and np.isfinite(array).all()
            and (np.abs(array) <= _MAX_VALUE).all()
            for array in arrays.values()
        )
        and (arrays["low"] <= arrays["high"]).all()
        and (arrays["scale"] >= _MIN_SCALE).all()
        and arrays["slope"] > 0
    )
    if not sound:
        raise ModelError(
            f"expected perceptrons for {what}, found arrays that do not fit one another or the "
            "manifest: do not use this file"
        )
    return Perceptrons(
        names=tuple(names),
        **{part: arrays[part] for part in _SCALES},
        weights=tuple(weights),
        biases=tuple(biases),
        activation=activation,
        slope=float(arrays["slope"]),
        offset=float(arrays["offset"]),
    )


def _fit(
    weights: list[NDArray[Any]], biases: list[NDArray[Any]], *, inputs: int, outputs: int
) -> bool:
    """Return whether each layer takes what the one before it gives."""
    members = len(weights[0])
    for matrix, bias in zip(weights, biases, strict=True):
        if matrix.ndim != 3 or matrix.shape[:2] != (members, inputs):
            return False
        inputs = matrix.shape[2]
        if bias.shape != (members, inputs) or not 1 <= inputs <= _MAX_WIDTH:
            return False
    return inputs == outputs and 1 <= members <= _MAX_MEMBERS
