"""Hyperband's brackets: how many settings are tried at which budget, and which are promoted.

Li et al. 2017, Algorithm 1, with the numbers of HpBandSter 0.7.4.
"""

import math
from collections.abc import Sequence
from typing import Annotated, NamedTuple

from pydantic import Field

from deepfreak.search.trial import Trial
from deepfreak.settings import Positive, settings


class Rung(NamedTuple):
    """One step of a bracket: `runs` settings are tried at `budget`."""

    budget: float
    runs: int


@settings
class Hyperband:
    """Budgets up to `max_budget`, each `eta` times the one before.

    The smallest is `min_budget` or up to `eta` times as much.
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
        """Return the bracket of an iteration: the first has all budgets, the next one fewer."""
        budgets = self.budgets
        steps = len(budgets) - 1 - iteration % len(budgets)
        first = int(len(budgets) // (steps + 1) * self.eta**steps)
        counts = [max(int(first * self.eta**-step + 1e-9), 1) for step in range(steps + 1)]
        return tuple(map(Rung, budgets[-steps - 1 :], counts))

    def trials(self, iterations: int) -> int:
        """Return how many trials some iterations have."""
        return sum(rung.runs for i in range(iterations) for rung in self.rungs(i))


class Configuration(NamedTuple):
    """The name of settings drawn as a number of a rung; it stays at larger budgets."""

    iteration: int
    rung: int
    number: int

    def __str__(self) -> str:
        return f"{self.iteration}-{self.rung}-{self.number}"

    @classmethod
    def named(cls, name: str) -> "Configuration":
        """Return the configuration of that name."""
        return cls(*map(int, name.split("-")))


class Run(NamedTuple):
    """What to run next: a configuration, its budget, and the last budget it was tried at."""

    configuration: Configuration
    budget: float
    continue_from: float | None


def next_run(iteration: int, rungs: Sequence[Rung], begun: Sequence[Trial]) -> Run | None:
    """Return the next run of a bracket, which is a successive halving.

    A rung ends when all its runs have. Those of least loss are promoted to the next rung, in the
    order in which they were drawn; a failure (infinite loss) never is, and where too few succeeded
    new settings take the places. `begun` are the trials of this bracket, in the order in which they
    began; None while the next run depends on trials under way, and at the end.
    """
    promoted: list[Configuration] = []
    before = None
    for place, rung in enumerate(rungs):
        here, begun = begun[: rung.runs], begun[rung.runs :]
        number = len(here)
        if number < rung.runs:
            if number < len(promoted):
                return Run(promoted[number], rung.budget, before)
            return Run(Configuration(iteration, place, number), rung.budget, None)
        if place + 1 == len(rungs) or any(trial.outcome is None for trial in here):
            return None
        best = sorted((trial for trial in here if trial.succeeded), key=lambda trial: trial.loss)
        kept = best[: rungs[place + 1].runs]
        promoted = sorted(Configuration.named(trial.configuration) for trial in kept)
        before = rung.budget
    return None
