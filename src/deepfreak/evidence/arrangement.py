"""How peaks are arranged: about the beam, beside each other, at edges and in the light."""

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from deepfreak.evidence.blocks import BLOCK, Plane
from deepfreak.evidence.peaks import Peaks
from deepfreak.evidence.planes import Planes

MIN_PEAKS = 3  # fewer have no arrangement
_DRAWN = 10  # n peaks count by n / (n + 10): those of few mean little
_AT_EDGE = 1 / 13  # of the 13 x 13 pixels around a peak: a row is missing
_LINE_PX = 4.0
_SAMPLED_BLOCKS = 2000


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
