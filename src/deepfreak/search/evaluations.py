"""What a search evaluates, and what comes of it."""

import json
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, TypeAlias

from deepfreak.errors import InputError
from deepfreak.search.space import Settings


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a function may return instead of its loss alone: `info`, plain values, is kept too."""

    loss: float
    info: Mapping[str, Any] = field(default_factory=dict)


Objective: TypeAlias = Callable[..., float | Outcome]


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """An evaluation to make.

    Parameters
    ----------
    configuration
        The name of these settings in this search; the same at every budget, as is the seed.
    continue_from
        The last budget they were tried at before this one.
    from_model
        Whether the model chose the settings.
    """

    configuration: str
    budget: float
    continue_from: float | None
    settings: Settings
    seed: int
    from_model: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation(Trial):
    """A trial and what came of it.

    Parameters
    ----------
    loss
        Infinite for a failure.
    error
        What failed, on one line; empty if nothing did.
    """

    loss: float
    info: dict[str, Any]
    error: str
    duration_s: float = field(compare=False)


@dataclass(frozen=True, slots=True)
class Search:
    """What a search found: `evaluations` as they began, and whether it came to its end."""

    evaluations: tuple[Evaluation, ...]
    complete: bool

    @property
    def ranking(self) -> tuple[Evaluation, ...]:
        """The evaluations at the largest budget at which any succeeded, best first."""
        succeeded = [made for made in self.evaluations if math.isfinite(made.loss)]
        largest = max((made.budget for made in succeeded), default=0.0)
        at_largest = [made for made in succeeded if made.budget == largest]
        return tuple(sorted(at_largest, key=lambda made: made.loss))


def evaluate(function: Objective, trial: Trial, continues: bool) -> Evaluation:
    """Call the function and return what came of it, in whatever process."""
    more = {"configuration": trial.configuration, "continue_from": trial.continue_from}
    started = time.monotonic()
    error, info = "", {}
    try:
        returned = function(
            dict(trial.settings), trial.budget, trial.seed, **(more if continues else {})
        )
        outcome = returned if isinstance(returned, Outcome) else Outcome(returned)
        loss = float(outcome.loss)
        # as the journal will give it back, so that a resumed search is the same
        info = json.loads(json.dumps(dict(outcome.info)))
        if not math.isfinite(loss):
            error, loss = f"the loss is {loss}", math.inf
    except (Exception, SystemExit) as failure:  # noqa: BLE001 - whatever it is, the search goes on
        message = " ".join(str(failure).split())
        error, loss = f"{type(failure).__name__}: {message}", math.inf
    duration_s = time.monotonic() - started
    return Evaluation(**asdict(trial), loss=loss, info=info, error=error, duration_s=duration_s)


def record_of(made: Evaluation) -> dict[str, Any]:
    """Return an evaluation as a journal keeps it; JSON has no infinity."""
    return asdict(made) | {"loss": made.loss if math.isfinite(made.loss) else None}


def evaluation_of(record: Mapping[str, Any]) -> Evaluation:
    """Return the evaluation of which `record_of` made a record.

    Raises
    ------
    InputError
        If it is the record of something else.
    """
    loss = math.inf if record.get("loss") is None else record["loss"]
    try:
        return Evaluation(**{**record, "loss": loss})
    except TypeError:
        raise InputError(
            f"expected evaluations in the journal, found {', '.join(record)[:60]}; choose another "
            "name for it"
        ) from None
