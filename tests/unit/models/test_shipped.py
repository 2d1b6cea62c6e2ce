"""The models inside the package, and their names."""

import json
from importlib import resources
from pathlib import Path

import numpy as np
import pytest

from deepfreak.datasets import Dataset, generate
from deepfreak.datasets.verifying import RELEASED_NAME, RELEASED_SHA256
from deepfreak.errors import ModelError
from deepfreak.models import FittedPerceptrons, load_model
from deepfreak.models.evaluation import evaluate
from deepfreak.models.shipped import model_file
from deepfreak.physics.recipe import load_recipe
from deepfreak.screening.policy import SURELY_NO, SURELY_YES, find_policy, shipped_policy

SHIPPED = resources.files("deepfreak.models") / "shipped"
CLASSES = ("blank", "no-crystal", "weak", "good", "strong")


@pytest.fixture(scope="module")
def diffranet():
    return load_model("diffranet")


def test_the_five_class_model_is_small_and_says_where_it_comes_from(diffranet) -> None:
    assert len(model_file("diffranet").read_bytes()) < 1e6
    assert isinstance(diffranet.classifier, FittedPerceptrons)
    assert diffranet.classes == CLASSES
    learned = diffranet.manifest["data"]
    assert learned["count"] == 10_000
    # the test images of the same file must stay unseen
    assert learned["manifest"]["split"]["name"] == "train"


def test_it_is_right_on_most_fresh_shots(tmp_path: Path, diffranet) -> None:
    # 99 % on 12,600 images: of 24 one may well be wrong, four would not happen
    generate(load_recipe("diffranet"), count=24, seed=78, out=tmp_path / "fresh.h5")
    with Dataset.open(tmp_path / "fresh.h5") as data:
        evaluation = evaluate(diffranet, data)
    assert evaluation.accuracy.hits >= 21
    np.testing.assert_allclose(evaluation.probabilities.sum(axis=1), 1)


def test_it_learned_and_was_judged_on_the_released_set(diffranet) -> None:
    evaluation = json.loads((SHIPPED / "diffranet-evaluation.json").read_text())
    assert (evaluation["count"], evaluation["model"]) == (12_600, diffranet.name)
    for data_set in (evaluation["data_set"], diffranet.manifest["data"]["data_set"]):
        assert (data_set["name"], data_set["sha256"]) == (RELEASED_NAME, RELEASED_SHA256)


@pytest.mark.parametrize("recall", [0.9, 0.99, 0.995])
def test_of_other_detectors_it_leaves_a_band_of_unsure_frames(diffranet, recall: float) -> None:
    policy, _ = find_policy(diffranet, model=Path("diffranet"), min_hit_recall=recall)
    assert policy.discard_below <= SURELY_NO < SURELY_YES <= policy.keep_from
    assert "not on this detector" in policy.promise()


def test_its_thresholds_are_found_without_its_name_too(diffranet) -> None:
    assert shipped_policy(diffranet) == find_policy(diffranet, model=Path("diffranet"))[0]


def test_a_name_goes_before_a_file_of_that_name(tmp_path: Path, monkeypatch, diffranet) -> None:
    monkeypatch.chdir(tmp_path)
    Path("diffranet").write_bytes(b"mine")
    assert load_model("diffranet").name == diffranet.name
    assert load_model(Path("diffranet")).name == diffranet.name
    with pytest.raises(ModelError, match="something else"):
        load_model(tmp_path / "diffranet")


def test_none_and_its_name_give_the_default() -> None:
    assert load_model().name == load_model("default").name
