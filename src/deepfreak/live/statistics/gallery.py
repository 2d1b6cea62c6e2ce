"""The latest hits, as pictures."""

from collections import deque
from dataclasses import dataclass
from typing import Any

from deepfreak.live.messages import FrameOutcome
from deepfreak.live.statistics.series import shortened

MOST = 24
# Once the gallery is full a new picture is taken so often: more than eyes, or a browser that
# fetches pictures one by one, could follow.
_MIN_S_BETWEEN = 0.25

_MAX_REASON_LENGTH = 160


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ShownHit:
    """An outcome with its picture; `id` is its place in the ledger."""

    id: int
    outcome: FrameOutcome

    def to_json(self) -> dict[str, Any]:
        """Return what stands below the picture."""
        outcome, picture = self.outcome, self.outcome.picture
        return {
            "id": self.id,
            "series": shortened(outcome.series),
            "number": outcome.number,
            "decision": outcome.decision,
            "reasons": [shortened(reason, _MAX_REASON_LENGTH) for reason in outcome.reasons],
            "label": outcome.label,
            "p_crystal": outcome.p_crystal,
            "saturated": outcome.saturated,
            "peaks": 0 if picture is None else len(picture.peaks),
            "has_activation": picture is not None and picture.activation is not None,
            "decided": outcome.decided,
        }


class Gallery:
    """At most `MOST` hits, the newest last."""

    def __init__(self) -> None:
        self._hits: deque[ShownHit] = deque(maxlen=MOST)
        self._taken = float("-inf")

    def offer(self, sequence: int, outcome: FrameOutcome) -> None:
        """Take a hit that has a picture, unless another was taken just before."""
        full = len(self._hits) == MOST
        if full and 0.0 <= outcome.decided - self._taken < _MIN_S_BETWEEN:
            return
        self._taken = outcome.decided
        self._hits.append(ShownHit(id=sequence, outcome=outcome))

    def newest_first(self) -> list[ShownHit]:
        """Return them."""
        return list(reversed(self._hits))
