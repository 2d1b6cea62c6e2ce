"""Hyperband's brackets: how many settings are tried at which budget, and which of them go on.

Li et al. 2017, Algorithm 1, with the numbers of HpBandSter 0.7.4.
"""

import math
from collections import deque
from typing import Annotated, NamedTuple

from pydantic import Field

from deepfreak.settings import Positive, settings


class Rung(NamedTuple):
    """One step of a bracket: `runs` settings are tried at `budget`."""

    budget: float
    runs: int


@settings
class Hyperband:
    """Budgets from `min_budget` to `max_budget`, each `eta` times the one before.

    The largest is `max_budget` itself; the smallest may be above `min_budget`.
    """

    min_budget: Positive
    max_budget: Positive
    eta: Annotated[float, Field(ge=2, allow_inf_nan=False)] = 3.0

    def __post_init__(self) -> None:
        if self.min_budget > self.max_budget:
            raise ValueError(
                f"min_budget must be at most max_budget, found {self.min_budget} and "
                f"{self.max_budget}"
            )

    @property
    def budgets(self) -> tuple[float, ...]:
        """All budgets, ascending."""
        # an exact power must not lose its smallest budget to rounding
        steps = int(math.log(self.max_budget / self.min_budget) / math.log(self.eta) + 1e-9)
        return tuple(self.max_budget * self.eta**-step for step in range(steps, -1, -1))

    def rungs(self, iteration: int) -> tuple[Rung, ...]:
        """Return the bracket of an iteration; the first has all budgets, the next one less."""
        budgets = self.budgets
        steps = len(budgets) - 1 - iteration % len(budgets)
        first = int(len(budgets) // (steps + 1) * self.eta**steps)
        counts = [max(int(first * self.eta**-step + 1e-9), 1) for step in range(steps + 1)]
        return tuple(map(Rung, budgets[-steps - 1 :], counts))

    def evaluations(self, iterations: int) -> int:
        """Return how many evaluations some iterations make."""
        return sum(rung.runs for i in range(iterations) for rung in self.rungs(i))


class Configuration(NamedTuple):
    """The name of the settings drawn as a number of a rung; it stays at larger budgets."""

    iteration: int
    rung: int
    number: int

    def __str__(self) -> str:
        return f"{self.iteration}-{self.rung}-{self.number}"


class Run(NamedTuple):
    """One evaluation to make: a configuration, its budget, and the last budget it was tried at."""

    configuration: Configuration
    budget: float
    continue_from: float | None


class Bracket:
    """A successive halving under way: asked what to run next, told what came of it.

    A rung ends when all its runs have. Those of least loss go on to the next rung; a failure
    (infinite loss) never does, and if too few are left, new settings take the places.
    """

    def __init__(self, iteration: int, rungs: tuple[Rung, ...]) -> None:
        self.iteration = iteration
        self._rungs = rungs
        self._rung = 0
        self._promoted: deque[Configuration] = deque()
        self._started = 0
        self._losses: dict[Configuration, float] = {}

    def next(self) -> Run | None:
        """Return what to run next; None while that depends on runs under way, and at the end."""
        if self._rung_is_over() and self._rung + 1 < len(self._rungs):
            self._promote()
        if self._started == self._rungs[self._rung].runs:
            return None
        if self._promoted:
            configuration = self._promoted.popleft()
        else:
            configuration = Configuration(self.iteration, self._rung, self._started)
        self._started += 1
        before = None if configuration.rung == self._rung else self._rungs[self._rung - 1].budget
        return Run(configuration, self._rungs[self._rung].budget, before)

    def tell(self, run: Run, loss: float) -> None:
        """Take the loss of a run that `next` gave."""
        self._losses[run.configuration] = loss

    def _rung_is_over(self) -> bool:
        return len(self._losses) == self._rungs[self._rung].runs

    def _promote(self) -> None:
        """Begin the next rung with the best of this one, in the order in which they were drawn."""
        self._rung += 1
        finite = [run for run, loss in self._losses.items() if math.isfinite(loss)]
        best = sorted(finite, key=self._losses.__getitem__)[: self._rungs[self._rung].runs]
        self._promoted = deque(sorted(best))
        self._losses = {}
        self._started = 0
