"""What each block of a frame shows, as planes that a network may learn from."""

from dataclasses import dataclass

import numpy as np

from deepfreak.evidence.blocks import BLOCK, Blocks, Plane
from deepfreak.evidence.scale import PhotonScale

PIXELS = BLOCK * BLOCK


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Planes:
    """A number a block of 16 x 16 pixels, (rows, columns); those at the last edges may be smaller.

    Attributes
    ----------
    significance
        Largest z of what may be a spot; 0 where nothing reaches 4.
    excess
        Light over the level, in standard deviations of the sum of the block's pixels.
    level
        Photons a pixel that would make the block's noise by counting alone: the light itself where
        the detector counts photons, and free of any pedestal.
    valid
        Share of the pixels that measured something.
    """

    significance: Plane
    excess: Plane
    level: Plane
    valid: Plane


def make_planes(blocks: Blocks, scale: PhotonScale, significance: Plane) -> Planes:
    """Return the planes of a frame."""
    # half of the rows are read
    pixels = np.maximum(blocks.share * PIXELS / 2, 1.0)
    darkest = scale.photon**2 / PIXELS
    noise = np.sqrt(np.maximum(blocks.variance, darkest) / pixels)
    return Planes(
        significance=significance,
        excess=np.where(blocks.share > 0, blocks.excess / noise, 0.0),
        level=np.where(blocks.share > 0, blocks.variance / scale.photon**2, 0.0),
        valid=blocks.share,
    )
