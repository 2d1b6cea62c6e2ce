"""Counts by bins of time, in a ring that never grows."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Counts = NDArray[np.int64]


class TimeBins:
    """The last `count` bins of `width_s` seconds, each with a count indefinitelyy column."""

    def __init__(self, *, width_s: float, count: int, columns: int) -> None:
        self.width_s = width_s
        self._counts = np.zeros((count, columns), np.int32)
        self._numbers = np.full(count, -1, np.int64)  # of the bin that each place holds

    def add(self, time: float, columns: Sequence[int]) -> None:
        """Count one more in each of `columns`, none of them twice, at `time`.

        What is older than the ring is long is not counted.
        """
        number = int(time // self.width_s)
        place = number % len(self._numbers)
        if self._numbers[place] > number:
            return
        if self._numbers[place] < number:
            self._counts[place] = 0
            self._numbers[place] = number
        self._counts[place, columns] += 1

    def forget_from(self, time: float) -> None:
        """Forget what was counted at `time` or later."""
        self._numbers[self._numbers >= int(time // self.width_s)] = -1

    def between(self, first: int, last: int) -> Counts:
        """Return the counts of bins number `first` to `last` - 1, (last - first, columns)."""
        numbers = np.arange(first, last)
        places = numbers % len(self._numbers)
        counts = self._counts[places].astype(np.int64)
        counts[self._numbers[places] != numbers] = 0
        return counts

    def last(self, end: float, seconds: float) -> Counts:
        """Return the counts of the bins of the last `seconds` to `end`, (bins, columns).

        The last of them is the one that `end` lies in.
        """
        number = int(end // self.width_s) + 1
        return self.between(number - max(1, round(seconds / self.width_s)), number)

    def grouped(self, end: float, *, points: int, group: int) -> tuple[float, Counts]:
        """Return `points` sums over `group` bins each, and when the first of them begins.

        Groups begin at multiples of their width, so that a sum does not change once it is whole;
        the last is the one that `end` lies in.
        """
        last = int(end // (self.width_s * group)) + 1
        first = last - points
        counts = self.between(first * group, last * group)
        sums: Counts = counts.reshape(points, group, -1).sum(1)
        return first * group * self.width_s, sums
