"""Images changed as physics allows: turned, mirrored, brighter or darker."""

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from deepfreak.networks.recipe import Augmentation

TURNS = 4


class Changes(NamedTuple):
    """What happens to each image of a batch.

    `symmetry` (n,): quarter turns, plus 4 if then mirrored; `intensity` (n,): factor on counts.
    """

    symmetry: NDArray[np.int64]
    intensity: NDArray[np.float64]

    def share(self, rank: int, count: int) -> "Changes":
        """Return what process `rank` of `count` makes of its equal share of the batch."""
        images = len(self.symmetry) // count
        mine = slice(rank * images, (rank + 1) * images)
        return Changes(self.symmetry[mine], self.intensity[mine])


def draw_changes(augmentation: Augmentation, count: int, rng: np.random.Generator) -> Changes:
    """Return changes for `count` images; they are drawn on the host, so no device alters them."""
    turns = rng.integers(0, TURNS, count) if augmentation.turns else np.zeros(count, np.int64)
    flips = rng.integers(0, 2, count) if augmentation.flips else np.zeros(count, np.int64)
    low, high = np.log(augmentation.intensity)
    return Changes(turns + TURNS * flips, np.exp(rng.uniform(low, high, count)))


def change(images: Tensor, changes: Changes, *, pedestal: float) -> Tensor:
    """Return `images` (n, side, side), uint8 or float32 of 0 to 255, with `changes` made to them.

    Pixels are square roots of counts; of those, what is above `pedestal` is multiplied.
    """
    if changes.symmetry.any():
        changed = torch.empty_like(images)
        for symmetry in np.unique(changes.symmetry):
            at = torch.from_numpy(np.flatnonzero(changes.symmetry == symmetry)).to(images.device)
            turned = torch.rot90(images[at], int(symmetry) % TURNS, (1, 2))
            changed[at] = turned.flip(2) if symmetry >= TURNS else turned
        images = changed
    if (changes.intensity == 1).all():
        return images
    factor = torch.from_numpy(changes.intensity.astype(np.float32)).to(images.device)
    counts = images.float().square()
    scaled = pedestal + factor[:, None, None] * (counts - pedestal)
    return scaled.clamp(0, 255**2).sqrt()
