"""All that a frame shows at native resolution: as one object, and as numbers for models."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from deepfreak.evidence.blocks import BLOCK, Blocks, Plane, find_quantum, find_steps, measure_blocks
from deepfreak.evidence.lattice import TELLING_SCORE, Lattices, find_lattices
from deepfreak.evidence.peaks import Peaks, find_peaks
from deepfreak.evidence.rings import Rings, find_rings
from deepfreak.evidence.scale import PhotonScale, find_scale, point_sharpness
from deepfreak.formats.frame import Frame

PIXELS = BLOCK * BLOCK

_RESOLVED_PEAKS = 5  # off rings, below which no resolution is given
_RESOLVED_SHARE = 0.95  # of them have a larger d

MIN_PEAKS = 3  # fewer have no arrangement
_DRAWN = 10  # n peaks count by n / (n + 10): those of few mean little
_AT_EDGE = 1 / 13  # of the 13 x 13 pixels around a peak: a row is missing
_LINE_PX = 4.0
_SAMPLED_BLOCKS = 2000

THRESHOLDS = (5, 7, 10, 20)
_BLOCKS_Z = 5.0
_BRIGHT_SIGMA = 3.0  # of a block's excess


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


def arrangement(
    peaks: Peaks, planes: Planes, center: tuple[float, float] | None
) -> dict[str, float]:
    """Return numbers by name; each is about 0 where peaks are spread at random, nearer if few.

    edge_share
        Share of the peaks beside an edge, a gap or a masked pixel.
    fullest_line
        Largest share of the peaks in one band of 4 rows or columns, less that of one peak.
    spacing
        ln of the mean distance to the nearest peak over that of peaks at random: clusters are
        negative, lattices positive.
    brightness, radius
        How far peaks are where the frame is bright, or far from the centre: -1 to 1, by the rank of
        their blocks among all. A spot brightens its own block.
    falloff
        Rank correlation of z with the radius: crystals' spots fall off, -1 to 1.

    Without a centre the middle of the measured area takes its place.
    """
    names = ("edge_share", "fullest_line", "spacing", "brightness", "radius", "falloff")
    if len(peaks) < MIN_PEAKS or not planes.valid.any():
        return dict.fromkeys(names, 0.0)
    places = np.stack([peaks.slow, peaks.fast], axis=1)
    area = float(planes.valid.sum()) * BLOCK**2
    flat = np.arange(0, planes.valid.size, 1 + planes.valid.size // _SAMPLED_BLOCKS)
    flat = flat[planes.valid.reshape(-1)[flat] > 0]
    middles = (np.stack(np.divmod(flat, planes.valid.shape[1]), axis=1) + 0.5) * BLOCK
    about = middles.mean(axis=0) if center is None else np.array(center)
    radii = np.hypot(*(places - about).T)
    values = (
        float(np.mean(peaks.missing >= _AT_EDGE)),
        _fullest_line(places),
        _spacing(places, area),
        2 * _rank(_at(planes.level, places), planes.level.reshape(-1)[flat]) - 1,
        2 * _rank(radii, np.hypot(*(middles - about).T)) - 1,
        _correlation(peaks.z, radii),
    )
    weight = len(peaks) / (len(peaks) + _DRAWN)
    return {name: weight * value for name, value in zip(names, values, strict=True)}


def _at(plane: Plane, places: NDArray[np.float64]) -> NDArray[np.float64]:
    block = (places // BLOCK).astype(np.int64)
    slow, fast = np.clip(block, 0, np.array(plane.shape) - 1).T
    return np.asarray(plane[slow, fast])


def _rank(values: NDArray[np.float64], among: NDArray[np.float64]) -> float:
    """Return the mean share of `among` that is less than `values`; equal ones count half."""
    ordered = np.sort(among)
    below = np.searchsorted(ordered, values, side="left")
    up_to = np.searchsorted(ordered, values, side="right")
    return float(np.mean(below + up_to)) / 2 / len(ordered)


def _fullest_line(places: NDArray[np.float64]) -> float:
    most = max(int(np.bincount((axis // _LINE_PX).astype(np.int64)).max()) for axis in places.T)
    return (most - 1) / len(places)


def _spacing(places: NDArray[np.float64], area: float) -> float:
    nearest = cKDTree(places).query(places, k=2)[0][:, 1]
    at_random = 0.5 * np.sqrt(area / len(places))
    return float(np.log(max(float(nearest.mean()), 1.0) / at_random))


def _correlation(values: NDArray[np.float64], others: NDArray[np.float64]) -> float:
    """Return Spearman's rank correlation."""
    ranks = [np.argsort(np.argsort(one, kind="stable")) for one in (values, others)]
    return float(np.corrcoef(ranks[0], ranks[1])[0, 1])


