"""What a step is given: images, and what is known of each."""

from typing import Any, NamedTuple

import torch
from numpy.typing import NDArray
from torch import Tensor

# The truth that a network may learn beside the class.
VOLUME = "crystal_volume_mm3"


class Batch(NamedTuple):
    """A process's part of a step.

    `images` (n, side, side) uint8, `labels` (n,) int64, see `Targets`, and `volumes` (n,) float32,
    those of the crystals in mm^3; 0 without a crystal or where none is to be learnt, nan where it
    is not known. `valid` (n, side, side) is true where pixels measured something; None if all did.
    """

    images: Tensor
    labels: Tensor
    volumes: Tensor
    valid: Tensor | None = None


def on_device(array: NDArray[Any], device: torch.device) -> Tensor:
    """Return `array` on `device`, without waiting for what a GPU does meanwhile."""
    return torch.from_numpy(array).to(device, non_blocking=True)
