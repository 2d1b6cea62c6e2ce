"""What Prometheus reads: counters, a histogram of latency, and gauges."""

from collections import Counter, deque
from collections.abc import Sequence
from typing import Any

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Gauge,
    Histogram,
    generate_latest,
)
from prometheus_client import Counter as Count

from deepfreak.live.messages import DECISIONS, LedgerRow, Notice, RunCounts

LATENCIES_S = (0.002, 0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)
RECENT = 1000  # frames with a verdict, over which the hit rate is taken

_VERDICTS = frozenset({"keep", "discard", "unsure"})


class Metrics:
    """Counts of this process; each of the model's `classes` is shown from the start."""

    def __init__(self, classes: tuple[str, ...] = ()) -> None:
        self._registry = CollectorRegistry(auto_describe=True)
        new: dict[str, Any] = {"registry": self._registry}
        frames = Count(
            "deepfreak_frames",
            "Frames by decision; dropped: the machine could not keep up.",
            ["decision"],
            **new,
        )
        self._decisions = {name: frames.labels(name) for name in DECISIONS}
        self._by_label = Count(
            "deepfreak_frames_by_label",
            "Frames with a verdict, by the class that the model gives them.",
            ["label"],
            **new,
        )
        for name in classes:
            self._by_label.labels(name)
        self._saturated = Count(
            "deepfreak_frames_saturated",
            "Frames with more pixels over the largest trusted count than a few spots have.",
            **new,
        )
        self._latency = Histogram(
            "deepfreak_latency_seconds",
            "From a frame's receipt to its verdict.",
            buckets=LATENCIES_S,
            **new,
        )
        self._duplicates = _Total(
            "deepfreak_frames_duplicate", "Frames that had been received before.", **new
        )
        self._troubles = _Total(
            "deepfreak_messages_malformed",
            "Messages that could not be understood, and connections that were lost.",
            **new,
        )
        # no counter: a frame that comes late is missed no longer
        self._missed = Gauge(
            "deepfreak_frames_missed", "Frames that never reached us, by number.", **new
        )
        self._waiting = Gauge("deepfreak_queue_frames", "Frames that wait to be looked at.", **new)
        self._hit_rate = Gauge(
            "deepfreak_hit_ratio",
            f"Share of the last {RECENT} frames with a verdict that are kept; NaN before any.",
            **new,
        )
        self._hit_rate.set(float("nan"))
        self._recent: deque[bool] = deque(maxlen=RECENT)

    def add(self, rows: Sequence[LedgerRow]) -> None:
        """Count a batch of outcomes."""
        outcomes = [row.outcome for row in rows]
        for decision, count in Counter(outcome.decision for outcome in outcomes).items():
            self._decisions[decision].inc(count)
        looked_at = [outcome for outcome in outcomes if outcome.decision in _VERDICTS]
        for label, count in Counter(outcome.label for outcome in looked_at).items():
            if label is not None:
                self._by_label.labels(label).inc(count)
        self._saturated.inc(sum(outcome.saturated for outcome in outcomes))
        for outcome in looked_at:
            self._latency.observe(max(0.0, outcome.decided - outcome.received))
        if looked_at:
            self._recent.extend(outcome.decision == "keep" for outcome in looked_at)
            self._hit_rate.set(sum(self._recent) / len(self._recent))

    def notice(self, event: Notice) -> None:
        """Take no note of what a source has said: `count` has the numbers."""

    def count(self, counts: RunCounts) -> None:
        """Take over totals that others count, as they stand."""
        self._duplicates.raise_to(counts.duplicates)
        self._troubles.raise_to(counts.troubles)
        self._missed.set(counts.missed)
        self._waiting.set(counts.waiting)

    def text(self) -> tuple[bytes, str]:
        """Return the page and its content type."""
        return generate_latest(self._registry), CONTENT_TYPE_LATEST


class _Total(Count):
    """A counter whose value is counted elsewhere."""

    total = 0

    def raise_to(self, value: int) -> None:
        """Set it to `value`; a counter never falls."""
        if value > self.total:
            self.inc(value - self.total)
            self.total = value
