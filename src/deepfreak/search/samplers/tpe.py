"""Which point of the space to try next: the conditional tree of Parzen estimators.

Bergstra et al. (2011, 2013), as the paper used it through Hyperopt: the points tried so far are
divided into the best and the rest, each hyperparameter has a density over either, from the points
that were asked for it, and of some draws from the density of the best the one is taken for which
the other density is smallest in comparison. Optuna computes it; `docs/decisions/0011-tpe.md`.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from deepfreak.search.table8 import TABLE_8, Choice, Picks, walk
from deepfreak.search.trial import Trial

if TYPE_CHECKING:
    from optuna.samplers import BaseSampler
    from optuna.storages import BaseStorage
    from optuna.study import Study
    from optuna.trial import FrozenTrial

# Hyperopt's: points drawn at random before any density is.
RANDOM = 20
# How often a point that has been tried is put back. Of so few values for each hyperparameter 24
# draws nearly always hold the best one, so that without this a third of 150 trials repeats others.
# What was put back counts as under way, and so as bad, for the next.
REDRAWS = 50


def propose(history: Sequence[Trial], *, seed: int, at_once: int) -> dict[str, int]:
    """Return the picks that are tried after those of `history`, a function of the arguments only.

    Parameters
    ----------
    history
        All trials before it, from number 0 on. Of the last `at_once` - 1 the outcomes are not
        looked at, whether or not they are there: as many trials may run side by side, and
        which they are does not depend on how many do.
    seed
        Of the search; each number draws with a generator of its own.
    """
    from optuna.samplers import TPESampler

    number = len(history)
    looked_at = max(number - at_once + 1, 0)
    sampler = TPESampler(
        seed=int(np.random.SeedSequence((seed, number)).generate_state(1)[0]),
        # Counted in outcomes that are known.
        n_startup_trials=max(RANDOM - at_once + 1, 1),
        # One density for each hyperparameter, the conditional ones included.
        multivariate=False,
        # What is under way counts as bad, lest it be tried twice.
        constant_liar=True,
    )
    study = new_study(sampler=sampler)
    for trial in history:
        study.add_trial(frozen(trial, known=trial.number < looked_at))
    tried = {frozenset(trial.picks.items()) for trial in history}
    for _ in range(REDRAWS):
        picks = _ask(study)
        if frozenset(picks.items()) not in tried:
            break
    return picks


def _ask(study: "Study") -> dict[str, int]:
    """Return the picks of a trial that `study` now has under way."""
    asked = study.ask()

    def pick(choice: Choice) -> int:
        if choice.ordinal:
            return choice.pick(asked.suggest_int(choice.name, 0, len(choice.values) - 1))
        return choice.pick(asked.suggest_categorical(choice.name, choice.labels))

    return walk(pick)


def frozen(trial: Trial, *, known: bool = True) -> "FrozenTrial":
    """Return `trial` as Optuna has it; unless it is `known`, as if it were still under way.

    One that hit the bound or failed is "pruned", which the estimators count among the worst:
    a "failed" one they would forget, and ask for it again.
    """
    from optuna.trial import TrialState, create_trial

    outcome = trial.outcome if known else None
    if outcome is None:
        state = TrialState.RUNNING
    else:
        state = TrialState.COMPLETE if outcome.state == "done" else TrialState.PRUNED
    return create_trial(
        state=state,
        value=trial.accuracy if state == TrialState.COMPLETE else None,
        params=parameters(trial.picks),
        distributions={
            choice.name: choice.distribution for choice in TABLE_8 if choice.name in trial.picks
        },
    )


def parameters(picks: Picks) -> dict[str, int | str]:
    """Return `picks` by what Optuna calls them."""
    return {
        choice.name: choice.parameter(picks[choice.name])
        for choice in TABLE_8
        if choice.name in picks
    }


def new_study(
    *,
    storage: "BaseStorage | None" = None,
    name: str | None = None,
    sampler: "BaseSampler | None" = None,
) -> "Study":
    """Return a study that maximizes, or the one of that name in `storage`, without its log line."""
    import optuna

    level = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        return optuna.create_study(
            storage=storage,
            study_name=name,
            sampler=sampler,
            direction="maximize",
            load_if_exists=storage is not None,
        )
    finally:
        optuna.logging.set_verbosity(level)
