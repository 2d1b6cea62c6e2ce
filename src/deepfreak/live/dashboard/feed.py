"""The page that people look at and the figures for Prometheus, fed by a run."""

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deepfreak.live.messages import LedgerRow
from deepfreak.live.receive.intake import Notice
from deepfreak.live.run import RunCounts
from deepfreak.screening.policy import Policy
from deepfreak.screening.scores import Scores

if TYPE_CHECKING:
    from deepfreak.live.dashboard.metrics import Metrics
    from deepfreak.live.statistics import Statistics
    from deepfreak.models import Classifier


@dataclass(frozen=True, slots=True, kw_only=True)
class DashboardSettings:
    """Where the page is served; see `web`.

    Attributes
    ----------
    token
        What a browser must know; needed where others can reach the address.
    raster, serpentine
        As in `Statistics`.
    """

    host: str = "127.0.0.1"
    port: int = 8000
    token: str | None = None
    raster: tuple[int, int] | None = None
    serpentine: bool = False


class DashboardFeed:
    """Tells the dashboard and Prometheus what happens."""

    def __init__(self, statistics: "Statistics", metrics: "Metrics") -> None:
        self._tally, self._metrics = statistics, metrics
        self._dropped = 0

    def add(self, rows: Sequence[LedgerRow]) -> None:
        """Count what the ledger has."""
        self._dropped += sum(row.outcome.decision == "dropped" for row in rows)
        self._tally.add(rows)
        self._metrics.add(rows)

    def notice(self, event: Notice) -> None:
        """Note what a source has said."""
        self._tally.notice(event)

    def count(self, counts: RunCounts) -> None:
        """Take the state of the run."""
        self._tally.set_counts(
            duplicates=counts.duplicates,
            missed=counts.missed,
            dropped=self._dropped,
            waiting=counts.waiting,
            capacity=counts.capacity,
            workers=counts.workers,
        )
        self._metrics.set_counts(
            duplicates=counts.duplicates,
            missed=counts.missed,
            troubles=counts.troubles,
            waiting=counts.waiting,
        )


def serve_dashboard(
    stack: ExitStack,
    dashboard: DashboardSettings,
    model: "Classifier",
    *,
    model_file: Path | None,
    policy: Policy,
    scores: Scores,
    metadata: dict[str, Any],
) -> tuple[DashboardFeed, str]:
    """Begin to serve the page; return who tells it what happens, and where it is."""
    from deepfreak.live.dashboard.app import make_app
    from deepfreak.live.dashboard.classify_upload import UploadClassifier
    from deepfreak.live.dashboard.metrics import Metrics
    from deepfreak.live.dashboard.security import security_for
    from deepfreak.live.dashboard.server import serve
    from deepfreak.live.statistics import Statistics

    security = security_for(dashboard.host, dashboard.token)
    statistics = Statistics(
        classes=model.classes,
        metadata=metadata,
        levels=scores.levels,
        raster=dashboard.raster,
        serpentine=dashboard.serpentine,
    )
    metrics = Metrics()
    judge = UploadClassifier(model_file, policy)
    stack.callback(judge.close)
    app = make_app(
        statistics=statistics,
        metrics=metrics.text,
        classify=judge,
        security=security,
    )
    handle = serve(app, host=dashboard.host, port=dashboard.port)
    stack.callback(handle.stop)
    return DashboardFeed(statistics, metrics), handle.address
