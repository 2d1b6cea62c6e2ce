"""Which frame numbers of a series have come: few intervals, however many frames."""

from bisect import bisect_right
from collections.abc import Iterable, Iterator

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
