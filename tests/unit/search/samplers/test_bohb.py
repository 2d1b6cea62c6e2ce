import numpy as np
import pytest

from deepfreak.search import Categorical, Float, Guidance, Space, When
from deepfreak.search.samplers.bohb import suggest
from deepfreak.search.trial import Outcome, Trial

SPACE = Space({"kind": Categorical(values=("a", "b", "c")), "x": Float(lower=0, upper=10)})
ALWAYS = Guidance(random_fraction=0)


def ended(settings, budget, loss):
    return Trial(
        number=0, configuration="0-0-0", settings=settings, seed=0, budget=budget,
        outcome=Outcome(loss),
    )  # fmt: skip


def history_of(count, budget=1.0, *, space=SPACE, best=2.0):
    history = []
    rng = np.random.default_rng(0)
    for _ in range(count):
        settings = space.settings(space.draw(rng))
        loss = abs(settings["x"] - best) + (settings["kind"] != "b")
        history.append(ended(settings, budget, loss))
    return history


def suggestions(history, guidance=ALWAYS, count=60, space=SPACE):
    rng = np.random.default_rng(0)
    return [suggest(space, history, guidance, rng) for _ in range(count)]


def test_without_results_suggestions_are_random():
    found = suggestions([])
    assert not any(from_model for _, from_model in found)
    assert {settings["kind"] for settings, _ in found} == {"a", "b", "c"}


def test_the_model_waits_until_good_and_bad_are_each_one_more_than_the_parameters():
    assert not suggest(SPACE, history_of(5), ALWAYS, np.random.default_rng(0))[1]
    assert suggest(SPACE, history_of(6), ALWAYS, np.random.default_rng(0))[1]


def test_a_model_may_be_asked_to_wait_longer():
    patient = Guidance(random_fraction=0, min_points=10)
    assert not suggest(SPACE, history_of(12), patient, np.random.default_rng(0))[1]
    assert suggest(SPACE, history_of(13), patient, np.random.default_rng(0))[1]


def test_suggestions_lie_where_losses_were_small():
    found = [settings for settings, _ in suggestions(history_of(100))]
    assert np.median([abs(settings["x"] - 2) for settings in found]) < 1
    assert np.mean([settings["kind"] == "b" for settings in found]) > 0.9


def test_a_third_is_random_and_all_or_none_if_asked():
    history = history_of(30)
    shares = [
        np.mean([from_model for _, from_model in suggestions(history, guidance, 500)])
        for guidance in (Guidance(), Guidance(random_fraction=1), ALWAYS)
    ]
    assert shares == [pytest.approx(2 / 3, abs=0.07), 0, 1]


def test_the_largest_budget_with_enough_results_leads():
    history = history_of(60, 1.0, best=9.0)
    for settings, loss in ((s, abs(s["x"] - 1)) for s, _ in suggestions([], count=20)):
        history.append(ended(settings, 3.0, loss))
    for settings, _ in suggestions([], count=5):
        history.append(ended(settings, 9.0, 0.0))  # too few
    assert np.median([settings["x"] for settings, _ in suggestions(history)]) < 3


def test_failures_are_bad():
    history = []
    rng = np.random.default_rng(1)
    for _ in range(60):
        settings = SPACE.settings(SPACE.draw(rng))
        history.append(ended(settings, 1.0, np.inf if settings["x"] > 3 else 1.0))
    assert np.mean([settings["x"] < 3.5 for settings, _ in suggestions(history)]) > 0.9


def test_in_a_conditional_space_suggestions_have_what_exists():
    when = When(parameter="kind", values=("b",))
    space = Space({**SPACE.parameters, "depth": Float(lower=0, upper=1, when=when)})
    found = suggestions(history_of(80, space=space), space=space)
    assert all(("depth" in settings) == (settings["kind"] == "b") for settings, _ in found)
    assert any("depth" in settings for settings, _ in found)
