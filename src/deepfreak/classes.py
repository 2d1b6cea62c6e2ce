"""The classes: five of simulated images, and the two groups that labels of real images know."""

from collections.abc import Sequence
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from deepfreak.errors import DatasetError

CLASSES = ("blank", "no-crystal", "weak", "good", "strong")
GROUPS = ("no-diffraction", "diffraction")
WITHOUT_DIFFRACTION = frozenset({*CLASSES[:2], GROUPS[0]})
WITH_DIFFRACTION = frozenset({*CLASSES[2:], GROUPS[1]})

# None: all images weigh the same; "balanced": all classes do; or a number for each class.
ClassWeight = (
    Literal["balanced"] | tuple[Annotated[float, Field(gt=0, allow_inf_nan=False)], ...] | None
)


def groups(classes: Sequence[str]) -> NDArray[np.intp]:
    """Return for each class its index in `GROUPS`: 0 no diffraction, 1 diffraction.

    Raises
    ------
    DatasetError
        A class that is neither, or all in one group.
    """
    unknown = [name for name in classes if name not in WITHOUT_DIFFRACTION | WITH_DIFFRACTION]
    found = np.array([name in WITH_DIFFRACTION for name in classes], np.intp)
    if unknown or len(set(found.tolist())) != 2:
        raise DatasetError(
            "expected classes with and without diffraction, such as blank, no-crystal, weak, good "
            f"and strong, found {', '.join(classes)}: these cannot be grouped into two"
        )
    return found


def grouped(labels: NDArray[np.integer[Any]], classes: Sequence[str]) -> NDArray[np.uint8]:
    """Return labels (n,) of `classes` as labels of `GROUPS`."""
    two: NDArray[np.uint8] = groups(classes).astype(np.uint8)[labels]
    return two


def group_weights(weights: ClassWeight, classes: Sequence[str]) -> ClassWeight:
    """Return weights by class summed over the two groups, as the authors' code has it.

    None and "balanced" are themselves.
    """
    if not isinstance(weights, tuple):
        return weights
    found = groups(classes)
    if len(weights) != len(found):
        raise DatasetError(
            f"expected a weight for each of {', '.join(classes)}, found {len(weights)} weights"
        )
    sums = np.bincount(found, weights=weights)
    return (float(sums[0]), float(sums[1]))


def group_probabilities(
    probabilities: NDArray[np.float64], classes: Sequence[str]
) -> NDArray[np.float64]:
    """Return probabilities (n, classes) summed over the two groups (n, 2)."""
    found = groups(classes)
    summed: NDArray[np.float64] = probabilities @ np.eye(2)[found]
    return summed
