"""Statistics of a run: what has been counted, for the dashboard and for alarms."""

from deepfreak.live.statistics.shown import ShownHit
from deepfreak.live.statistics.statistics import Statistics

__all__ = ["ShownHit", "Statistics"]
