"""The board: the page that people look at and the figures for Prometheus, fed by a run."""

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deepfreak.live.events import Recorded
from deepfreak.live.intake import Notice
from deepfreak.live.run import Counts
from deepfreak.screening.policy import Policy
from deepfreak.screening.scores import Scores

if TYPE_CHECKING:
    from deepfreak.live.sinks.metrics import Metrics
    from deepfreak.live.tally import Tally
    from deepfreak.models import Classifier


@dataclass(frozen=True, slots=True, kw_only=True)
class Dashboard:
    """Where the page is served; see `web`.

    Attributes
    ----------
    token
        What a browser must know; needed where others can reach the address.
    raster
        As in `Tally`.
    serpentine
        Every second row of the raster runs backwards.
    """

    host: str = "127.0.0.1"
    port: int = 8000
    token: str | None = None
    raster: tuple[int, int] | None = None
    serpentine: bool = False


class Board:
    """Tells the dashboard and Prometheus what happens."""

    def __init__(self, tally: "Tally", metrics: "Metrics") -> None:
        self._tally, self._metrics = tally, metrics
        self._left_out = 0

    def add(self, rows: Sequence[Recorded]) -> None:
        """Count what the ledger has."""
        self._left_out += sum(row.outcome.decision == "left-out" for row in rows)
        self._tally.add(rows)
        self._metrics.add(rows)

    def notice(self, event: Notice) -> None:
        """Note what a source has said."""
        self._tally.notice(event)

    def count(self, counts: Counts) -> None:
        """Take the state of the run."""
        self._tally.set_counts(
            duplicates=counts.duplicates,
            missed=counts.missed,
            left_out=self._left_out,
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


def serve_board(
    stack: ExitStack,
    dashboard: Dashboard,
    model: "Classifier",
    *,
    model_file: Path | None,
    policy: Policy,
    scores: Scores,
    facts: dict[str, Any],
) -> tuple[Board, str]:
    """Begin to serve the page; return who tells it what happens, and where it is."""
    from deepfreak.live.sinks.metrics import Metrics
    from deepfreak.live.tally import Tally
    from deepfreak.live.web.app import make_app
    from deepfreak.live.web.judging import UploadJudge
    from deepfreak.live.web.security import security_for
    from deepfreak.live.web.server import serve

    security = security_for(dashboard.host, dashboard.token)
    tally = Tally(
        classes=model.classes,
        facts=facts,
        levels=scores.levels,
        raster=dashboard.raster,
        serpentine=dashboard.serpentine,
    )
    metrics = Metrics()
    judge = UploadJudge(model_file, policy)
    stack.callback(judge.close)
    app = make_app(
        tally=tally,
        metrics=metrics.text,
        classify=judge,
        security=security,
    )
    handle = serve(app, host=dashboard.host, port=dashboard.port)
    stack.callback(handle.stop)
    return Board(tally, metrics), handle.address
