"""Rings of peaks: powders, ice and calibrants, distinguished from crystals by their radii."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deepfreak.compiled import njit
from deepfreak.evidence.blocks import BLOCK, Plane

Places = NDArray[np.float64]

MIN_PEAKS = 12  # fewer show no ring
_SAME_PX = 4.0  # two peaks whose radii differ by less have the same
_OTHER_PX = (8.0, 24.0)  # how far radii differ that tell how many would do so by chance
_MAX_PEAKS = 200  # and as many crests tell the centre
_WIDTH_PX = 4.0  # of a radial bin
_GAP, _REACH = 1, 6  # bins: those nearer and farther than which are not a bin's surroundings
_OVER_Z = 3.5  # of a bin over its surroundings
_MIN_IN_BIN = 4
_SECTORS, _ANGLES = 16, 256
_GRID_PX = 16.0  # of the search for the centre, at least, and the width of its radial bins
_GRID_STEPS = 64  # along the longer side, at most
_FINE, _FINE_PEAKS = 2.0, 100.0  # a grid as fine as this for few peaks, this many use the plain one
_OFF_FRAME = 0.5  # of the frame's longer side, how far off it a centre is sought
_NEAR_PX = 80.0  # of the given centre: headers are that good
_BETTER_SHARE = 0.05  # that a sought centre must put on rings beyond the given one
_KEPT = 6  # centres of the grid that are refined
_FOUND_SHARE = 0.35  # of the peaks on rings, for a centre that was sought
_FOUND_SCORE = 4.0  # standard deviations


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Rings:
    """What lies on rings about one centre."""

    # (slow, fast) in pixels from the frame's corner; None where it is unknown
    center_px: tuple[float, float] | None
    origin: str  # "given", "found" (from half of the peaks), or "unknown"
    # Share of the peaks over their surroundings' number in over-full radial bins; of a found centre
    # only of those peaks that were not used to find it. 0 where the centre is unknown.
    share: float
    share_with_crests: float  # the same of peaks and crests together
    on_ring: NDArray[np.bool_]  # of each peak, whether it lies in an over-full bin
    radii_px: NDArray[np.float64]  # middles of the over-full bins
    # How unevenly the peaks off the rings lie around the centre: the variance over the mean of
    # their numbers in 16 sectors of equal measured area, less one, over their number; 0 is even, 1
    # all in a sixteenth. 0 where too few.
    texture: float
    texture_of_all: float  # the same of all peaks
    # How many more pairs of peaks have the same radius than by chance, in standard deviations,
    # about the given centre or the one that is sought, believed or not; of a sought one by those
    # peaks that were not used to find it. No threshold: a few grains show it, too.
    gathering: float
    gathering_of_crests: float  # the same of crests, about the centre that counts


def find_rings(
    places: Places,
    crests: Places,
    shape: tuple[int, int],
    valid: Plane,
    given: tuple[float, float] | None,
    *,
    seek: bool = True,
) -> Rings:
    """Return the rings of peaks at `places` (n, slow and fast), the most significant first.

    Radii fall into bins of 4 pixels. A bin is over-full where it holds 4 peaks or more and over
    3.5 standard deviations more than is expected from the 5 bins on each side beyond the next. The
    centre is sought with every second peak and crest, and believed for what the others say: at
    least 35 % of them must be on rings. It is sought within 80 pixels of a given one
    (and must then put 5 % more on rings), without one anywhere up to half a frame off the frame.

    `crests` are places of what continues as a line, as smooth rings do; `shape` that of the frame;
    `valid` the share of each block that is measured; `given` the centre (slow, fast) of the header.
    With a crystal no centre is looked for (`seek`): its zones lie on circles, too.
    """
    none = Rings(
        center_px=given,
        origin="unknown" if given is None else "given",
        share=0.0,
        share_with_crests=0.0,
        on_ring=np.zeros(len(places), np.bool_),
        radii_px=np.zeros(0),
        texture=0.0,
        texture_of_all=0.0,
        gathering=gathering(places, given),
        gathering_of_crests=gathering(crests[:_MAX_PEAKS], given),
    )
    if len(places) < MIN_PEAKS:
        return none
    lines = crests[:: max(1, -(-len(crests) // max(len(places), _MAX_PEAKS)))]
    used = np.concatenate([places[::2][:_MAX_PEAKS], lines[::2][:_MAX_PEAKS]])
    others, other_lines = places[1::2], lines[1::2]
    best: tuple[OverFull | None, tuple[float, float] | None, str] = None, given, none.origin
    gathered_by = none.gathering
    if not seek:
        best = None if given is None else over_full(places, lines, given), given, none.origin
    elif given is not None:
        plain = over_full(places, lines, given)
        near = _grid(np.array(given) - _NEAR_PX, np.array(given) + _NEAR_PX, _GRID_PX)
        sought = _sought(used, near, _GRID_PX)
        found = over_full(others, other_lines, sought)
        gathered_by = max(gathered_by, gathering(others, sought))
        better = found.believed and found.share_of_all > plain.share_of_all + _BETTER_SHARE
        best = (found, sought, "found") if better else (plain, given, "given")
    else:
        # few peaks show a ring only where the centre is right, and cost little
        finer = min(max(np.sqrt(_FINE_PEAKS / len(used)), 1.0), _FINE)
        off, step = _OFF_FRAME * max(shape), max(_GRID_PX, max(shape) / _GRID_STEPS) / finer
        sought = _sought(used, _grid(np.full(2, -off), np.array(shape) + off, step), step)
        found = over_full(others, other_lines, sought)
        gathered_by = gathering(others, sought)
        if found.believed:
            best = found, sought, "found"
    counted, center, origin = best
    if counted is None or center is None:
        return replace(none, gathering=gathered_by)
    full = over_full(places, lines, center)
    texture, texture_of_all = _textures(places, full.on_ring, center, valid)
    return Rings(
        center_px=center,
        origin=origin,
        share=counted.share,
        share_with_crests=counted.share_of_all,
        on_ring=full.on_ring,
        radii_px=full.radii_px,
        texture=texture,
        texture_of_all=texture_of_all,
        gathering=gathered_by,
        gathering_of_crests=gathering(crests[:_MAX_PEAKS], center),
    )


def _radii(places: Places, center: tuple[float, float]) -> NDArray[np.float64]:
    return np.asarray(np.hypot(places[:, 0] - center[0], places[:, 1] - center[1]))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class OverFull:
    """What lies in over-full radial bins about a centre."""

    # share, share_of_all: share of the peaks, and of peaks and lines, over what is expected
    share: float
    share_of_all: float
    on_ring: NDArray[np.bool_]  # of each peak, whether it lies in such a bin
    radii_px: NDArray[np.float64]  # middles of the bins
    believed: bool  # whether peaks and lines together say that this is a centre of rings


def over_full(places: Places, lines: Places, center: tuple[float, float]) -> OverFull:
    """Return what is on rings about `center`: which bins are, peaks and lines say together.

    Bins begin at 0 and at half a width; the beginning with the larger share counts, as a ring may
    lie across two bins.
    """
    own = _radii(places, center) / _WIDTH_PX
    both = np.concatenate([own, _radii(lines, center) / _WIDTH_PX])
    found = [_over_full(own, both, start) for start in (0.0, 0.5)]
    return max(found, key=lambda one: one.share_of_all)


def _over_full(own: NDArray[np.float64], both: NDArray[np.float64], start: float) -> OverFull:
    """Return what lies in over-full bins, which begin at `start`; radii in widths of bins."""
    bins = np.floor(both + start).astype(np.int64)
    counts = np.bincount(bins, minlength=1).astype(np.float64)
    expected = _surroundings(counts)
    z = (counts - expected) / np.sqrt(np.maximum(expected, 0.5))
    full = (z > _OVER_Z) & (counts >= _MIN_IN_BIN)
    excess = float((counts - expected)[full].sum())
    peaks = np.bincount(bins[: len(own)], minlength=len(counts)).astype(np.float64)
    share = float((peaks - _surroundings(peaks))[full].sum()) / max(len(own), 1)
    share_of_all = excess / max(len(both), 1)
    score = excess / np.sqrt(max(float(expected[full].sum()), 1.0))
    return OverFull(
        share=max(share, 0.0),
        share_of_all=share_of_all,
        on_ring=full[bins[: len(own)]],
        radii_px=np.asarray(np.flatnonzero(full) + 0.5 - start, np.float64) * _WIDTH_PX,
        believed=share_of_all >= _FOUND_SHARE and bool(score > _FOUND_SCORE),
    )


def _surroundings(counts: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return what each bin would hold if it were as its surroundings."""
    kernel = np.ones(2 * _REACH + 1)
    kernel[_REACH - _GAP : _REACH + _GAP + 1] = 0
    long = np.pad(counts, _REACH)
    number = np.convolve(np.pad(np.ones(len(counts)), _REACH), kernel, mode="valid")
    total = np.convolve(long, kernel, mode="valid")
    # full bins raise their neighbours' surroundings: each counts for at most three times the mean
    mean = total / np.maximum(number, 1)
    capped = np.minimum(counts, 3 * mean + 1)
    total = np.convolve(np.pad(capped, _REACH), kernel, mode="valid")
    return np.asarray(total / np.maximum(number, 1))


