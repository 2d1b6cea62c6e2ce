"""Plain values and arrays as JSON and raw bytes, for results of a process that is not trusted.

A pickle could execute code when it is loaded. JSON cannot, and every size is checked before memory
is allocated.
"""

import json
import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

MAX_TEXT_BYTES = 16 << 20
MAX_ARRAY_BYTES = 1 << 30  # of all arrays of a result together
_MAX_ARRAYS = 16
_MAX_AXES = 8
_KINDS = "biuf"


@dataclass(slots=True)
class Encoded:
    """A value as text, and the arrays that the text refers to by number."""

    text: bytes
    arrays: list[NDArray[Any]] = field(default_factory=list)


def encode(value: object) -> Encoded:
    """Return `value`, made of None, numbers, texts, lists, tuples, dicts and arrays.

    Raises `TypeError`: it contains something else.
    """
    arrays: list[NDArray[Any]] = []
    tagged = _tagged(value, arrays)
    layout = [[array.dtype.str, list(array.shape)] for array in arrays]
    return Encoded(json.dumps([tagged, layout]).encode("ascii"), arrays)


def layout_of(text: bytes) -> tuple[object, list[tuple["np.dtype[Any]", tuple[int, ...]]]]:
    """Return the value without its arrays, and type and shape of each array.

    Raises `ValueError`: the text is not from `encode`, or there are too many or too large arrays.
    """
    try:
        tagged, layout = json.loads(text)
        arrays = [(np.dtype(dtype), tuple(shape)) for dtype, shape in layout]
    except (ValueError, TypeError, RecursionError) as error:
        raise ValueError("not a result") from error
    total = 0
    for dtype, shape in arrays:
        if dtype.kind not in _KINDS or dtype.itemsize > 8 or len(shape) > _MAX_AXES:
            raise ValueError("an array of an unexpected type")
        if not all(isinstance(length, int) and length >= 0 for length in shape):
            raise ValueError("an array of an impossible shape")
        total += math.prod(shape) * dtype.itemsize
    if len(arrays) > _MAX_ARRAYS or total > MAX_ARRAY_BYTES:
        raise ValueError("arrays that are too many or too large")
    return tagged, arrays


def decode(tagged: object, arrays: list[NDArray[Any]]) -> Any:  # noqa: ANN401 - of any kind
    """Return the value of `layout_of` with its arrays inserted.

    Raises `ValueError`: it is not from `encode`.
    """
    if tagged is None or isinstance(tagged, (bool, int, float, str)):
        return tagged
    if not isinstance(tagged, list) or not tagged:
        raise ValueError("not a result")
    kind, *parts = tagged
    if kind == "list":
        return [decode(part, arrays) for part in parts]
    if kind == "tuple":
        return tuple(decode(part, arrays) for part in parts)
    if kind == "dict" and all(isinstance(part, list) and len(part) == 2 for part in parts):
        return {str(key): decode(part, arrays) for key, part in parts}
    if kind == "array" and len(parts) == 1 and isinstance(parts[0], int):
        if not 0 <= parts[0] < len(arrays):
            raise ValueError("an array that was not sent")
        return arrays[parts[0]]
    raise ValueError("not a result")


def _tagged(value: object, arrays: list[NDArray[Any]]) -> object:
    if isinstance(value, np.ndarray):
        arrays.append(np.ascontiguousarray(value).reshape(value.shape))
        return ["array", len(arrays) - 1]
    if isinstance(value, np.generic):
        return _tagged(value.item(), arrays)
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, tuple):
        return ["tuple", *(_tagged(part, arrays) for part in value)]
    if isinstance(value, list):
        return ["list", *(_tagged(part, arrays) for part in value)]
    if isinstance(value, dict):
        return ["dict", *([str(key), _tagged(part, arrays)] for key, part in value.items())]
    raise TypeError(f"expected a plain value, found {type(value).__name__}")
