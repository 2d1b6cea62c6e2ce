"""Frame accounting: what was announced of each series, what has come, and what is missing."""

from bisect import bisect_right
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any

from deepfreak.live.messages import PayloadKind, SeriesBegan

# One frame proves that so many numbers before it were used; of more, the number may be damaged.
MAX_GAP_PER_FRAME = 1000


class NumberSet:
    """A set of frame numbers that grows.

    Detectors count upward, so that millions of numbers are a handful of intervals.
    """

    __slots__ = ("_ends", "_firsts", "count")  # there may be one for each of many files

    def __init__(self, numbers: Iterable[int] = ()) -> None:
        self._firsts: list[int] = []
        self._ends: list[int] = []  # one past the last of each interval
        self.count = 0
        for number in numbers:
            self.add(number)

    @classmethod
    def of_intervals(cls, intervals: Iterable[tuple[int, int]]) -> "NumberSet":
        """Return the numbers of intervals (first, last), both included, apart and in order."""
        seen = cls()
        for first, last in intervals:
            seen._firsts.append(first)
            seen._ends.append(last + 1)
            seen.count += last + 1 - first
        return seen

    def copy(self) -> "NumberSet":
        """Return the same numbers as a set of its own."""
        same = NumberSet()
        same._firsts, same._ends, same.count = [*self._firsts], [*self._ends], self.count
        return same

    def __contains__(self, number: int) -> bool:
        place = bisect_right(self._firsts, number) - 1
        return place >= 0 and number < self._ends[place]

    def add(self, number: int) -> bool:
        """Add a number and say whether it is new."""
        place = bisect_right(self._firsts, number)
        if place > 0 and number < self._ends[place - 1]:
            return False
        self.count += 1
        joins_left = place > 0 and self._ends[place - 1] == number
        joins_right = place < len(self._firsts) and self._firsts[place] == number + 1
        if joins_left and joins_right:
            self._ends[place - 1] = self._ends.pop(place)
            self._firsts.pop(place)
        elif joins_left:
            self._ends[place - 1] = number + 1
        elif joins_right:
            self._firsts[place] = number
        else:
            self._firsts.insert(place, number)
            self._ends.insert(place, number + 1)
        return True

    @property
    def end(self) -> int:
        """One past the largest number, 0 if there is none."""
        return self._ends[-1] if self._ends else 0

    @property
    def reach(self) -> int:
        """One past the largest number that is no stray, 0 if there is none."""
        return self._reach(0)[0]

    @property
    def contiguous(self) -> int:
        """How many numbers there are from 0 on without a gap."""
        return self._ends[0] if self._firsts and self._firsts[0] == 0 else 0

    def missing(self, expected: int | None = None) -> Iterator[tuple[int, int]]:
        """Yield the gaps (first, last), both included, from 0 to `expected` - 1.

        Without `expected` they end with the largest number that has come and is no stray: what may
        still follow is not known.
        """
        reach, _ = self._reach(expected or 0)
        place = 0
        for first, after in zip(self._firsts, self._ends, strict=True):
            if first >= reach:
                break
            if first > place:
                yield place, first - 1
            place = after
        end = max(expected or 0, reach)
        if place < end:
            yield place, end - 1

    def missing_count(self, expected: int | None = None) -> int:
        """Return how many numbers `missing` yields."""
        reach, strays = self._reach(expected or 0)
        return max(expected or 0, reach) - (self.count - strays)

    def strays(self, expected: int | None = None) -> Iterator[tuple[int, int]]:
        """Yield the numbers (first, last) at or over `expected` that are too far from the others.

        The gap before them is larger than `MAX_GAP_PER_FRAME` times the frames behind it, so that
        it is not counted as missing.
        """
        reach, _ = self._reach(expected or 0)
        for first, after in zip(self._firsts, self._ends, strict=True):
            if first >= reach and first >= (expected or 0):
                yield first, after - 1

    def _reach(self, expected: int) -> tuple[int, int]:
        """Return one past the largest number that is no stray, and how many strays there are."""
        if self.end - self.count <= MAX_GAP_PER_FRAME:
            return self.end, 0
        beyond, strays, kept = 0, 0, len(self._firsts)
        for place in range(len(self._firsts) - 1, -1, -1):
            first = self._firsts[place]
            beyond += self._ends[place] - first
            # no gap before this one can be too large
            if first < expected or MAX_GAP_PER_FRAME * beyond >= first:
                break
            gap = first - (self._ends[place - 1] if place else 0)
            if gap > MAX_GAP_PER_FRAME * beyond:
                strays, kept = beyond, place
        return (self._ends[kept - 1] if kept else 0), strays


@dataclass(frozen=True, slots=True, kw_only=True)
class SeriesReport:
    """Of one series: what was announced, what came, and the gaps (first, last) in what came.

    Before a series has ended, frames after the last that came are not yet missed.
    """

    series: str
    expected: int | None
    received: int
    ended: bool
    missed: tuple[tuple[int, int], ...]
    # numbers (first, last) too far from the others for the gap before them to count as missed; see
    # `NumberSet.strays`
    strays: tuple[tuple[int, int], ...] = ()
    lacks: tuple[str, ...] = ()  # as in `SeriesBegan`
    # how many frames were classified without something, as `FrameOutcome.judged_without` tells
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
    """The state of one series; see `SeriesReport`."""

    series: str
    kind: PayloadKind
    expected: int | None = None
    ended: bool = False
    lacks: tuple[str, ...] = ()
    judged_without: int = 0
    detector_number: int | None = None  # the detector's own count of its series, None without one
    # when its last frame with a verdict was received, in seconds since 1970, if an earlier run did
    # that
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
    """Which frames of which series have come: `received` in all, each once, and `missed` numbers.

    One thread changes it. Others may read the totals, which cost the same for any number of series.
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

    def add(self, series: str, number: int) -> bool:
        """Add a frame and say whether it is new; its series has begun."""
        with self._changed(series) as line:
            is_new = line.seen.add(number)
        self.received += is_new
        return is_new

    @contextmanager
    def _changed(self, series: str) -> Iterator[SeriesState]:
        """Give the state of a series to change, and keep the total of missing frames."""
        line = self._lines[series]
        before = line.missed
        yield line
        self.missed += line.missed - before
