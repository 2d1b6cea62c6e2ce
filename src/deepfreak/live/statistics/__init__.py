"""The running picture of a run: what has been counted, for a page and for alarms."""

from deepfreak.live.statistics.gallery import ShownHit
from deepfreak.live.statistics.statistics import Statistics

__all__ = ["ShownHit", "Statistics"]
