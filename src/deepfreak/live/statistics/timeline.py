"""How a run went, as curves of some dozens of points."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from deepfreak.live.messages import DECISIONS
from deepfreak.live.statistics.bins import Counts, TimeBins
from deepfreak.live.statistics.columns import DROPPED, JUDGED, KEEP, Columns
from deepfreak.live.statistics.latency import quantile_ms
from deepfreak.models.evaluation import Proportion

# Of a shorter part of the last point, and fewer seconds, nothing can be told yet.
_MIN_OF_LAST, _MIN_S = 0.4, 10.0
_DECIMALS = 4
JUDGED_COLUMNS = [i for i, decision in enumerate(DECISIONS) if decision in JUDGED]
_ALL_COLUMNS = range(len(DECISIONS))


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """A stretch of time up to now as `points` points of `group` bins each."""

    name: str
    points: int
    group: int


def timeline(bins: TimeBins, span: Span, columns: Columns, now: float) -> dict[str, Any]:
    """Return the curves of a stretch of time as lists, one value a point, None where unknown.

    `start` and `width_s` say when the points are; the rates of the last one are of the part of it
    that has passed.
    """
    width = bins.width_s * span.group
    start, sums = bins.grouped(now, points=span.points, group=span.group)
    passed = np.full(span.points, width)
    passed[-1] = now - (start + width * (span.points - 1))
    if passed[-1] < min(_MIN_OF_LAST * width, _MIN_S):
        sums, passed = sums[:-1], passed[:-1]
    judged = sums[:, JUDGED_COLUMNS].sum(1)
    rates = [Proportion(int(k), int(n)) for k, n in zip(sums[:, KEEP], judged, strict=True)]
    labelled = sums[:, columns.of_classes]
    shares = labelled / np.maximum(labelled.sum(1, keepdims=True), 1)
    latencies = sums[:, columns.latency]
    return {
        "name": span.name,
        "start": start,
        "width_s": width,
        "points": span.points,
        "judged": judged.tolist(),
        "hit_rate": [_known(rate.value, rate.total) for rate in rates],
        "low": [_known(rate.interval[0], rate.total) for rate in rates],
        "high": [_known(rate.interval[1], rate.total) for rate in rates],
        "classes": {
            name: [_known(share, int(n)) for share, n in zip(shares[:, i], judged, strict=True)]
            for i, name in enumerate(columns.classes)
        },
        "rate_hz": _rates(sums[:, _ALL_COLUMNS].sum(1), passed),
        "dropped_hz": _rates(sums[:, DROPPED], passed),
        "p50_ms": [_rounded(quantile_ms(row, 0.5)) for row in latencies],
        "p99_ms": [_rounded(quantile_ms(row, 0.99)) for row in latencies],
    }


def _rates(counts: Counts, passed: Any) -> list[float]:  # noqa: ANN401 - float64 (n,)
    return [round(float(rate), 2) for rate in counts / passed]


def _known(value: float, total: int) -> float | None:
    return round(float(value), _DECIMALS) if total else None


def _rounded(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.4g}")
