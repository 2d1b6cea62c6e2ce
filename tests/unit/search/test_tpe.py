import warnings
from dataclasses import replace

from deepfreak.search.space import values_of
from deepfreak.search.tpe import RANDOM, propose
from deepfreak.search.trial import Outcome, Trial


def search(accuracy, *, trials, at_once=1, seed=0):
    """Return the history of a search in which `accuracy` of the values is the result."""
    history = []
    for number in range(trials):
        picks = propose(history, seed=seed, at_once=at_once)
        found = accuracy(values_of(picks))
        outcome = (
            Outcome(state="bound")
            if found is None
            else Outcome(state="done", hits=round(1000 * found), total=1000)
        )
        history.append(Trial(number=number, picks=picks, outcome=outcome))
    return history


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
    assert len({frozenset(trial.picks.items()) for trial in history}) == 40


def test_outcomes_of_what_may_still_be_under_way_are_not_looked_at():
    history = search(lbp_is_best, trials=RANDOM + 10, at_once=4)
    pending = [replace(trial, outcome=None) for trial in history[-3:]]
    worst = [replace(trial, outcome=Outcome(state="failed")) for trial in history[-3:]]
    expected = propose(history, seed=0, at_once=4)
    assert propose([*history[:-3], *pending], seed=0, at_once=4) == expected
    assert propose([*history[:-3], *worst], seed=0, at_once=4) == expected
    # the one before them is
    hidden = replace(history[-4], outcome=Outcome(state="done", hits=1000, total=1000))
    changed = [*history[:-4], hidden, *history[-3:]]
    proposals = [
        (propose(history, seed=seed, at_once=4), propose(changed, seed=seed, at_once=4))
        for seed in range(8)
    ]
    assert any(one != other for one, other in proposals)


def test_the_search_goes_where_it_is_good_also_with_many_at_once():
    history = search(lbp_is_best, trials=45, at_once=8)
    late = [values_of(trial.picks) for trial in history[30:]]
    assert sum(values["extractor"] == "lbp" for values in late) >= 11
    assert sum(values["classifier"] == "svm" for values in late) >= 11


def test_settings_that_hit_the_bound_are_not_asked_for_again_and_again():
    def bound(values):
        return None if values["extractor"] == "sift" else 0.9

    late = search(bound, trials=45)[25:]
    assert sum(values_of(trial.picks)["extractor"] == "sift" for trial in late) <= 4


def test_optuna_has_nothing_to_warn_of():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        search(lbp_is_best, trials=RANDOM + 2)
