import numpy as np
import pytest

from deepfreak.classes import (
    GROUPS,
)
from deepfreak.datasets import Dataset
from deepfreak.features import GLCM, FeatureCache
from deepfreak.models import SVM, Forest
from deepfreak.models.evaluation import Evaluation
from paper.baselines import Baseline, evaluate
from paper.record import Request, mcnemar
from tests.labelled import write_labelled

FOREST = Baseline(
    name="a forest",
    extractor=GLCM(distances=(1,), angles_deg=(0,)),
    classifier=Forest(trees=5, class_weight=(0.35, 0.35, 0.1, 0.1, 0.1)),
)


def request(folder):
    return Request(data=folder, work=folder, cache=FeatureCache(folder / "cache"))


def said(truth, verdicts):
    return Evaluation(
        model="m",
        data="d",
        classes=("a", "b"),
        truth=np.array(truth, np.uint8),
        probabilities=np.eye(2)[verdicts],
        seconds_per_image=0.0,
    )


def test_a_forest_is_evaluated_once_a_seed_and_an_svm_once(tmp_path):
    path = write_labelled(tmp_path / "toy.h5", np.arange(40) % 5, seed=1, side=64)
    with Dataset.open(path) as data:
        found = evaluate(FOREST, data, {"same": data}, request(tmp_path), seeds=2)
        assert len(found["same"].of_seeds) == 2
        assert " ± " in found["same"].spread
        svm = Baseline(name="an SVM", extractor=FOREST.extractor, classifier=SVM())
        found = evaluate(svm, data, {"same": data}, request(tmp_path), seeds=2)
        assert len(found["same"].of_seeds) == 1


def test_images_of_two_classes_are_classified_by_a_model_of_two(tmp_path):
    five = write_labelled(tmp_path / "five.h5", np.arange(40) % 5, seed=1, side=64)
    two = write_labelled(tmp_path / "two.h5", np.arange(10) % 2, seed=2, side=64, classes=GROUPS)
    with Dataset.open(five) as train, Dataset.open(two) as real:
        found = evaluate(FOREST, train, {"real": real}, request(tmp_path))["real"].first
    assert found.classes == GROUPS
    assert found.probabilities.shape == (10, 2)


def test_mcnemar_counts_what_only_one_has_right():
    truth = [0] * 12
    one, other = said(truth, [0] * 11 + [1]), said(truth, [0] + [1] * 10 + [0])
    assert mcnemar(one, other)[:2] == (10, 1)
    # of 11 tosses of a fair coin at most one, or at least ten, fall on one side
    assert mcnemar(one, other)[2] == pytest.approx(2 * 12 / 2**11)


def test_mcnemar_of_equal_verdicts_is_undecided():
    one = said([0, 1], [0, 0])
    assert mcnemar(one, one) == (0, 0, 1.0)
