"""The loop of every search: it begins what a sampler proposes, and survives being killed."""

import math
import time
from collections import deque
from collections.abc import Callable, Mapping
from concurrent import futures
from concurrent.futures import Executor, Future
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from deepfreak.errors import BackendError
from deepfreak.search.journal import Journal, open_journal
from deepfreak.search.trial import Outcome, Sampler, Search, Trial, evaluate


def optimize(
    function: Callable[[Trial], float | Outcome],
    sampler: Sampler,
    *,
    under_way: int = 1,
    journal: str | Path | None = None,
    purpose: Mapping[str, Any] | None = None,
    executor: Executor | None = None,
    time_limit_s: float = math.inf,
    on_trial: Callable[[Trial], None] = lambda _: None,
) -> Search:
    """Look for the settings of least loss.

    What is found depends on the function, the sampler and `under_way` only: not on the executor, on
    interruptions, or on which of several trials ends first.

    Parameters
    ----------
    function
        Returns the loss of a trial, or an `Outcome`. An exception, the end of the program or a loss
        that is not finite counts as infinite loss. To continue from a smaller budget it saves a
        checkpoint under `trial.configuration` and begins from that of `trial.continue_from`. An
        executor of processes must be able to pickle it.
    under_way
        How many trials may be under way at once. The next proposal does not know their outcomes.
    journal
        A file to which each trial is written when it ends, and from which the same call resumes.
        Trials that were under way when a search was killed are made again.
    purpose
        What else must be the same for that, as JSON values: the data and their hash, for example.
    executor
        Where trials are made (`deepfreak.datasets.executors`); this process if None.
    time_limit_s
        No trial begins later.
    on_trial
        Called with each trial that has ended, unless an earlier run made it.

    Raises
    ------
    ValueError
        `under_way` is less than 1.
    OutputError
        The journal is of another search, damaged, in use, or cannot be written.
    BackendError
        The executor cannot be used any more.
    """
    if under_way < 1:
        raise ValueError(f"under_way must be 1 or more, found {under_way}")

    def begin(trial: Trial) -> "Future[Outcome]":
        if executor is not None:
            return executor.submit(evaluate, function, trial)
        return ended(evaluate(function, trial))

    deadline = time.monotonic() + time_limit_s
    search = identity(sampler, under_way, purpose or {})
    with nullcontext() if journal is None else open_journal(journal, search) as book:
        loop = Loop(
            sampler=sampler,
            begin=begin,
            under_way=under_way,
            journal=book,
            deadline=deadline,
            on_trial=on_trial,
        )
        return loop.run()


def identity(sampler: Sampler, under_way: int, purpose: Mapping[str, Any]) -> dict[str, Any]:
    """Return what tells a search from others, as its journal has it."""
    return {**sampler.identity(), "under_way": under_way, "purpose": dict(purpose)}


@dataclass(slots=True)
class _Pending:
    """A trial that proposals do not know the outcome of yet."""

    trial: Trial
    future: "Future[Outcome]"
    knew: int  # outcomes that its own proposal knew
    written: bool = False


@dataclass(slots=True, kw_only=True)
class Loop:
    """Begins trials, waits for them in the order in which they began, and writes each down."""

    sampler: Sampler
    # if that takes time, it calls `write_down` now and then
    begin: Callable[[Trial], "Future[Outcome]"]
    under_way: int = 1
    journal: Journal | None = None
    deadline: float = math.inf  # no trial begins later, by the monotonic clock
    on_trial: Callable[[Trial], None] = lambda _: None
    history: list[Trial] = field(default_factory=list)
    pending: deque[_Pending] = field(default_factory=deque)

    def run(self) -> Search:
        """Make all trials that are proposed before the deadline."""
        complete = True
        try:
            while True:
                while complete and len(self.pending) < self.under_way:
                    trial = self._next()
                    if trial is None:
                        break
                    complete = trial.outcome is not None or time.monotonic() < self.deadline
                    if complete:
                        self._begin(trial)
                if not self.pending:
                    return Search(tuple(self.history), complete)
                self._take_first()
        finally:
            for pending in self.pending:
                pending.future.cancel()

    def write_down(self) -> None:
        """Write down the trials that have ended since."""
        for pending in self.pending:
            if pending.future.done() and not pending.written:
                pending.trial = replace(pending.trial, outcome=_outcome(pending.future))
                if self.journal is not None:
                    self.journal.add(pending.trial, pending.knew)
                pending.written = True
                self.on_trial(pending.trial)

    @property
    def _known(self) -> int:
        """Of how many trials, in their order, proposals know the outcome."""
        return len(self.history) - len(self.pending)

    def _next(self) -> Trial | None:
        """Return the next trial: from the journal, with its outcome, or a new one.

        Newer libraries may propose something else than was proposed for the journal's.
        """
        recorded = self.journal.trials.get(len(self.history)) if self.journal else None
        if recorded is None:
            return self.sampler.propose(self.history)
        trial, knew = recorded
        return trial if knew <= self._known else None

    def _begin(self, trial: Trial) -> None:
        knew = self._known
        if trial.outcome is None:
            pending = _Pending(trial, self.begin(trial), knew)
        else:
            pending = _Pending(trial, ended(trial.outcome), knew, written=True)
        self.history.append(replace(trial, outcome=None))
        self.pending.append(pending)
        self.write_down()

    def _take_first(self) -> None:
        """Wait for the trial that began first, and let proposals know its outcome."""
        first = self.pending[0]
        while not first.written:
            waiting = [each.future for each in self.pending if not each.written]
            futures.wait(waiting, return_when=futures.FIRST_COMPLETED)
            self.write_down()
        self.history[self._known] = first.trial
        self.pending.popleft()


def ended(outcome: Outcome) -> "Future[Outcome]":
    """Return the future of a trial that has ended."""
    future: Future[Outcome] = Future()
    future.set_result(outcome)
    return future


def _outcome(future: "Future[Outcome]") -> Outcome:
    """Return the outcome of a trial; what an executor met with it alone is a failure."""
    try:
        return future.result()
    except (futures.CancelledError, futures.BrokenExecutor) as error:
        raise BackendError(
            "the processes or the cluster of this search have stopped; start them again, and the "
            "same command resumes"
        ) from error
    except Exception as error:  # noqa: BLE001 -- a cluster passes on whatever its workers met
        return Outcome(math.inf, error=" ".join(str(error).split()) or type(error).__name__)
