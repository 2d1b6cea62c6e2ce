"""Images changed as physics allows: turned, mirrored, brighter or darker, with pixels missing."""

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from deepfreak.networks.batches.batch import on_device
from deepfreak.networks.configuration import Augmentation

TURNS = 4

# Missing pixels of an image are those of so many rectangles, of which most may be empty.
LINES = 4
RECTANGLES = LINES + 3
# Parts of the image's side: how wide a gap between modules is at most, what may be cut off at an
# edge, and how wide a beamstop is, and how far from the middle.
WIDEST_LINE, WIDEST_EDGE = 1 / 24, 1 / 3
WIDEST_STOP, FARTHEST_STOP = 1 / 8, 1 / 16


class Changes(NamedTuple):
    """What happens to each image of a batch.

    `symmetry` (n,): quarter turns, plus 4 if then mirrored; `intensity` (n,): factor on counts;
    `gaps` (n, rectangles, 4): first and last + 1 row and column of what is missing, as parts of
    the side; None if nothing is.
    """

    symmetry: NDArray[np.int64]
    intensity: NDArray[np.float64]
    gaps: NDArray[np.float64] | None = None

    def share(self, rank: int, count: int) -> "Changes":
        """Return what process `rank` of `count` makes of its equal share of the batch."""
        images = len(self.symmetry) // count
        mine = slice(rank * images, (rank + 1) * images)
        gaps = None if self.gaps is None else self.gaps[mine]
        return Changes(self.symmetry[mine], self.intensity[mine], gaps)


def draw_changes(augmentation: Augmentation, count: int, rng: np.random.Generator) -> Changes:
    """Return changes for `count` images; they are drawn on the host, so no device alters them."""
    turns = rng.integers(0, TURNS, count) if augmentation.turns else np.zeros(count, np.int64)
    flips = rng.integers(0, 2, count) if augmentation.flips else np.zeros(count, np.int64)
    low, high = np.log(augmentation.intensity)
    intensity = np.exp(rng.uniform(low, high, count))
    gaps = None
    if augmentation.gaps:
        chosen = rng.random(count) < augmentation.gaps
        gaps = np.stack([_draw_gaps(rng) for _ in range(count)]) * chosen[:, None, None]
    return Changes(turns + TURNS * flips, intensity, gaps)


def change(images: Tensor, changes: Changes, *, pedestal: float) -> Tensor:
    """Return `images` (n, side, side), uint8 or float32 of 0 to 255, with `changes` made to them.

    Pixels are square roots of counts; of those, what is above `pedestal` is multiplied.
    """
    images = _turned(images, changes)
    if (changes.intensity == 1).all():
        return images
    factor = on_device(changes.intensity.astype(np.float32), images.device)
    counts = images.float().square()
    scaled = pedestal + factor[:, None, None] * (counts - pedestal)
    return scaled.clamp(0, 255**2).sqrt()


def measured(
    changes: Changes, *, side: int, device: torch.device, valid: Tensor | None = None
) -> Tensor | None:
    """Return which pixels (n, side, side) measured something, None if all did.

    `valid`, of the same shape, says which of them did before the images were changed.
    """
    if valid is not None:
        valid = _turned(valid, changes)
    if changes.gaps is None or not changes.gaps.any():
        return valid
    edges = on_device(np.rint(changes.gaps * side).astype(np.int64), device)
    pixel = torch.arange(side, device=device)
    # (n, rectangles, side), then (n, side, side)
    rows = (pixel >= edges[:, :, 0:1]) & (pixel < edges[:, :, 1:2])
    columns = (pixel >= edges[:, :, 2:3]) & (pixel < edges[:, :, 3:4])
    hidden = torch.einsum("nri,nrj->nij", rows.float(), columns.float())
    return hidden == 0 if valid is None else (hidden == 0) & valid


def _turned(images: Tensor, changes: Changes) -> Tensor:
    """Return `images` (n, side, side) turned and mirrored."""
    if not changes.symmetry.any():
        return images
    turned = _turned_one_by_one if images.device.type == "cpu" else _turned_together
    return turned(images, changes.symmetry)


def _turned_one_by_one(images: Tensor, symmetry: NDArray[np.int64]) -> Tensor:
    """Return it with one copy of each image, which a CPU likes best."""
    changed = torch.empty_like(images)
    for image, to, each in zip(images, changed, symmetry.tolist(), strict=True):
        turned = torch.rot90(image, each % TURNS)
        to.copy_(turned.flip(1) if each >= TURNS else turned)
    return changed


def _turned_together(images: Tensor, symmetry: NDArray[np.int64]) -> Tensor:
    """Return it in three steps for all images, of which none waits for a GPU.

    A quarter turn is a transposition, then a reflection.
    """
    turns, mirrored = symmetry % TURNS, symmetry >= TURNS
    steps = np.stack([turns % 2 == 1, (turns == 1) | (turns == 2), (turns >= 2) ^ mirrored])
    transposed, upside_down, left_right = on_device(steps, images.device)[:, :, None, None]
    images = torch.where(transposed, images.transpose(1, 2), images)
    images = torch.where(upside_down, images.flip(1), images)
    return torch.where(left_right, images.flip(2), images)


def _draw_gaps(rng: np.random.Generator) -> NDArray[np.float64]:
    """Return rectangles (rectangles, 4) of one image as parts of its side.

    Up to four lines through the image, in half of the images a beamstop and its holder, and in a
    quarter a strip at an edge, as where a window hangs over a frame.
    """
    gaps = np.zeros((RECTANGLES, 4))
    for line in range(rng.integers(1, LINES + 1)):
        gaps[line] = _strip(rng, rng.random(), rng.uniform(0, WIDEST_LINE))
    if rng.random() < 1 / 2:
        half = rng.uniform(0, WIDEST_STOP) / 2
        row, column = rng.uniform(1 / 2 - FARTHEST_STOP, 1 / 2 + FARTHEST_STOP, 2)
        gaps[LINES] = row - half, row + half, column - half, column + half
        holder = np.array([row - half / 4, row + half / 4, column, 1.0])
        gaps[LINES + 1] = holder if rng.random() < 1 / 2 else holder[[2, 3, 0, 1]]
    if rng.random() < 1 / 4:
        width = rng.uniform(0, WIDEST_EDGE)
        gaps[LINES + 2] = _strip(rng, rng.choice([0.0, 1.0 - width]), width)
    return gaps


def _strip(rng: np.random.Generator, first: float, width: float) -> NDArray[np.float64]:
    """Return rows or columns through the whole image."""
    lines, across = (first, first + width), (0.0, 1.0)
    return np.array((*lines, *across) if rng.random() < 1 / 2 else (*across, *lines))
