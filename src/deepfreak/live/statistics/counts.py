"""Counts of outcomes by bins of time, in rings that never grow, and what follows from them."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deepfreak.live.messages import DECISIONS, FrameOutcome
from deepfreak.models.evaluation import Proportion

Counts = NDArray[np.int64]


class TimeBins:
    """The last `count` bins of `width_s` seconds, each with a count for every column."""

    def __init__(self, *, width_s: float, count: int, columns: int) -> None:
        self.width_s = width_s
        self._counts = np.zeros((count, columns), np.int32)
        self._numbers = np.full(count, -1, np.int64)  # of the bin that each place holds

    def add(self, time: float, columns: Sequence[int]) -> None:
        """Count one more in each of `columns`, none of them twice, at `time`.

        What is older than the ring is long is not counted.
        """
        number = int(time // self.width_s)
        place = number % len(self._numbers)
        if self._numbers[place] > number:
            return
        if self._numbers[place] < number:
            self._counts[place] = 0
            self._numbers[place] = number
        self._counts[place, columns] += 1

    def forget_from(self, time: float) -> None:
        """Forget what was counted at `time` or later."""
        self._numbers[self._numbers >= int(time // self.width_s)] = -1

    def between(self, first: int, last: int) -> Counts:
        """Return the counts of bins number `first` to `last` - 1, (last - first, columns)."""
        numbers = np.arange(first, last)
        places = numbers % len(self._numbers)
        counts = self._counts[places].astype(np.int64)
        counts[self._numbers[places] != numbers] = 0
        return counts

    def last(self, end: float, seconds: float) -> Counts:
        """Return the counts of the bins of the last `seconds` to `end`, (bins, columns).

        The last of them is the one that `end` lies in.
        """
        number = int(end // self.width_s) + 1
        return self.between(number - max(1, round(seconds / self.width_s)), number)

    def grouped(self, end: float, *, points: int, group: int) -> tuple[float, Counts]:
        """Return `points` sums over `group` bins each, and when the first of them begins.

        Groups begin at multiples of their width, so that a sum does not change once it is whole;
        the last is the one that `end` lies in.
        """
        last = int(end // (self.width_s * group)) + 1
        first = last - points
        counts = self.between(first * group, last * group)
        sums: Counts = counts.reshape(points, group, -1).sum(1)
        return first * group * self.width_s, sums


# 16 buckets a decade from 0.1 ms to 100 s: within a bucket, 15 % wide, times are interpolated.
_BY_DECADE = 16
_MIN_MS = 0.1
BUCKETS = 6 * _BY_DECADE + 1


def bucket(ms: float) -> int:
    """Return the number of the bucket of a time; the first takes all that are shorter."""
    if not ms > _MIN_MS:  # also of clocks that disagree, and nan
        return 0
    return min(BUCKETS - 1, 1 + int(_BY_DECADE * math.log10(min(ms, 1e9) / _MIN_MS)))


def quantile_ms(counts: NDArray[np.integer[Any]], share: float) -> float | None:
    """Return the time in ms that `share` of those counted, (buckets,), do not exceed; None: none.

    At most the width of a bucket, 15 %, from what sorting all of them would give.
    """
    total = int(counts.sum())
    if total == 0:
        return None
    below = np.cumsum(counts)
    wanted = share * total
    number = int(np.searchsorted(below, wanted))
    inside = 1.0 - (below[number] - wanted) / counts[number]
    if number == 0:
        return _MIN_MS
    return float(_MIN_MS * 10 ** ((number - 1 + inside) / _BY_DECADE))


JUDGED = frozenset({"keep", "discard", "unsure"})
KEEP, DROPPED = DECISIONS.index("keep"), DECISIONS.index("dropped")
(SATURATED, ICE_KNOWN, ICE, LEVEL_KNOWN, OUTSIDE, SENT_KNOWN, WITHOUT_START, _FIRST_CLASS) = range(
    len(DECISIONS), len(DECISIONS) + 8
)


class Columns:
    """The columns for a model's `classes`; `levels` is the usual range of `FrameOutcome.level`."""

    def __init__(self, classes: tuple[str, ...], levels: tuple[float, float] | None = None) -> None:
        self.classes, self.levels = classes, levels
        self._of_class = {name: _FIRST_CLASS + i for i, name in enumerate(classes)}
        behind = _FIRST_CLASS + len(classes)
        self.of_classes = slice(_FIRST_CLASS, behind)  # in the model's order
        self.latency = slice(behind, behind + BUCKETS)  # of time from frame to verdict
        self.count = behind + BUCKETS

    def of(self, outcome: FrameOutcome) -> Sequence[int]:
        """Return the columns that an outcome counts in."""
        columns = [DECISIONS.index(outcome.decision)]
        if outcome.saturated:
            columns.append(SATURATED)
        if outcome.decision not in JUDGED:
            return columns
        label = self._of_class.get(outcome.label or "")
        if label is not None:
            columns.append(label)
        with_ice = (outcome.truth or {}).get("ice")
        if isinstance(with_ice, bool | int | float):
            columns.extend([ICE_KNOWN, ICE] if with_ice > 0 else [ICE_KNOWN])
        if outcome.level is not None and self.levels is not None:
            low, high = self.levels
            inside = low <= outcome.level <= high
            columns.extend([LEVEL_KNOWN] if inside else [LEVEL_KNOWN, OUTSIDE])
        if outcome.left_sender is not None:
            columns.append(SENT_KNOWN)
        if outcome.judged_without:
            columns.append(WITHOUT_START)
        columns.append(self.latency.start + bucket(outcome.latency_ms))
        return columns


