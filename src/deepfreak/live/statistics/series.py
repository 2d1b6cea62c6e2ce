"""The series of a run: what was expected of each and what came."""

from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Any

from deepfreak.live.messages import SeriesBegan, SeriesEnded
from deepfreak.live.receive.number_set import NumberSet

_MOST = 50
_MAX_NAME_LENGTH = 120


@dataclass(slots=True)
class _Progress:
    began: float
    expected: int | None = None
    kept: int = 0
    lacks: tuple[str, ...] = ()
    seen: NumberSet = field(default_factory=NumberSet)
    announced: bool = False
    ended: bool = False


class SeriesList:
    """The last series, each with its counts; older ones are only counted."""

    def __init__(self) -> None:
        self.total = 0
        self._series: OrderedDict[str, _Progress] = OrderedDict()

    def began(self, event: SeriesBegan, now: float) -> None:
        """Note that a series may come; one that is known is the same still."""
        progress = self._known(event.series, now)
        if not progress.announced or event.brings_start:
            progress.lacks = event.lacks
        progress.announced = True
        if event.expected is not None:
            progress.expected = event.expected

    def ended(self, event: SeriesEnded, now: float) -> None:
        """Note that no more of it will come."""
        progress = self._known(event.series, now)
        progress.ended = True
        if event.expected is not None:
            progress.expected = event.expected

    def add(self, series: str, number: int, *, kept: bool, now: float) -> None:
        """Count a frame."""
        progress = self._known(series, now)
        progress.seen.add(number)
        progress.kept += kept

    def open(self) -> tuple[str, float] | None:
        """Return name and beginning of the newest series that began and has not ended, or None."""
        for name, progress in reversed(self._series.items()):
            if progress.announced and not progress.ended:
                return shortened(name), progress.began
        return None

    def to_json(self, waiting: int) -> list[dict[str, Any]]:
        """Return the series, the newest first; `waiting` frames of them may still be in a queue.

        Of an open series the frames missed are those before the last that came; "lacks" is what of
        the detector's start is not known.
        """
        return [
            {
                "name": shortened(name),
                "began": progress.began,
                "ended": progress.ended,
                "expected": progress.expected,
                "received": progress.seen.count,
                "lacks": list(progress.lacks),
                "kept": progress.kept,
                "missed": _missed(progress, waiting),
            }
            for name, progress in reversed(self._series.items())
        ]

    def _known(self, series: str, now: float) -> _Progress:
        progress = self._series.get(series)
        if progress is None:
            progress = self._series[series] = _Progress(began=now)
            self.total += 1
            if len(self._series) > _MOST:
                self._series.popitem(last=False)
        return progress


def _missed(progress: _Progress, waiting: int) -> int:
    due = progress.expected if progress.ended else None
    return max(0, progress.seen.missing_count(due) - waiting)


def shortened(text: str, longest: int = _MAX_NAME_LENGTH) -> str:
    """Return `text` with its middle left out where it is too long."""
    if len(text) <= longest:
        return text
    half = (longest - 3) // 2
    return f"{text[:half]}...{text[-half:]}"