def gathering(places: Places, center: tuple[float, float] | None) -> float:
    """Return how many more pairs of `places` have the same radius than by chance, in sigma.

    Pairs whose radii differ by less than 4 pixels are compared with those that differ by 8 to 24.
    Pairs less than 24 pixels from each other do not count: parts of one spot have the same radius.
    """
    if center is None or len(places) < 3:
        return 0.0
    order = np.argsort(_radii(places, center))
    same, other = _pairs(places[order], _radii(places[order], center))
    share = _SAME_PX / (_OTHER_PX[1] - _OTHER_PX[0])
    return float((same - share * other) / np.sqrt(share * (1 + share) * other + 1.0))


@njit(cache=True, nogil=True, error_model="numpy")
def _pairs(places: Places, radii: NDArray[np.float64]) -> tuple[int, int]:
    """Return how many pairs have the same and nearly the same radius; `radii` rise."""
    same = other = 0
    for a in range(len(radii)):
        b = a + 1
        while b < len(radii) and radii[b] - radii[a] < _OTHER_PX[1]:
            difference = radii[b] - radii[a]
            slow, fast = places[b, 0] - places[a, 0], places[b, 1] - places[a, 1]
            if slow * slow + fast * fast >= _OTHER_PX[1] ** 2:
                same += difference < _SAME_PX
                other += difference >= _OTHER_PX[0]
            b += 1
    return same, other


