"""Augmentation as physics allows: rotations, flips, other intensities, missing pixels."""

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from deepfreak.networks.batches import on_device
from deepfreak.networks.configuration import Augmentation

QUARTERS = 4

# Missing pixels are those of a fixed number of rectangles, some of them empty.
LINES = 4
RECTANGLES = LINES + 3
# In parts of the image's side: widths of a gap between modules, of a strip at an edge and of a
# beamstop, and the beamstop's distance from the middle.
MAX_LINE, MAX_EDGE = 1 / 24, 1 / 3
MAX_STOP, MAX_STOP_DISTANCE = 1 / 8, 1 / 16


class Changes(NamedTuple):
    """The changes to each image of a batch.

    `symmetry` (n,): number of quarter rotations, plus 4 if then flipped; `intensity` (n,): factor
    on counts; `gaps` (n, rectangles, 4): first and last + 1 row and column of missing rectangles,
    as parts of the side, or None.
    """

    symmetry: NDArray[np.int64]
    intensity: NDArray[np.float64]
    gaps: NDArray[np.float64] | None = None

    def share(self, rank: int, count: int) -> "Changes":
        """Return the changes to the share of process `rank` of `count`."""
        images = len(self.symmetry) // count
        mine = slice(rank * images, (rank + 1) * images)
        gaps = None if self.gaps is None else self.gaps[mine]
        return Changes(self.symmetry[mine], self.intensity[mine], gaps)


def draw_changes(augmentation: Augmentation, count: int, rng: np.random.Generator) -> Changes:
    """Return random changes for `count` images, drawn on the host: the same for every device."""
    quarters = (
        rng.integers(0, QUARTERS, count) if augmentation.rotations else np.zeros(count, np.int64)
    )
    flips = rng.integers(0, 2, count) if augmentation.flips else np.zeros(count, np.int64)
    low, high = np.log(augmentation.intensity)
    intensity = np.exp(rng.uniform(low, high, count))
    gaps = None
    if augmentation.gaps:
        chosen = rng.random(count) < augmentation.gaps
        gaps = np.stack([_draw_gaps(rng) for _ in range(count)]) * chosen[:, None, None]
    return Changes(quarters + QUARTERS * flips, intensity, gaps)


def change(images: Tensor, changes: Changes, *, pedestal: float) -> Tensor:
    """Return `images` (n, side, side) of 0 to 255, roots of counts, changed; `pedestal` stays."""
    images = _rotated(images, changes)
    if (changes.intensity == 1).all():
        return images
    factor = on_device(changes.intensity.astype(np.float32), images.device)
    counts = images.float().square()
    scaled = pedestal + factor[:, None, None] * (counts - pedestal)
    return scaled.clamp(0, 255**2).sqrt()


def measured(
    changes: Changes, *, side: int, device: torch.device, valid: Tensor | None = None
) -> Tensor | None:
    """Return the valid pixels (n, side, side) of images once changed, None if all are valid."""
    if valid is not None:
        valid = _rotated(valid, changes)
    if changes.gaps is None or not changes.gaps.any():
        return valid
    edges = on_device(np.rint(changes.gaps * side).astype(np.int64), device)
    pixel = torch.arange(side, device=device)
    # (n, rectangles, side), then (n, side, side)
    rows = (pixel >= edges[:, :, 0:1]) & (pixel < edges[:, :, 1:2])
    columns = (pixel >= edges[:, :, 2:3]) & (pixel < edges[:, :, 3:4])
    hidden = torch.einsum("nri,nrj->nij", rows.float(), columns.float())
    return hidden == 0 if valid is None else (hidden == 0) & valid


def _rotated(images: Tensor, changes: Changes) -> Tensor:
    """Return `images` (n, side, side) rotated and flipped."""
    if not changes.symmetry.any():
        return images
    rotate = _rotated_one_by_one if images.device.type == "cpu" else _rotated_together
    return rotate(images, changes.symmetry)


def _rotated_one_by_one(images: Tensor, symmetry: NDArray[np.int64]) -> Tensor:
    """Return the images rotated one by one, which is fastest on a CPU."""
    changed = torch.empty_like(images)
    for image, to, each in zip(images, changed, symmetry.tolist(), strict=True):
        rotated = torch.rot90(image, each % QUARTERS)
        to.copy_(rotated.flip(1) if each >= QUARTERS else rotated)
    return changed


def _rotated_together(images: Tensor, symmetry: NDArray[np.int64]) -> Tensor:
    """Return all images rotated, transposed and then flipped, without waiting for a GPU."""
    quarters, flipped = symmetry % QUARTERS, symmetry >= QUARTERS
    steps = np.stack(
        [quarters % 2 == 1, (quarters == 1) | (quarters == 2), (quarters >= 2) ^ flipped]
    )
    transposed, upside_down, left_right = on_device(steps, images.device)[:, :, None, None]
    images = torch.where(transposed, images.transpose(1, 2), images)
    images = torch.where(upside_down, images.flip(1), images)
    return torch.where(left_right, images.flip(2), images)


def _draw_gaps(rng: np.random.Generator) -> NDArray[np.float64]:
    """Return missing rectangles (rectangles, 4) of one image as parts of its side.

    One to four lines through the image, in half of the images a beamstop and its holder, and in a
    quarter a strip at an edge, as where a window hangs over a frame.
    """
    gaps = np.zeros((RECTANGLES, 4))
    for line in range(rng.integers(1, LINES + 1)):
        gaps[line] = _strip(rng, rng.random(), rng.uniform(0, MAX_LINE))
    if rng.random() < 1 / 2:
        half = rng.uniform(0, MAX_STOP) / 2
        row, column = rng.uniform(1 / 2 - MAX_STOP_DISTANCE, 1 / 2 + MAX_STOP_DISTANCE, 2)
        gaps[LINES] = row - half, row + half, column - half, column + half
        holder = np.array([row - half / 4, row + half / 4, column, 1.0])
        gaps[LINES + 1] = holder if rng.random() < 1 / 2 else holder[[2, 3, 0, 1]]
    if rng.random() < 1 / 4:
        width = rng.uniform(0, MAX_EDGE)
        gaps[LINES + 2] = _strip(rng, rng.choice([0.0, 1.0 - width]), width)
    return gaps


def _strip(rng: np.random.Generator, first: float, width: float) -> NDArray[np.float64]:
    """Return rows or columns through the whole image."""
    lines, across = (first, first + width), (0.0, 1.0)
    return np.array((*lines, *across) if rng.random() < 1 / 2 else (*across, *lines))
