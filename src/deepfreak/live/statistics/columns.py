"""What is counted of an outcome: which columns of the bins it counts in."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from deepfreak.live.messages import DECISIONS, FrameOutcome
from deepfreak.live.statistics.latency import BUCKETS, bucket

JUDGED = frozenset({"keep", "discard", "unsure"})
KEEP = DECISIONS.index("keep")
DROPPED = DECISIONS.index("dropped")
SATURATED = len(DECISIONS)
ICE_KNOWN = SATURATED + 1
ICE = SATURATED + 2
LEVEL_KNOWN = SATURATED + 3
OUTSIDE = SATURATED + 4
SENT_KNOWN = SATURATED + 5
WITHOUT_START = SATURATED + 6
_FIRST_CLASS = SATURATED + 7


@dataclass(frozen=True, slots=True)
class Columns:
    """The columns for a model's `classes`; `levels` is the usual range of `FrameOutcome.level`."""

    classes: tuple[str, ...]
    levels: tuple[float, float] | None = None
    _of_class: Mapping[str, int] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        """Give each class its column."""
        places = {name: _FIRST_CLASS + i for i, name in enumerate(self.classes)}
        object.__setattr__(self, "_of_class", places)

    @property
    def count(self) -> int:
        """How many there are."""
        return _FIRST_CLASS + len(self.classes) + BUCKETS

    @property
    def of_classes(self) -> slice:
        """Those of the classes, in the model's order."""
        return slice(_FIRST_CLASS, _FIRST_CLASS + len(self.classes))

    @property
    def latency(self) -> slice:
        """Those of the buckets of time from frame to verdict."""
        first = _FIRST_CLASS + len(self.classes)
        return slice(first, first + BUCKETS)

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