def _grid(first: Places, last: Places, step: float) -> Places:
    slow, fast = (np.arange(a, b + step, step) for a, b in zip(first, last, strict=True))
    return np.stack(np.meshgrid(slow, fast, indexing="ij"), axis=-1).reshape(-1, 2)


def _sought(places: Places, grid: Places, step: float) -> tuple[float, float]:
    """Return the centre about which the radii of `places` gather most, from a grid of centres."""
    centers = grid[np.argsort(-gathered(places, grid, step), kind="stable")[:_KEPT]]
    # refined by halving steps and widths of bins
    around = np.stack(np.meshgrid([-1, 0, 1], [-1, 0, 1], indexing="ij"), axis=-1).reshape(-1, 2)
    while True:
        width = max(step, _WIDTH_PX)
        near = (centers[:, None] + step * around[None]).reshape(-1, 2)
        scores = gathered(places, near, width)
        centers = near[np.argsort(-scores, kind="stable")[: len(centers)]]
        if step <= _WIDTH_PX / 4:
            return float(centers[0, 0]), float(centers[0, 1])
        step /= 2


@njit(cache=True, nogil=True, error_model="numpy")
def gathered(places: Places, centers: Places, width: float) -> NDArray[np.float64]:
    """Return how far the radii about each centre gather: sum over bins of (n - m)^2 / (m + 1).

    n is a bin's number, m the mean of the two to five bins away on both sides; only n > m counts.
    """
    longest = 0.0
    for c in range(len(centers)):
        for p in range(len(places)):
            slow, fast = places[p, 0] - centers[c, 0], places[p, 1] - centers[c, 1]
            longest = max(longest, slow * slow + fast * fast)
    size = int(np.sqrt(longest) / width) + 14
    scores = np.zeros(len(centers))
    counts, last = np.zeros(size), np.full(size, -1)
    touched = np.empty(2 * len(places), np.int64)
    for c in range(len(centers)):
        for p in range(len(places)):
            slow, fast = places[p, 0] - centers[c, 0], places[p, 1] - centers[c, 1]
            # shared between the two nearest bins
            at = np.sqrt(slow * slow + fast * fast) / width + 4.5
            k = int(at)
            rest = at - k
            counts[k] += 1.0 - rest
            counts[k + 1] += rest
            touched[2 * p], touched[2 * p + 1] = k, k + 1
        for at_bin in touched:
            if last[at_bin] == c or at_bin < 5:
                continue
            last[at_bin] = c
            m = counts[at_bin - 5] + counts[at_bin - 4] + counts[at_bin - 3] + counts[at_bin - 2]
            m += counts[at_bin + 2] + counts[at_bin + 3] + counts[at_bin + 4] + counts[at_bin + 5]
            m /= 8
            if counts[at_bin] > m:
                scores[c] += (counts[at_bin] - m) ** 2 / (m + 1.0)
        for at_bin in touched:
            counts[at_bin] = 0.0
    return scores


