"""Plans of splits: valid and invalid ones, and their round trip through JSON."""

import pydantic
import pytest

from deepfreak.physics.recipe import experiment_from, load_recipe, settings_of
from deepfreak.splits import DatasetPlan, places_of


def test_splits_stand_one_after_the_other() -> None:
    places = places_of({"train": 10_000, "validation": 2_400, "test": 12_600}, 25_000)
    assert places == {"train": (0, 10_000), "validation": (10_000, 2_400), "test": (12_400, 12_600)}


@pytest.mark.parametrize(
    ("splits", "said"),
    [
        ({"train": 8, "test": 3}, "splits of 11 images do not fit into 10"),
        ({"train": 0}, "greater than or equal to 1"),
        ({"../x": 3}, "is a word"),
        ((("train", 1), ("train", 2)), "distinct"),
    ],
)
def test_a_plan_that_contradicts_itself_is_refused(splits: object, said: str) -> None:
    with pytest.raises(pydantic.ValidationError, match=said):
        DatasetPlan(count=10, splits=splits)


def test_a_plan_survives_json() -> None:
    table = settings_of(load_recipe("diffranet"))
    table["dataset"] = {"count": 5, "splits": {"train": 3, "test": 2}}
    experiment = experiment_from(table)
    assert experiment.dataset == DatasetPlan(count=5, splits=(("train", 3), ("test", 2)))
    assert experiment_from(settings_of(experiment)) == experiment
    hash(experiment)
