"""The dashboard, put together: statistics, metrics, uploads, and their server."""

from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deepfreak.live.messages import RunObserver
from deepfreak.screening.calibration import Calibration
from deepfreak.screening.policy import Policy

if TYPE_CHECKING:
    from deepfreak.models import Classifier


@dataclass(frozen=True, slots=True, kw_only=True)
class DashboardSettings:
    """Where the dashboard is served.

    Attributes
    ----------
    token
        Secret that browsers must present; required for an address that others can reach.
    raster
        Rows and columns of a raster scan.
    serpentine
        Every second row of the raster scan runs backwards.
    """

    host: str = "127.0.0.1"
    port: int = 8000
    token: str | None = None
    raster: tuple[int, int] | None = None
    serpentine: bool = False


def serve_dashboard(
    stack: ExitStack,
    dashboard: DashboardSettings,
    model: "Classifier",
    *,
    model_file: Path | None,
    policy: Policy,
    scores: Calibration,
    metadata: dict[str, Any],
) -> tuple[list[RunObserver], str]:
    """Begin to serve the dashboard; return what observes the run for it, and its address."""
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
    return [statistics, metrics], handle.address
