"""The model inside the package."""

from importlib import resources
from pathlib import Path

import numpy as np

from deepfreak.dataset import Dataset, generate
from deepfreak.evaluation import evaluate
from deepfreak.models import load_model
from deepfreak.recipe import load_recipe

SHIPPED = resources.files("deepfreak.models") / "shipped" / "default.skops"


def test_it_is_small_and_says_where_it_comes_from() -> None:
    assert len(SHIPPED.read_bytes()) < 5e6
    manifest = load_model().manifest
    assert manifest["data"]["count"] >= 4000
    assert manifest["data"]["manifest"]["seed"] == 0
    # the test images of the same file must stay unseen
    assert manifest["data"]["manifest"]["split"]["name"] == "train"


def test_it_is_right_on_most_fresh_shots(tmp_path: Path) -> None:
    # 99.2 % on 12,600 images: of 24 one may well be wrong, five would not happen in 10^5 runs
    generate(load_recipe("diffranet"), count=24, seed=77, out=tmp_path / "fresh.h5")
    with Dataset.open(tmp_path / "fresh.h5") as data:
        evaluation = evaluate(load_model(), data)
    assert evaluation.accuracy.hits >= 20
    np.testing.assert_allclose(evaluation.probabilities.sum(axis=1), 1)
