"""All that a frame shows at native resolution, as one object."""

from dataclasses import dataclass

import numpy as np

from deepfreak.evidence.blocks import BLOCK, Blocks, Plane, find_quantum, find_steps, measure_blocks
from deepfreak.evidence.lattice import TELLING_SCORE, Lattices, find_lattices
from deepfreak.evidence.peaks import Peaks, find_peaks
from deepfreak.evidence.rings import Rings, find_rings
from deepfreak.evidence.scale import PhotonScale, find_scale, point_sharpness
from deepfreak.formats.frame import Frame

PIXELS = BLOCK * BLOCK

_RESOLVED_PEAKS = 5  # off rings, below which no resolution is given
_RESOLVED_SHARE = 0.95  # of them have a larger d


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Planes:
    """A number a block of 16 x 16 pixels, (rows, columns); the last ones may be smaller."""

    significance: Plane  # largest z of what may be a spot; 0 where nothing reaches 4
    excess: Plane  # light over the level, in standard deviations of the sum of the block's pixels
    # Photons a pixel that would make the block's noise by counting alone: the light itself where
    # the detector counts photons, and free of any pedestal
    level: Plane
    valid: Plane  # share of the pixels that measured something


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


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Evidence:
    """What one frame shows."""

    peaks: Peaks  # those with z of 5 or more, the most significant first
    rings: Rings  # which of them lie on rings
    lattices: Lattices  # whether those off rings repeat
    planes: Planes  # A number a block of 16 x 16 pixels
    hot_pixels: int  # candidates of one pixel: hot ones, or spots that look the same
    crests: int  # candidates that are lines or patches: rings, streaks, edges
    # `Peaks.sharpness` of what falls on one point, by the point spread that the noise shows
    point_sharpness: float
    photon: float  # counts of one photon: the header's gain, or estimated
    photon_known: bool  # whether the header says so
    noise: float  # standard deviation of a pixel in counts, the median of the blocks
    # Resolution within which 95 % of the peaks off rings lie; None where the geometry is unknown or
    # there are fewer than five
    d_min_A: float | None

    @property
    def off_rings(self) -> Peaks:
        """The peaks that lie on no ring."""
        return self.peaks.take(~self.rings.on_ring)


def find_evidence(frame: Frame) -> Evidence:
    """Return what `frame` shows, whole, at any size and of any type of counts.

    Only the header's gain, saturation and beam centre are used; the pedestal and, where the gain is
    unknown, the scale of the counts change nothing. The same frame gives the same bytes, whatever
    else runs.
    """
    counts, valid = np.ascontiguousarray(frame.counts), np.ascontiguousarray(frame.valid)
    steps = find_steps(counts, valid)
    blocks = measure_blocks(counts, valid, steps)
    photons = find_quantum(counts, valid, steps, blocks, frame.gain)
    if photons is not None:
        steps, blocks = photons, measure_blocks(counts, valid, photons)
    scale = find_scale(counts, valid, steps, blocks, frame.gain)
    found = find_peaks(counts, valid, steps, blocks, scale, frame.saturation)
    peaks = found.peaks
    places = np.stack([peaks.slow, peaks.fast], axis=1)
    height, width = counts.shape
    lattices = find_lattices(places)
    rings = find_rings(
        places,
        found.crests,
        (height, width),
        blocks.share,
        frame.beam_center_px,
        seek=lattices.score < TELLING_SCORE,
    )
    if rings.on_ring.any():
        lattices = find_lattices(places[~rings.on_ring])
    known = np.isfinite(blocks.measured)
    noise = float(np.sqrt(np.median(blocks.measured[known]))) if known.any() else 0.0
    return Evidence(
        peaks=peaks,
        rings=rings,
        lattices=lattices,
        planes=make_planes(blocks, scale, found.significance),
        hot_pixels=found.hot,
        crests=len(found.crests),
        point_sharpness=point_sharpness(scale.spread_3),
        photon=scale.photon * steps.step,
        photon_known=scale.known,
        noise=noise * steps.step,
        d_min_A=_d_min(frame, rings, places[~rings.on_ring]),
    )


def _d_min(frame: Frame, rings: Rings, places: np.ndarray) -> float | None:
    """Return lambda / (2 sin(theta)) at the radius within which most `places` lie."""
    center = rings.center_px
    wavelength, distance, pixel = frame.wavelength_A, frame.distance_mm, frame.pixel_size_mm
    if center is None or not wavelength or not distance or not pixel:
        return None
    if len(places) < _RESOLVED_PEAKS:
        return None
    radii = np.sort(np.hypot(places[:, 0] - center[0], places[:, 1] - center[1]))
    radius = float(radii[int(np.ceil(_RESOLVED_SHARE * len(radii))) - 1])
    sine = np.sin(np.arctan2(radius * pixel, distance) / 2)
    return float(wavelength / (2 * sine)) if sine > 0 else None
