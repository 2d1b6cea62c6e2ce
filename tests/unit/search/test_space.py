import numpy as np
import pytest
from pydantic import ValidationError

from deepfreak.search import Categorical, Float, Integer, Ordinal, Space, When
from deepfreak.search.tables import EPOCHS, PUBLISHED_CODE, TABLE_10

SPACE = Space(
    {
        "kind": Categorical(values=("forest", "svm")),
        "trees": Integer(
            lower=1, upper=1000, log=True, when=When(parameter="kind", values=("forest",))
        ),
        "depth": Ordinal(values=(5, 10, 20), when=When(parameter="kind", values=("forest",))),
        "C": Float(lower=1e-3, upper=1e3, log=True, when=When(parameter="kind", values=("svm",))),
        "shift": Float(lower=-2, upper=3),
        "count": Integer(lower=0, upper=3),
    }
)


def draws(space, count=2000):
    rng = np.random.default_rng(0)
    return [space.settings(space.draw(rng)) for _ in range(count)]


def test_parameters_exist_where_their_condition_holds_and_only_there():
    for settings in draws(SPACE, 200):
        forest = settings["kind"] == "forest"
        assert ("trees" in settings) == ("depth" in settings) == forest
        assert ("C" in settings) == (not forest)


def test_a_condition_on_a_parameter_that_does_not_exist_does_not_hold():
    space = Space(
        {
            "a": Categorical(values=(0, 1)),
            "b": Categorical(values=(0, 1), when=When(parameter="a", values=(1,))),
            "c": Float(lower=0, upper=1, when=When(parameter="b", values=(0, 1))),
        }
    )
    assert space.settings(np.array([0.0, 1.0, 0.5])) == {"a": 0}


def test_settings_lie_where_they_were_taken_from():
    for settings in draws(SPACE, 200):
        again = SPACE.settings(np.nan_to_num(SPACE.vector(settings)))
        assert again == pytest.approx(settings)
        assert [type(value) for value in again.values()] == [type(v) for v in settings.values()]


def test_what_does_not_exist_is_nan_and_all_else_lies_between_0_and_1_or_is_an_index():
    vectors = np.array([SPACE.vector(settings) for settings in draws(SPACE, 200)])
    missing = np.isnan(vectors)
    forest = vectors[:, 0] == 0
    assert (missing[:, [1, 2]] == ~forest[:, None]).all()
    assert (missing[:, 3] == forest).all()
    assert ((vectors >= 0) & (vectors <= 1))[~missing].all()


def test_draws_are_even_and_logarithmic_ones_even_by_their_logarithm():
    settings = draws(SPACE)
    costs = np.log10([s["C"] for s in settings if "C" in s])
    assert np.histogram(costs, bins=4, range=(-3, 3))[0] == pytest.approx(len(costs) / 4, rel=0.15)
    assert np.bincount([s["count"] for s in settings]) == pytest.approx(500, rel=0.15)
    trees = np.array([s["trees"] for s in settings if "trees" in s])
    assert np.mean(trees <= 31) == pytest.approx(0.545, abs=0.05)  # log(63) / log(2001)


@pytest.mark.parametrize(
    ("parameter", "extremes"),
    [
        (Float(lower=1e-4, upper=10, log=True), (1e-4, 10)),
        (Integer(lower=3, upper=7), (3, 7)),
        (Integer(lower=1, upper=9, log=True), (1, 9)),
        (Ordinal(values=("low", "mid", "high")), ("low", "high")),
    ],
)
def test_coordinates_0_and_1_are_the_extremes(parameter, extremes):
    assert (parameter.value(0.0), parameter.value(1.0)) == extremes


def test_values_keep_their_types():
    kinds = Categorical(values=(True, 1.5, 2, "2"))
    assert [type(kinds.value(i)) for i in range(4)] == [bool, float, int, str]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Float(lower=1, upper=1), "lower must be below upper, found 1.0 and 1.0"),
        (lambda: Float(lower=0, upper=1, log=True), "begins above 0, found 0.0"),
        (lambda: Integer(lower=0, upper=5, log=True), "begins above 0, found 0"),
        (lambda: Ordinal(values=(1,)), "two values or more"),
        (lambda: Categorical(values=(1, 2, 1)), "all different"),
    ],
)
def test_what_cannot_be_searched_is_refused(make, message):
    with pytest.raises(ValidationError, match=message):
        make()


def test_conditions_look_back():
    late = When(parameter="b", values=(1,))
    with pytest.raises(ValueError, match="a depends on b, which must come before it"):
        Space({"a": Categorical(values=(0, 1), when=late), "b": Categorical(values=(0, 1))})
    with pytest.raises(ValueError, match="needs a parameter"):
        Space({})


PARENTS = {
    "name": Categorical(values=("sgd", "adam")),
    "number": Ordinal(values=(1, 2, 4)),
    "count": Integer(lower=1, upper=9),
    "level": Float(lower=0, upper=1),
}


@pytest.mark.parametrize(
    ("parent", "values", "message"),
    [
        ("name", ("SGD",), "expected 'sgd', 'adam', found 'SGD'"),
        ("name", ("sgd", "SGD"), "found 'SGD'"),
        ("name", (), "found none"),
        ("number", (3,), "expected 1, 2, 4, found 3"),
        ("number", ("1",), "found '1'"),
        ("count", (0, 5), "expected whole numbers from 1 to 9, found 0"),
        ("count", (2.5,), "found 2.5"),
        ("count", ("5",), "found '5'"),
        ("level", (0.5,), "a continuous number"),
    ],
)
def test_a_condition_that_can_never_be_met_is_refused(parent, values, message):
    child = Float(lower=0.5, upper=0.99, when=When(parameter=parent, values=values))
    with pytest.raises(ValueError, match=message):
        Space({**PARENTS, "child": child})


@pytest.mark.parametrize(
    ("parent", "values"), [("name", ("sgd",)), ("number", (1, 4)), ("count", (1, 9))]
)
def test_a_condition_that_can_be_met_is_taken(parent, values):
    child = Float(lower=0.5, upper=0.99, when=When(parameter=parent, values=values))
    found = list(draws(Space({**PARENTS, "child": child}), 200))
    assert {"child" in settings for settings in found} == {True, False}


def test_table_10_is_that_of_the_paper_and_the_published_code_has_other_batches_and_rates():
    assert list(TABLE_10.choices) == [13, 0, 0, 0, 5]
    configuration_b = {
        "topology": 8,
        "learning_rate": 8.4474e-04,
        "momentum": 0.56168,
        "weight_decay": 3.4855e-05,
        "batch_size": 1,
    }
    assert PUBLISHED_CODE.vector(configuration_b)[0] == 7
    with pytest.raises(ValueError):
        TABLE_10.vector(configuration_b)
    assert TABLE_10.parameters["learning_rate"].upper == 10
    assert PUBLISHED_CODE.parameters["learning_rate"].upper == 1
    assert EPOCHS.budgets == pytest.approx((50 / 27, 50 / 9, 50 / 3, 50))