def dispersion(kept: NDArray[np.int64], judged: NDArray[np.int64]) -> float:
    """Return how much more a hit rate varies than by counting alone; 1 where that explains it.

    Pearson's chi squared of the rates of the bins, (n,), about their mean, by degree of freedom.
    Crystals come in clusters: without this, every cluster and every gap would be significant.
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


# Of a shorter part of the last point, and fewer seconds, nothing can be told yet.
_MIN_OF_LAST, _MIN_S = 0.4, 10.0
_DECIMALS = 4
JUDGED_COLUMNS = [i for i, decision in enumerate(DECISIONS) if decision in JUDGED]
_ALL_COLUMNS = range(len(DECISIONS))


def timeline(
    bins: TimeBins, columns: Columns, now: float, *, name: str, points: int, group: int
) -> dict[str, Any]:
    """Return the curves of a time of `points` points of `group` bins each, None where unknown.

    `start` and `width_s` say when the points are; the rates of the last one are of the part of it
    that has passed.
    """
    width = bins.width_s * group
    start, sums = bins.grouped(now, points=points, group=group)
    passed = np.full(points, width)
    passed[-1] = now - (start + width * (points - 1))
    if passed[-1] < min(_MIN_OF_LAST * width, _MIN_S):
        sums, passed = sums[:-1], passed[:-1]
    judged = sums[:, JUDGED_COLUMNS].sum(1)
    rates = [Proportion(int(k), int(n)) for k, n in zip(sums[:, KEEP], judged, strict=True)]
    labelled = sums[:, columns.of_classes]
    shares = labelled / np.maximum(labelled.sum(1, keepdims=True), 1)
    latencies = sums[:, columns.latency]
    return {
        "name": name,
        "start": start,
        "width_s": width,
        "points": points,
        "judged": judged.tolist(),
        "hit_rate": [_known(rate.value, rate.total) for rate in rates],
        "low": [_known(rate.interval[0], rate.total) for rate in rates],
        "high": [_known(rate.interval[1], rate.total) for rate in rates],
        "classes": {
            of: [_known(share, int(n)) for share, n in zip(shares[:, i], judged, strict=True)]
            for i, of in enumerate(columns.classes)
        },
        "rate_hz": _hz(sums[:, _ALL_COLUMNS].sum(1), passed),
        "dropped_hz": _hz(sums[:, DROPPED], passed),
        "p50_ms": [_rounded(quantile_ms(row, 0.5)) for row in latencies],
        "p99_ms": [_rounded(quantile_ms(row, 0.99)) for row in latencies],
    }


def _hz(counts: Counts, passed: Any) -> list[float]:  # noqa: ANN401 - float64 (n,)
    return [round(float(rate), 2) for rate in counts / passed]


def _known(value: float, total: int) -> float | None:
    return round(float(value), _DECIMALS) if total else None


def _rounded(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.4g}")
