"""Whether a hit rate has fallen, or only looks so by chance."""

import numpy as np
from numpy.typing import NDArray

from deepfreak.models.evaluation import Proportion


def dispersion(kept: NDArray[np.int64], judged: NDArray[np.int64]) -> float:
    """Return how much more a hit rate varies than by counting alone; 1 where that explains it.

    Pearson's chi squared of the rates of the bins about their mean, by degree of freedom. Crystals
    come in clusters: without this, every cluster and every gap between two would be significant.

    Parameters
    ----------
    kept, judged
        Frames by bin of time, (n,).
    """
    full = judged > 0
    total = judged[full].sum()
    rate = kept[full].sum() / total if total else 0.0
    if full.sum() < 2 or not 0.0 < rate < 1.0:
        return 1.0
    expected = judged[full] * rate
    chi_squared = ((kept[full] - expected) ** 2 / (expected * (1.0 - rate))).sum()
    return float(max(1.0, chi_squared / (full.sum() - 1)))


def chance_of_fall(before: Proportion, recent: Proportion, *, spread: float = 1.0) -> float:
    """Return how likely so few of `recent` are hits, if they are drawn from the same as `before`.

    The one-sided exact test of two binomials that are conditioned on their sum (Fisher's): the
    lower tail of a hypergeometric distribution. `spread` is their `dispersion`; frames that come
    in clusters count for fewer. 1 where either is empty.
    """
    from scipy.special import gammaln

    n_before, n_recent = round(before.total / spread), round(recent.total / spread)
    if n_before == 0 or n_recent == 0:
        return 1.0
    k_recent = round(n_recent * recent.value)
    hits = round(n_before * before.value) + k_recent
    least = max(0, hits - n_before)
    k = np.arange(least, k_recent + 1)

    def log_choose(n: int, r: NDArray[np.int64]) -> NDArray[np.float64]:
        chosen: NDArray[np.float64] = gammaln(n + 1) - gammaln(r + 1) - gammaln(n - r + 1)
        return chosen

    logs = log_choose(n_recent, k) + log_choose(n_before, hits - k)
    logs -= log_choose(n_before + n_recent, np.array([hits]))
    return float(min(1.0, np.exp(logs).sum()))
