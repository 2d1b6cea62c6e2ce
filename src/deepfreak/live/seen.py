"""Which frame numbers of a series have come: few intervals, however many frames."""

from bisect import bisect_right
from collections.abc import Iterable, Iterator


class Seen:
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
    def of_intervals(cls, intervals: Iterable[tuple[int, int]]) -> "Seen":
        """Return the numbers of intervals (first, last), both included, apart and in order."""
        seen = cls()
        for first, last in intervals:
            seen._firsts.append(first)
            seen._ends.append(last + 1)
            seen.count += last + 1 - first
        return seen

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
    def whole_until(self) -> int:
        """How many numbers there are from 0 on without a gap."""
        return self._ends[0] if self._firsts and self._firsts[0] == 0 else 0

    def missing(self, expected: int | None = None) -> Iterator[tuple[int, int]]:
        """Yield the gaps (first, last), both included, from 0 to `expected` - 1.

        Without `expected` they end with the largest number that has come: what may still follow is
        not known.
        """
        end = max(expected or 0, self.end)
        place = 0
        for first, after in zip(self._firsts, self._ends, strict=True):
            if first > place:
                yield place, first - 1
            place = after
        if place < end:
            yield place, end - 1

    def missing_count(self, expected: int | None = None) -> int:
        """Return how many numbers `missing` yields."""
        return max(expected or 0, self.end) - self.count