def numbers(evidence: Evidence) -> dict[str, float]:
    """Return the evidence as finite numbers by name.

    None describes the detector: no gain, noise, level, size or number of hot pixels. Numbers of
    peaks n are ln(1 + n). Where there is nothing to measure a number is 0.
    """
    peaks, off = evidence.peaks, evidence.off_rings
    rings, planes = evidence.rings, evidence.planes
    valid = planes.valid > 0
    blocks = max(int(valid.sum()), 1)
    found: dict[str, float] = {}
    for z in THRESHOLDS:
        found[f"peaks_over_{z}"] = _log(np.count_nonzero(peaks.z >= z))
        found[f"off_rings_over_{z}"] = _log(np.count_nonzero(off.z >= z))
    found["crests"] = _log(evidence.crests)
    found["crest_share"] = evidence.crests / max(evidence.crests + len(peaks), 1)
    found["ring_share"] = rings.share
    found["ring_share_with_crests"] = rings.share_with_crests
    found["rings"] = _log(len(rings.radii_px))
    found["gathering"] = float(np.arcsinh(rings.gathering))
    found["gathering_of_crests"] = float(np.arcsinh(rings.gathering_of_crests))
    found["texture"] = rings.texture
    found["texture_of_all"] = rings.texture_of_all
    found["fullest_quarter"] = _fullest_quarter(off, planes.valid)
    found["lattice"] = float(np.arcsinh(evidence.lattices.score))
    for name, values in (
        ("z", np.log(off.z)),
        ("photons", np.log(np.maximum(off.photons, 1))),
        ("extent", np.log(np.maximum(off.extent_px, 1))),
        ("sharpness", off.sharpness),
        ("elongation", off.elongation),
    ):
        low, middle, high = _quartiles(values)
        if name != "photons":  # a gain that was estimated wrong would move it
            found[f"{name}_median"] = middle
        found[f"{name}_spread"] = high - low
    # what is as sharp as the point spread allows did not come through optics: zingers
    sharp = np.log(np.maximum(off.sharpness, 0.01) / evidence.point_sharpness)
    found["width_over_spread"] = -float(np.median(sharp)) if len(off) else 0.0
    found |= arrangement(off, planes, rings.center_px)
    found["strongest"] = float(np.log(off.z[0])) if len(off) else 0.0
    found["tenth_strongest"] = float(np.log(off.z[9])) if len(off) > 9 else 0.0
    found["significant_blocks"] = _log(np.count_nonzero(planes.significance >= _BLOCKS_Z))
    found["bright_blocks"] = np.count_nonzero(planes.excess[valid] >= _BRIGHT_SIGMA) / blocks
    found["significant_share"] = np.count_nonzero(planes.significance >= _BLOCKS_Z) / blocks
    return found


def _log(number: float | np.integer) -> float:
    return float(np.log1p(number))


def _quartiles(values: NDArray[np.float64]) -> tuple[float, float, float]:
    if not len(values):
        return 0.0, 0.0, 0.0
    low, middle, high = np.percentile(values, (25, 50, 75))
    return float(low), float(middle), float(high)


def _fullest_quarter(peaks: Peaks, valid: NDArray[np.float64]) -> float:
    """Return the largest share of the peaks in one quarter of the frame, a quarter if even."""
    if not len(peaks):
        return 0.0
    height, width = (16 * side for side in valid.shape)
    quarter = 2 * (peaks.slow > height / 2) + (peaks.fast > width / 2)
    return float(np.bincount(quarter.astype(np.int64), minlength=4).max() / len(peaks))
