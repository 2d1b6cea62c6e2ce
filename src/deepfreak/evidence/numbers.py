"""The evidence as named numbers that a model may learn from."""

import numpy as np
from numpy.typing import NDArray

from deepfreak.evidence.arrangement import arrangement
from deepfreak.evidence.evidence import Evidence
from deepfreak.evidence.peaks import Peaks

THRESHOLDS = (5, 7, 10, 20)
_BLOCKS_Z = 5.0
_BRIGHT_SIGMA = 3.0  # of a block's excess


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
