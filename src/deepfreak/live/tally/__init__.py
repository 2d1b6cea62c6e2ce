"""The running picture of a run: what has been counted, for a page and for alarms."""

from deepfreak.live.tally.gallery import ShownHit
from deepfreak.live.tally.tally import Tally

__all__ = ["ShownHit", "Tally"]
