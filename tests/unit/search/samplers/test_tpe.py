import warnings
from dataclasses import replace
from math import inf

import optuna
import pytest

from deepfreak.search import Categorical, Float, Integer, Outcome, Space, When, optimize
from deepfreak.search.samplers.tpe import RANDOM, TPE, importance, study_of
from deepfreak.search.tables import TABLE_8


def search(accuracy, *, trials, at_once=1, seed=0):
    """Return the trials of a search in which `accuracy` of the settings tells the outcome."""

    def loss(trial):
        found = accuracy(trial.settings)
        return inf if found is None else 1 - found

    sampler = TPE(space=TABLE_8, trials=trials, seed=seed)
    return list(optimize(loss, sampler, under_way=at_once).trials)


def propose(history, *, seed=0, at_once=1):
    """Return the settings that are tried next, with the last `at_once` - 1 still under way."""
    known = len(history) - at_once + 1
    shown = [replace(t, outcome=t.outcome if t.number < known else None) for t in history]
    return TPE(space=TABLE_8, trials=99, seed=seed).propose(shown).settings


def lbp_is_best(values):
    good = 0.5 * (values["extractor"] == "lbp") + 0.3 * (values["classifier"] == "svm")
    return good + 0.1 * (values.get("svm.C") or 0) / 2**15


def test_a_proposal_depends_on_the_history_and_the_seed_only():
    for history in ([], search(lbp_is_best, trials=RANDOM + 3)):
        assert propose(history, seed=0, at_once=1) == propose(history, seed=0, at_once=1)
    others = [propose([], seed=seed, at_once=1) for seed in range(1, 6)]
    assert any(other != propose([], seed=0, at_once=1) for other in others)


def test_no_point_is_tried_twice():
    history = search(lambda values: 0.5 + 0.5 * (values["extractor"] == "sift"), trials=40)
    assert len({frozenset(trial.settings.items()) for trial in history}) == 40


def test_outcomes_of_what_may_still_be_under_way_do_not_matter():
    history = search(lbp_is_best, trials=RANDOM + 10, at_once=4)
    # that of the trial before them does
    hidden = replace(history[-4], outcome=Outcome(0.0))
    changed = [*history[:-4], hidden, *history[-3:]]
    proposals = [
        (propose(history, seed=seed, at_once=4), propose(changed, seed=seed, at_once=4))
        for seed in range(8)
    ]
    assert any(one != other for one, other in proposals)


def test_the_search_goes_where_it_is_good_also_with_many_at_once():
    history = search(lbp_is_best, trials=45, at_once=8)
    late = [trial.settings for trial in history[30:]]
    assert sum(values["extractor"] == "lbp" for values in late) >= 11
    assert sum(values["classifier"] == "svm" for values in late) >= 11


def test_settings_that_hit_the_bound_are_not_asked_for_again_and_again():
    def bound(values):
        return None if values["extractor"] == "sift" else 0.9

    late = search(bound, trials=45)[25:]
    assert sum(trial.settings["extractor"] == "sift" for trial in late) <= 4


def test_optuna_has_nothing_to_warn_of():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        search(lbp_is_best, trials=RANDOM + 2)


def test_a_space_of_all_kinds_can_be_searched():
    none = When(parameter="kind", values=(None,))
    space = Space(
        {
            "kind": Categorical(values=("a", (1, 2), None)),
            "rate": Float(lower=1e-4, upper=1, log=True),
            "count": Integer(lower=1, upper=64, log=True, when=none),
        }
    )
    found = optimize(
        lambda trial: trial.settings["rate"] + (trial.settings["kind"] != (1, 2)),
        TPE(space=space, trials=40),
    )
    assert found.ranking[0].settings["kind"] == (1, 2)
    assert found.ranking[0].loss < 0.01
    assert all(("count" in t.settings) == (t.settings["kind"] is None) for t in found.trials)


def test_trials_can_be_given_to_optuna(tmp_path):
    trials = search(lbp_is_best, trials=3)
    storage = f"sqlite:///{tmp_path}/study.db"
    study_of(TABLE_8, trials, storage=storage)
    (name,) = optuna.get_all_study_names(storage)
    study = optuna.load_study(study_name=name, storage=storage)
    assert study.best_value == min(trial.loss for trial in trials)
    assert len(study.trials) == 3


def test_importance_is_known_for_what_only_some_trials_have():
    trials = search(lbp_is_best, trials=RANDOM)
    found = importance(TABLE_8, trials)
    assert {"extractor", "svm.C", "glcm.distances"} <= set(found)
    assert sum(found.values()) == pytest.approx(1)
    assert importance(TABLE_8, trials[:1]) == {}
