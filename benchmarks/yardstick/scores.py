"""What results are worth by the expert's labels, beside DIALS's numbers of spots."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import betaincinv
from scipy.stats import rankdata, spearmanr

from yardstick.labels import LABELS, Spots

DECISIONS = ("keep", "unsure", "discard")
EVEN = 0.5
ONE_THRESHOLD = 15  # spots, for all runs
Z_95 = 1.959963984540054


def auc_interval(auc: float, variance: float, fewest: int) -> tuple[float, float]:
    """Return the 95 % interval of an AUC by its variance, inside [0, 1].

    Where all pairs agree DeLong's variance is 0, which proves too much: then the exact bound
    (Clopper-Pearson) of the smaller class stands for it.
    """
    if variance <= 0 and auc in {0.0, 1.0}:
        return (_bound(fewest), 1.0) if auc else (0.0, 1 - _bound(fewest))
    half = Z_95 * math.sqrt(max(variance, 0.0))
    return max(auc - half, 0.0), min(auc + half, 1.0)


def _bound(count: int) -> float:
    """Return the lower end of the exact 95 % interval of a share, where all of `count` agree."""
    return float(betaincinv(count, 1, 0.025))


def delong(
    hits: NDArray[np.float64], misses: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the AUC of each score, and their covariance (DeLong et al. 1988; Sun and Xu 2014).

    Parameters
    ----------
    hits, misses
        (scores, frames): the scores of the same frames in each row. Ties count half.
    """
    m, n = hits.shape[1], misses.shape[1]
    both = rankdata(np.concatenate([hits, misses], axis=1), axis=1)
    over = (both[:, :m] - rankdata(hits, axis=1)) / n  # share of misses below each hit
    under = 1 - (both[:, m:] - rankdata(misses, axis=1)) / m
    auc: NDArray[np.float64] = over.mean(axis=1)

    def spread(parts: NDArray[np.float64]) -> NDArray[np.float64]:
        count = parts.shape[1]
        if count < 2:
            return np.full((len(parts), len(parts)), np.nan)
        return np.asarray(np.atleast_2d(np.cov(parts)) / count)

    return auc, spread(over) + spread(under)


def balanced(hits_kept: NDArray[np.bool_], misses_kept: NDArray[np.bool_]) -> float:
    """Return the mean of the shares of hits kept and of misses not kept."""
    return float((hits_kept.mean() + 1 - misses_kept.mean()) / 2)


def figures(
    rows: Mapping[int, Mapping[str, Any]],
    labels: Mapping[int, str],
    dials: Mapping[int, Spots] | None,
) -> dict[str, Any]:
    """Return what the results of a run are worth, by the expert's labels; JSON values.

    Hits and misses count; maybes are reported, and left out of AUC and balanced accuracy. `None`
    where there is nothing to compute from.
    """
    scored = {n: row for n, row in rows.items() if "p" in row and n in labels}
    numbers = {label: sorted(n for n in scored if labels[n] == label) for label in LABELS}
    hit, miss = numbers["hit"], numbers["miss"]
    decided = {
        label: {one: sum(scored[n]["decision"] == one for n in numbers[label]) for one in DECISIONS}
        for label in LABELS
    }
    found: dict[str, Any] = {
        "frames": {label: len(numbers[label]) for label in LABELS},
        "unreadable": sum("p" not in row for row in rows.values()),
        "decided": decided,
    }
    if not hit or not miss:
        return found

    def ours(name: str, group: list[int]) -> NDArray[Any]:
        return np.array([scored[n][name] for n in group])

    scores = [ours("p", hit)], [ours("p", miss)]
    if dials is not None:
        counts = {n: dials[n].count if n in dials else 0 for n in scored}
        for one, group in zip(scores, (hit, miss), strict=True):
            one.append(np.array([counts[n] for n in group], float))
    auc, covariance = delong(np.array(scores[0]), np.array(scores[1]))
    fewest = min(len(hit), len(miss))
    found["auc"] = _with_interval(auc[0], covariance[0, 0], fewest)
    kept = {name: ours("decision", group) for name, group in (("hit", hit), ("miss", miss))}
    if all(row["decision"] is not None for row in scored.values()):
        found["balanced_unsure_kept"] = balanced(
            kept["hit"] != "discard", kept["miss"] != "discard"
        )
        found["balanced_unsure_discarded"] = balanced(kept["hit"] == "keep", kept["miss"] == "keep")
    found["balanced_even"] = balanced(ours("p", hit) >= EVEN, ours("p", miss) >= EVEN)
    if dials is not None:
        found |= _beside_dials(auc, covariance, dials, hit, miss)
        peaks = [(row["peaks"], counts[n]) for n, row in scored.items() if row["peaks"] is not None]
        if len(peaks) > 2 and all(len(set(column)) > 1 for column in zip(*peaks, strict=True)):
            found["peaks_against_spots"] = float(spearmanr(np.array(peaks)).statistic)
    return found


def _beside_dials(
    auc: NDArray[np.float64],
    covariance: NDArray[np.float64],
    dials: Mapping[int, Spots],
    hit: list[int],
    miss: list[int],
) -> dict[str, Any]:
    """Return DIALS's figures on the same frames, and how far ours lie above."""
    none = Spots(count=0, hit=False)
    spots = [[dials.get(n, none) for n in group] for group in (hit, miss)]
    tuned = balanced(*(np.array([one.hit for one in group]) for group in spots))
    counts = (np.array([one.count for one in group]) for group in spots)
    at_one_threshold = balanced(*(count >= ONE_THRESHOLD for count in counts))
    variance = float(covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1])
    fewest = min(len(hit), len(miss))
    half = 1 - _bound(fewest) if variance <= 0 else Z_95 * math.sqrt(variance)
    difference = float(auc[0] - auc[1])
    return {
        "dials_auc": _with_interval(auc[1], covariance[1, 1], fewest),
        "auc_over_dials": [difference, difference - half, difference + half],
        "dials_tuned": tuned,
        "dials_at_one_threshold": at_one_threshold,
    }


def _with_interval(auc: float, variance: float, fewest: int) -> list[float]:
    return [float(auc), *auc_interval(float(auc), float(variance), fewest)]
