"""The loop: BOHB over any function, on any executor, that survives being killed."""

import math
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import FIRST_COMPLETED, Executor, Future, wait
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from deepfreak.search.append_journal import Journal, open_journal
from deepfreak.search.evaluations import (
    Evaluation,
    Objective,
    Search,
    Trial,
    evaluate,
    evaluation_of,
    record_of,
)
from deepfreak.search.samplers.bohb import Guidance, History, suggest
from deepfreak.search.samplers.hyperband import Bracket, Hyperband, Run
from deepfreak.search.space import Space


def optimize(
    function: Objective,
    space: Space,
    hyperband: Hyperband,
    guidance: Guidance | None = None,
    *,
    iterations: int,
    seed: int = 0,
    under_way: int = 1,
    continues: bool = False,
    journal: str | Path | None = None,
    purpose: Mapping[str, Any] | None = None,
    executor: Executor | None = None,
    time_limit_s: float = math.inf,
    advance: Callable[[int], None] | None = None,
) -> Search:
    """Look for the settings of least loss by BOHB (Falkner et al. 2018).

    What is found depends on the arguments up to `under_way` only: not on the executor, on
    interruptions, or on which of several evaluations ends first, as suggestions take results into
    account in the order in which their evaluations began.

    Parameters
    ----------
    function
        Called as `function(settings, budget, seed)`, returns the loss or an `Outcome`. If it raises
        an exception or the loss is no finite number, that counts as infinite loss. An executor of
        processes must be able to pickle it.
    guidance
        How the model leads; as HpBandSter's if None.
    iterations
        How many brackets. With more of them a finished search goes on from its journal.
    under_way
        How many evaluations may be under way at once. A suggestion knows nothing of those.
    continues
        Whether the function also takes, by keyword, `configuration`, a name for its checkpoints,
        and `continue_from`, the smaller budget at which it has seen these settings and this seed
        before, or None. What was under way when a search was killed is evaluated again.
    journal
        A file that each evaluation is written to, and from which the same call resumes.
    purpose
        What else must be the same for that, as plain values: the data and their hash, for example.
    executor
        Where evaluations are made (`deepfreak.datasets.executors`); this process if None.
    time_limit_s
        No evaluation begins later.
    advance
        Called with 1 after each evaluation.

    Raises
    ------
    ValueError
        If nothing may be under way.
    InputError, OutputError
        If the journal is that of another search, damaged, in use, or cannot be written.
    """
    if under_way < 1:
        raise ValueError(f"under_way must be 1 or more, found {under_way}")
    guidance = guidance or Guidance()
    identity = {
        "space": space.description(),
        "hyperband": asdict(hyperband),
        "guidance": asdict(guidance),
        "seed": seed,
        "under_way": under_way,
        "purpose": dict(purpose or {}),
    }
    deadline = time.monotonic() + time_limit_s
    with open_journal(journal, identity) if journal is not None else nullcontext() as book:
        recorded = [evaluation_of(record) for record in (book.records if book is not None else ())]
        found = {(made.configuration, made.budget): made for made in recorded}
        plan = _Plan(space, hyperband, guidance, iterations, seed, recorded)
        evaluations: list[Evaluation] = []
        begun: deque[_Begun] = deque()
        in_time = True
        try:
            while True:
                while in_time and len(begun) < under_way and (run := plan.next()) is not None:
                    trial = plan.trial(run)
                    known = found.get((trial.configuration, trial.budget))
                    in_time = known is not None or time.monotonic() < deadline
                    if known is not None:
                        begun.append(_Begun(run, _finished(known), written=True))
                    elif in_time:
                        begun.append(_Begun(run, _begin(executor, function, trial, continues)))
                        _write_down(begun, book)
                if not begun:
                    return Search(tuple(evaluations), in_time)
                made = _first_made(begun, book)
                plan.tell(begun.popleft().run, made)
                evaluations.append(made)
                if advance is not None:
                    advance(1)
        finally:
            for waiting in begun:
                waiting.future.cancel()


class _Plan:
    """The brackets under way, the settings drawn for them, and what was found.

    What was drawn in an earlier run comes from its record: newer libraries must not change it.
    """

    def __init__(
        self,
        space: Space,
        hyperband: Hyperband,
        guidance: Guidance,
        iterations: int,
        seed: int,
        recorded: Iterable[Evaluation],
    ) -> None:
        self._hyperband = hyperband
        self._guidance = guidance
        self._iterations = iterations
        self._seed = seed
        self._history = History(space)
        self._brackets: list[Bracket] = []
        self._drawn = {made.configuration: (made.settings, made.from_model) for made in recorded}

    def next(self) -> Run | None:
        """Return the next run of the first bracket that has one; a new bracket is begun last."""
        for bracket in self._brackets:
            if (run := bracket.next()) is not None:
                return run
        iteration = len(self._brackets)
        if iteration == self._iterations:
            return None
        self._brackets.append(Bracket(iteration, self._hyperband.rungs(iteration)))
        return self._brackets[-1].next()

    def trial(self, run: Run) -> Trial:
        """Return a run with its settings, which are drawn if it is the configuration's first."""
        name = str(run.configuration)
        sequence = np.random.SeedSequence(self._seed, spawn_key=run.configuration)
        for_settings, for_function = sequence.spawn(2)
        if name not in self._drawn:
            rng = np.random.default_rng(for_settings)
            self._drawn[name] = suggest(self._history, self._guidance, rng)
        settings, from_model = self._drawn[name]
        return Trial(
            configuration=name,
            budget=run.budget,
            continue_from=run.continue_from,
            settings=settings,
            seed=int(for_function.generate_state(1)[0]),
            from_model=from_model,
        )

    def tell(self, run: Run, made: Evaluation) -> None:
        """Take what came of a run."""
        self._brackets[run.configuration.iteration].tell(run, made.loss)
        self._history.add(made.settings, made.budget, made.loss)


@dataclass(slots=True)
class _Begun:
    run: Run
    future: Future[Evaluation]
    written: bool = False


def _begin(
    executor: Executor | None, function: Objective, trial: Trial, continues: bool
) -> Future[Evaluation]:
    if executor is not None:
        return executor.submit(evaluate, function, trial, continues)
    return _finished(evaluate(function, trial, continues))


def _finished(made: Evaluation) -> Future[Evaluation]:
    future: Future[Evaluation] = Future()
    future.set_result(made)
    return future


def _first_made(begun: deque[_Begun], book: Journal | None) -> Evaluation:
    """Wait for the evaluation that began first; those that end meanwhile are written down, too."""
    first = begun[0].future
    _write_down(begun, book)
    while not first.done():
        wait([one.future for one in begun if not one.written], return_when=FIRST_COMPLETED)
        _write_down(begun, book)
    return first.result()


def _write_down(begun: Iterable[_Begun], book: Journal | None) -> None:
    for one in begun:
        if one.future.done() and not one.written:
            made = one.future.result()
            if book is not None:
                book.append(record_of(made))
            one.written = True
