"""Trials of a search, their outcomes, and what proposes them."""

import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Protocol

from deepfreak.search.space import Settings, plain


@dataclass(frozen=True, slots=True)
class Outcome:
    """Outcome of a trial: a loss, infinite for a failure, and how many seconds it took.

    `info` are JSON values to keep with it, `error` says on one line what failed, if anything did.
    """

    loss: float
    info: Mapping[str, Any] = field(default_factory=dict)
    error: str = ""
    seconds: float = field(default=0.0, compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """One attempt: settings at a budget.

    `number` is its place among all trials of the search, in the order in which they began.
    `configuration` names its settings and is the same at every budget, as is the seed;
    `continue_from` is the last budget at which they were tried before, `from_model` whether a model
    of the outcomes chose them, rather than chance. `outcome` is None while it is under way.
    """

    number: int
    configuration: str
    settings: Settings
    seed: int
    budget: float = 1.0
    continue_from: float | None = None
    from_model: bool = False
    outcome: Outcome | None = None

    @property
    def loss(self) -> float:
        """Its loss, infinite for a failure and while it is under way."""
        return math.inf if self.outcome is None else self.outcome.loss

    @property
    def succeeded(self) -> bool:
        """Whether it has a finite loss."""
        return math.isfinite(self.loss)

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON values, which have no infinity."""
        values = asdict(self)
        if self.outcome is not None and not self.succeeded:
            values["outcome"]["loss"] = None
        return values

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "Trial":
        """Return the trial that `to_json` wrote."""
        outcome = values["outcome"]
        if outcome is not None:
            loss = math.inf if outcome["loss"] is None else outcome["loss"]
            outcome = Outcome(**{**outcome, "loss": loss})
        settings = {name: plain(value) for name, value in values["settings"].items()}
        return cls(**{**values, "settings": settings, "outcome": outcome})


@dataclass(frozen=True, slots=True)
class Search:
    """What a search found: its trials in their order, and whether it is complete."""

    trials: tuple[Trial, ...]
    complete: bool

    @property
    def ranking(self) -> tuple[Trial, ...]:
        """The trials at the largest budget at which any succeeded, best first."""
        succeeded = [trial for trial in self.trials if trial.succeeded]
        largest = max((trial.budget for trial in succeeded), default=0.0)
        at_largest = [trial for trial in succeeded if trial.budget == largest]
        return tuple(sorted(at_largest, key=lambda trial: trial.loss))


def evaluate(function: Callable[[Trial], float | Outcome], trial: Trial) -> Outcome:
    """Return the outcome of a trial by `function`; failures are outcomes, too."""
    started = time.monotonic()
    error, info = "", {}
    try:
        returned = function(trial)
        outcome = returned if isinstance(returned, Outcome) else Outcome(returned)
        loss = float(outcome.loss)
        # as the journal will return it, so that a resumed search is the same
        info = json.loads(json.dumps(dict(outcome.info)))
        if not math.isfinite(loss):
            error, loss = f"the loss is {loss}", math.inf
    except (Exception, SystemExit) as failure:  # noqa: BLE001 -- a failed trial must not end the search
        message = " ".join(str(failure).split())
        error, loss = f"{type(failure).__name__}: {message}", math.inf
    return Outcome(loss, info, error, time.monotonic() - started)


class Sampler(Protocol):
    """Proposes trials; a pure function of the trials before, so that a search can be resumed."""

    def identity(self) -> dict[str, Any]:
        """Return all that decides what it proposes, as JSON values: a journal's settings."""

    def propose(self, history: Sequence[Trial]) -> Trial | None:
        """Return the trial to begin after those of `history`, all that have begun, in order.

        The last ones have no outcome: either they are under way, or which of them have ended must
        not matter. It has the number `len(history)`; None if it depends on trials under way, and
        at the end.
        """
