"""The accounting: of each series what was announced, what has come, and what is missing."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any

from deepfreak.live.messages import PayloadKind, SeriesBegan
from deepfreak.live.receive.number_set import NumberSet


@dataclass(frozen=True, slots=True, kw_only=True)
class SeriesReport:
    """Of one series: what was announced, what came, and the gaps (first, last) in what came.

    Before a series has ended, frames after the last that came are not yet missed.

    Attributes
    ----------
    strays
        Numbers (first, last) too far from the others for the gap before them to count as missed;
        see `NumberSet.strays`.
    lacks
        As in `SeriesBegan`.
    judged_without
        How many frames were classified without something, as `FrameOutcome.judged_without` tells.
    """

    series: str
    expected: int | None
    received: int
    ended: bool
    missed: tuple[tuple[int, int], ...]
    strays: tuple[tuple[int, int], ...] = ()
    lacks: tuple[str, ...] = ()
    judged_without: int = 0

    @property
    def missed_count(self) -> int:
        """How many numbers the gaps have."""
        return sum(last + 1 - first for first, last in self.missed)

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return asdict(self) | {"missed_count": self.missed_count}


@dataclass(slots=True, kw_only=True)
class SeriesState:
    """The state of one series; see `SeriesReport`.

    Attributes
    ----------
    detector_number
        The detector's own count of its series, None without one.
    last_received
        When its last frame with a verdict was received, in seconds since 1970, if an earlier run
        did that.
    """

    series: str
    kind: PayloadKind
    expected: int | None = None
    ended: bool = False
    lacks: tuple[str, ...] = ()
    judged_without: int = 0
    detector_number: int | None = None
    last_received: float | None = None
    seen: NumberSet = field(default_factory=NumberSet)

    @property
    def due(self) -> int | None:
        """How many frames should have come: all that were announced, once it has ended."""
        return self.expected if self.ended else None

    @property
    def missed(self) -> int:
        """How many numbers are missing."""
        return self.seen.missing_count(self.due)

    def account(self) -> SeriesReport:
        """Return the gaps as well."""
        return SeriesReport(
            series=self.series,
            expected=self.expected,
            received=self.seen.count,
            ended=self.ended,
            missed=tuple(self.seen.missing(self.due)),
            strays=tuple(self.seen.strays(self.due)),
            lacks=self.lacks,
            judged_without=self.judged_without,
        )


class FrameAccounting:
    """Which frames of which series have come.

    One thread changes it. Others may read the totals, which cost the same for any number of series.

    Attributes
    ----------
    received
        How many frames have come, each once.
    missed
        How many numbers are missing.
    """

    def __init__(self) -> None:
        self.received = self.missed = 0
        self._lines: dict[str, SeriesState] = {}

    def __contains__(self, series: str) -> bool:
        return series in self._lines

    def restore(self, line: SeriesState) -> None:
        """Add a series of an earlier run."""
        self._lines[line.series] = line
        self.received += line.seen.count
        self.missed += line.missed

    def begin(self, began: SeriesBegan) -> None:
        """Add a series, or open it again; one that is known may learn how much to expect."""
        line = SeriesState(series=began.series, kind=began.kind, lacks=began.lacks)
        line.detector_number = began.detector_number
        self._lines.setdefault(began.series, line)
        with self._changed(began.series) as line:
            line.ended = False
            if began.brings_start:
                line.lacks = began.lacks
            if began.expected is not None:
                line.expected = began.expected

    def end(self, series: str, expected: int | None) -> None:
        """Note that no more frames of a series will come."""
        if series in self._lines:
            with self._changed(series) as line:
                line.ended = True
                if expected is not None:
                    line.expected = expected

    def lines(self) -> Iterator[SeriesState]:
        """Yield the state of each series."""
        yield from self._lines.values()

    def line(self, series: str) -> SeriesState | None:
        """Return the state of a series, None if it has not begun."""
        return self._lines.get(series)

    def kind(self, series: str) -> PayloadKind:
        """Return the kind of a series that has begun."""
        return self._lines[series].kind

    def has(self, series: str, number: int) -> bool:
        """Return whether a frame has come; its series has begun."""
        return number in self._lines[series].seen

    def add(self, series: str, number: int) -> bool:
        """Add a frame and say whether it is new; its series has begun."""
        with self._changed(series) as line:
            is_new = line.seen.add(number)
        self.received += is_new
        return is_new

    @contextmanager
    def _changed(self, series: str) -> Iterator[SeriesState]:
        """Give the line of a series to change, and keep the total of what is missing."""
        line = self._lines[series]
        before = line.missed
        yield line
        self.missed += line.missed - before
