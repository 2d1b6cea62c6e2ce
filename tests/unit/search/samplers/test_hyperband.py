import math
from dataclasses import replace

import pytest
from pydantic import ValidationError

from deepfreak.search import Hyperband
from deepfreak.search.samplers.hyperband import Configuration, Rung, next_run
from deepfreak.search.trial import Outcome, Trial

from .frozen import traces


@pytest.mark.parametrize("trace", traces("hpbandster_brackets"))
def test_brackets_are_those_of_hpbandster(trace):
    hyperband = Hyperband(**{name: trace[name] for name in ("min_budget", "max_budget", "eta")})
    for iteration, rungs in enumerate(trace["rungs"]):
        ours = hyperband.rungs(iteration)
        assert [rung.runs for rung in ours] == [runs for _, runs in rungs]
        assert [rung.budget for rung in ours] == pytest.approx([b for b, _ in rungs], rel=1e-12)


class Bracket:
    """A bracket under way: `next` begins a trial, `tell` ends it."""

    def __init__(self, iteration, rungs):
        self.iteration, self.rungs, self.begun = iteration, rungs, []

    def next(self):
        run = next_run(self.iteration, self.rungs, self.begun)
        if run is not None:
            number, name = len(self.begun), str(run.configuration)
            trial = Trial(number=number, configuration=name, settings={}, seed=0, budget=run.budget)
            self.begun.append(trial)
        return run

    def tell(self, run, loss):
        (place,) = (
            i
            for i, trial in enumerate(self.begun)
            if (trial.configuration, trial.budget) == (str(run.configuration), run.budget)
        )
        self.begun[place] = replace(self.begun[place], outcome=Outcome(loss))


@pytest.mark.parametrize("trace", traces("hpbandster_order"))
def test_runs_follow_in_the_order_of_hpbandster_failures_replaced_by_new_settings(trace):
    hyperband = Hyperband(**{name: trace[name] for name in ("min_budget", "max_budget", "eta")})
    expected = iter(trace["runs"])
    for iteration in range(trace["iterations"]):
        bracket = Bracket(iteration, hyperband.rungs(iteration))
        while (run := bracket.next()) is not None:
            name, budget, loss = next(expected)
            assert (list(run.configuration), run.budget) == (name, pytest.approx(budget))
            bracket.tell(run, math.inf if loss is None else loss)
    assert next(expected, None) is None


def test_a_bracket_waits_for_the_last_run_of_a_rung():
    bracket = Bracket(0, (Rung(1, 3), Rung(3, 1)))
    first, second, third = bracket.next(), bracket.next(), bracket.next()
    assert bracket.next() is None
    bracket.tell(third, 0.1)
    bracket.tell(first, 0.3)
    assert bracket.next() is None
    bracket.tell(second, 0.2)
    assert bracket.next() == (third.configuration, 3, 1)
    assert bracket.next() is None


def test_new_settings_in_a_later_rung_have_nothing_to_continue_from():
    bracket = Bracket(4, (Rung(1, 3), Rung(3, 2)))
    for loss in (math.inf, math.inf, 0.5):
        bracket.tell(bracket.next(), loss)
    assert bracket.next() == (Configuration(4, 0, 2), 3, 1)
    assert bracket.next() == (Configuration(4, 1, 1), 3, None)


def test_the_number_of_trials_is_known_before():
    assert Hyperband(min_budget=1, max_budget=50).trials(2) == 27 + 9 + 3 + 1 + 9 + 3 + 1 + 3 - 3


def test_budgets_that_descend_are_refused():
    with pytest.raises(ValidationError, match="min_budget must be at most max_budget"):
        Hyperband(min_budget=2, max_budget=1)
