"""Peaks at native resolution: they rise over the noise around and are no hot pixels or crests."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from deepfreak.evidence.blocks import BLOCK, Blocks, Counts, Plane, Steps, Valid
from deepfreak.evidence.candidates import MIN_CANDIDATE_Z, find_candidates, sum_3
from deepfreak.evidence.judging import (
    CREST,
    HOT,
    JUDGED,
    MIN_BACKGROUND,
    NUMBERS,
    PART,
    PATCH,
    PEAK,
    WEAK,
    judge_candidates,
)
from deepfreak.evidence.scale import PhotonScale

MIN_Z = 5.0  # of a peak
_CANDIDATE_SIGMA = 3.0  # of one pixel over its block
_CANDIDATE_PHOTONS = 1.5  # the same in photons: two where the level is below a half
_MAX_CANDIDATES = 30_000  # the most significant ones are judged

# Parts of one spot: two peaks nearer than this, between which the 3 x 3 pixels do not fall below
# this share of the lower one's.
_NEAR_PX = 6.5
_VALLEY_SHARE = 0.7


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Peaks:
    """Peaks in the order of their significance, the highest first; arrays of one length."""

    # slow, fast: centre of mass in pixels from the frame's corner, a pixel's centre at + 0.5
    slow: NDArray[np.float64]
    fast: NDArray[np.float64]
    # Significance of the 3 x 3 or 5 x 5 pixels, whichever is larger, in standard deviations
    z: NDArray[np.float64]
    photons: NDArray[np.float64]  # excess over the background of 5 x 5 pixels
    # How many of 7 x 7 pixels are at least half as high as the highest
    extent_px: NDArray[np.float64]
    sharpness: NDArray[np.float64]  # share of the highest pixel in the excess of 3 x 3 pixels
    # (a - b) / (a + b) of the variances a and b along and across it: 0 is round, 1 a line
    elongation: NDArray[np.float64]
    # Share of the 13 x 13 pixels around that are not valid or not of the frame
    missing: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.slow)

    def take(self, which: NDArray[Any]) -> "Peaks":
        """Return some of the peaks, by their numbers or where `which` is true."""
        return Peaks(**{name: getattr(self, name)[which] for name in self.__slots__})


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Found:
    """All that was judged."""

    peaks: Peaks  # those with z of `MIN_Z` or more
    # Largest z of what is no hot pixel, crest or patch in each block (rows, columns); 0 where
    # nothing reaches 4
    significance: Plane
    hot: int  # how many candidates of `MIN_Z` or more are single pixels
    crests: NDArray[np.float64]  # places (n, slow and fast) of those that are lines or patches


def find_peaks(
    counts: Counts,
    valid: Valid,
    steps: Steps,
    blocks: Blocks,
    scale: PhotonScale,
    saturation: float | None,
) -> Found:
    """Return the peaks of a frame [slow, fast].

    A candidate is the highest of its 5 x 5 pixels, over its block by 3 sigma and up to 1.5 photons,
    and its 3 x 3 pixels have z of 4. Each is judged against the clipped mean and variance of the
    annulus of 13 x 13 less 7 x 7 pixels around it. z is `poisson_z` of the aperture's excess; its
    expected photons are (noise / photon)^2 a pixel, so that any noise counts as light. A peak has z
    of 5 in 3 x 3 or 5 x 5 pixels, 4.5 photons, and is none of:

    - a hot pixel: its eight neighbours have z < 3, or less than 3 % of its light. A spot of a
      single pixel looks the same;
    - a crest: in one of eight directions it continues on both sides;
    - a patch: over 20 % of the annulus are half as high;
    - a part of a spot: a more significant peak is less than 6.5 pixels away, and no valley between.
    """
    sigma = np.sqrt(blocks.variance)
    # few photons have a longer tail: one more, less where hardly any are expected
    tail = scale.photon * np.minimum(blocks.variance / scale.photon**2, 1.0)
    over = _CANDIDATE_SIGMA * sigma + tail
    if scale.photon >= 1 and steps.whole:
        over = np.maximum(over, _CANDIDATE_PHOTONS * scale.photon)
    threshold = steps.base + (blocks.level + over) * steps.step
    closed = blocks.share == 0
    if counts.dtype.kind in "iu":
        limits = np.iinfo(counts.dtype)
        # the largest float that is no larger than the type's limit: 2^63 - 1 is none
        largest = float(limits.max)
        largest = largest if int(largest) <= limits.max else float(np.nextafter(largest, 0))
        threshold = np.ceil(threshold)
        closed = closed | (threshold > largest)
        threshold = np.where(closed, 0, np.clip(threshold, limits.min, largest))
    pixels = steps.of(counts, valid)
    candidates = find_candidates(
        pixels,
        threshold.astype(counts.dtype),
        closed,
        blocks.level,
        np.maximum(blocks.variance / scale.photon**2, MIN_BACKGROUND) * scale.spread_3,
        scale.photon,
    )
    if len(candidates) > _MAX_CANDIDATES:
        order = np.argsort(-candidates[:, 2], kind="stable")[:_MAX_CANDIDATES]
        candidates = candidates[np.sort(order)]
    top = np.inf if saturation is None else (saturation - steps.base) / steps.step
    judged = np.zeros(len(candidates), JUDGED)
    judge_candidates(
        judged,
        pixels,
        candidates[:, :2].astype(np.int64),
        blocks.level,
        blocks.variance,
        scale,
        top,
        1.0 if steps.whole else 0.0,
    )
    _join_parts(counts, valid, judged, steps)
    return _found(judged, candidates, blocks.level.shape)


def _join_parts(counts: Counts, valid: Valid, judged: NDArray[Any], steps: Steps) -> None:
    """Mark peaks that are parts of a more significant one beside them."""
    peaks = np.flatnonzero(judged["kind"] == PEAK)
    peaks = peaks[np.argsort(-judged["z"][peaks], kind="stable")]
    places = np.stack([judged["slow"][peaks], judged["fast"][peaks]], axis=1)
    pairs = cKDTree(places).query_pairs(_NEAR_PX, output_type="ndarray")
    for stronger, weaker in sorted(map(tuple, np.sort(pairs, axis=1))):
        if judged["kind"][peaks[stronger]] != PEAK:
            continue
        i, j = ((places[stronger] + places[weaker]) / 2).astype(np.int64)
        row = judged[peaks[weaker]]
        level = steps.base + row["level"] * steps.step
        excess, pixels = sum_3(counts, valid, int(i), int(j), level)
        if pixels > 0 and excess / pixels >= _VALLEY_SHARE * row["height"] * steps.step:
            judged["kind"][peaks[weaker]] = PART


def _found(judged: NDArray[Any], candidates: Plane, shape: tuple[int, ...]) -> Found:
    kind, z = judged["kind"], judged["z"]
    significance = np.zeros(shape)
    spots = (kind == PEAK) | (kind == WEAK)
    place = candidates[spots, :2].astype(np.int64) // BLOCK
    np.maximum.at(significance, (place[:, 0], place[:, 1]), z[spots])
    kept = judged[(kind == PEAK) & (z >= MIN_Z)]
    kept = kept[np.lexsort((kept["fast"], kept["slow"], -kept["z"]))]
    lines = judged[((kind == CREST) | (kind == PATCH)) & (z >= MIN_Z)]
    return Found(
        peaks=Peaks(**{name: kept[name] for name in NUMBERS}),
        significance=np.where(significance >= MIN_CANDIDATE_Z, significance, 0.0),
        hot=int(np.count_nonzero((kind == HOT) & (z >= MIN_Z))),
        crests=np.stack([lines["slow"], lines["fast"]], axis=1),
    )
