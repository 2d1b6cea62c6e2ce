"""The conditional tree of Parzen estimators, by Optuna.

Bergstra et al. (2011, 2013), as the paper used it through Hyperopt: trials are divided into the
best and the rest, each parameter has a density over either, from the trials that have it, and of
some draws from the density of the best the one is taken for which the other density is smallest in
comparison. docs/decisions/0011-tpe.md.
"""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from deepfreak.search.space import Categorical, Float, Integer, Ordinal, Parameter, Space, Value
from deepfreak.search.trial import Trial

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.samplers import BaseSampler
    from optuna.storages import BaseStorage
    from optuna.study import Study

# Hyperopt's: trials at random before there are densities.
RANDOM = 20
# How often settings that have been tried are rejected. Of so few values for each parameter 24 draws
# nearly always hold the best one, so that otherwise a third of 150 trials repeats others. What was
# rejected counts as under way, and so as bad, for the next draw.
REDRAWS = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class TPE:
    """Tries no settings twice; `trials` may grow. All trials have the seed of the search."""

    space: Space
    trials: int
    seed: int = 0

    def identity(self) -> dict[str, Any]:
        """Return all that decides what it proposes."""
        return {"sampler": "TPE", "space": self.space.description(), "seed": self.seed}

    def propose(self, history: Sequence[Trial]) -> Trial | None:
        """Return the next trial; each number draws with a generator of its own."""
        from optuna.samplers import TPESampler

        number = len(history)
        if number >= self.trials:
            return None
        under_way = sum(trial.outcome is None for trial in history)
        sampler = TPESampler(
            seed=int(np.random.SeedSequence((self.seed, number)).generate_state(1)[0]),
            # counted in outcomes
            n_startup_trials=max(RANDOM - under_way, 1),
            # one density for each parameter, the conditional ones included
            multivariate=False,
            # trials under way count as bad, so that they are not tried twice
            constant_liar=True,
        )
        study = study_of(self.space, history, sampler=sampler)
        tried = {frozenset(trial.settings.items()) for trial in history}
        for _ in range(REDRAWS):
            settings = _ask(study, self.space)
            if frozenset(settings.items()) not in tried:
                break
        return Trial(
            number=number,
            configuration=str(number),
            settings=settings,
            seed=self.seed,
            from_model=number >= RANDOM,
        )


def _ask(study: "Study", space: Space) -> dict[str, Value]:
    """Return the settings of a trial that `study` then counts as under way."""
    asked = study.ask()

    def choose(name: str, parameter: Parameter) -> Any:  # noqa: ANN401 -- a `Value`
        match parameter:
            case Float(lower=lower, upper=upper, log=log):
                return asked.suggest_float(name, lower, upper, log=log)
            case Integer(lower=lower, upper=upper, log=log):
                return asked.suggest_int(name, lower, upper, log=log)
            case Ordinal(values=values):
                return values[asked.suggest_int(name, 0, len(values) - 1)]
            case Categorical(values=values):
                return values[int(asked.suggest_categorical(name, range(len(values))))]
        raise AssertionError

    return space.walk(choose)


def study_of(
    space: Space,
    trials: Sequence[Trial],
    *,
    sampler: "BaseSampler | None" = None,
    storage: "BaseStorage | str | None" = None,
) -> "Study":
    """Return trials as a study of Optuna, by default in memory.

    Values of an ordinal or categorical parameter are their places. A failed trial is "pruned",
    which the estimators count among the worst: "failed" ones they would forget, and try again.
    `storage` is where Optuna keeps it, such as "sqlite:///study.db" for its dashboard.
    """
    import optuna
    from optuna.trial import TrialState, create_trial

    level = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        study = optuna.create_study(storage=storage, sampler=sampler, direction="minimize")
    finally:
        optuna.logging.set_verbosity(level)
    for trial in trials:
        state = TrialState.COMPLETE if trial.succeeded else TrialState.PRUNED
        kinds = {name: space.parameters[name] for name in trial.settings}
        made = create_trial(
            state=TrialState.RUNNING if trial.outcome is None else state,
            value=trial.loss if trial.succeeded else None,
            params={name: _place(kinds[name], value) for name, value in trial.settings.items()},
            distributions={name: _distribution(kind) for name, kind in kinds.items()},
        )
        study.add_trial(made)
    return study


def importance(space: Space, trials: Sequence[Trial]) -> dict[str, float]:
    """Return how much each parameter mattered for being among the best; all add up to 1.

    PED-ANOVA (Watanabe et al. 2023) in its conditional form; {} with fewer than two successes.
    """
    from optuna.importance import get_param_importances

    if sum(trial.succeeded for trial in trials) < 2:
        return {}
    with warnings.catch_warnings():
        # a short search has some parameters once; the page says that importances are tendencies
        warnings.filterwarnings("ignore", message="Some regimes for parameter")
        return dict(get_param_importances(study_of(space, trials)))


def _place(parameter: Parameter, value: Value) -> Value:
    return parameter.values.index(value) if isinstance(parameter, Ordinal | Categorical) else value


def _distribution(parameter: Parameter) -> "BaseDistribution":
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    match parameter:
        case Float(lower=lower, upper=upper, log=log):
            return FloatDistribution(lower, upper, log=log)
        case Integer(lower=lower, upper=upper, log=log):
            return IntDistribution(lower, upper, log=log)
        case Ordinal(values=values):
            return IntDistribution(0, len(values) - 1)
        case Categorical(values=values):
            return CategoricalDistribution(range(len(values)))
    raise AssertionError