def _textures(
    places: Places, on_ring: NDArray[np.bool_], center: tuple[float, float], valid: Plane
) -> tuple[float, float]:
    """Return how unevenly the peaks off rings, and all, lie around `center`; see `Rings.texture`.

    Sectors have equal measured area: where an angle is, is the area up to it.
    """
    rows, columns = np.indices(valid.shape)
    middles = np.stack([(rows + 0.5) * BLOCK, (columns + 0.5) * BLOCK], axis=-1).reshape(-1, 2)
    far = float(_radii(places, center).max())
    weights = np.where(_radii(middles, center) <= far, valid.reshape(-1), 0.0)
    fine = (_turns(middles, center) * _ANGLES).astype(np.int64) % _ANGLES
    area = np.append(0.0, np.cumsum(np.bincount(fine, weights=weights, minlength=_ANGLES)))
    if area[-1] <= 0:
        return 0.0, 0.0
    at = np.interp(_turns(places, center) * _ANGLES, np.arange(_ANGLES + 1), area / area[-1])
    sectors = np.minimum((at * _SECTORS).astype(np.int64), _SECTORS - 1)
    return _texture(sectors[~on_ring]), _texture(sectors)


def _texture(sectors: NDArray[np.int64]) -> float:
    if len(sectors) < MIN_PEAKS:
        return 0.0
    counts = np.bincount(sectors, minlength=_SECTORS)
    expected = len(sectors) / _SECTORS
    excess = float(((counts - expected) ** 2).mean()) / expected - 1.0
    return max(excess / ((_SECTORS - 1) * expected), 0.0)


def _turns(places: NDArray[Any], center: tuple[float, float]) -> NDArray[np.float64]:
    angle = np.arctan2(places[:, 0] - center[0], places[:, 1] - center[1])
    return np.asarray(angle / (2 * np.pi) % 1.0)
