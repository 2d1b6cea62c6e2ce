import pytest
from hypothesis import given
from hypothesis import strategies as st

from deepfreak.errors import DatasetError
from deepfreak.features import GLCM, LBP, SIFT
from deepfreak.models import SVM, Forest
from deepfreak.search.table8 import (
    TABLE_8,
    configuration,
    describe,
    size,
    values_of,
    walk,
)

ODD = range(1, 16, 2)
BY_NAME = {choice.name: choice for choice in TABLE_8}


@st.composite
def points(draw):
    return walk(lambda choice: draw(st.integers(0, len(choice.values) - 1)))


def test_the_space_is_the_papers_table_8():
    counts = {choice.name: len(choice.values) for choice in TABLE_8}
    assert counts == {
        "extractor": 3,
        "classifier": 2,
        "glcm.distances": 31,
        "glcm.angles_deg": 15,
        "lbp.points": 4,
        "lbp.radius": 4,
        "sift.clusters": 8,
        "forest.trees": 3,
        "forest.max_features": 4,
        "forest.max_depth": 7,
        "forest.class_weight": 5,
        "svm.C": 12,
        "svm.gamma": 11,
        "svm.class_weight": 5,
    }
    assert size() == (31 * 15 + 4 * 4 + 8) * (3 * 4 * 7 * 5 + 12 * 11 * 5)
    assert BY_NAME["svm.C"].values == (
        2**-5,
        2**-3,
        0.5,
        1,
        2,
        8,
        32,
        128,
        512,
        2**11,
        2**13,
        2**15,
    )
    assert BY_NAME["svm.gamma"].values[:2] == (0, 2**-15)
    assert BY_NAME["svm.gamma"].values[-1] == 8
    assert BY_NAME["forest.max_depth"].values == (2, 4, 6, 8, 10, 20, None)
    assert BY_NAME["sift.clusters"].values == (10, 25, 50, 100, 250, 500, 1000, 5000)
    assert 0 in BY_NAME["lbp.radius"].values
    ordinal = {choice.name for choice in TABLE_8 if choice.ordinal}
    assert "svm.C" in ordinal
    assert not ordinal & {"glcm.distances", "svm.class_weight", "extractor"}


@pytest.mark.parametrize("choice", TABLE_8, ids=lambda choice: choice.name)
def test_what_optuna_calls_a_value_leads_back_to_its_place(choice):
    assert len(set(choice.labels)) == len(choice.values)
    for place in range(len(choice.values)):
        assert choice.pick(choice.parameter(place)) == place


@given(points())
def test_each_point_is_one_extractor_and_one_classifier(picks):
    chosen = configuration(picks)
    values = values_of(picks)
    kinds = {"glcm": GLCM, "lbp": LBP, "sift": SIFT, "forest": Forest, "svm": SVM}
    assert isinstance(chosen.extractor, kinds[values["extractor"]])
    assert isinstance(chosen.classifier, kinds[values["classifier"]])
    for name, value in values.items():
        kind, dot, setting = name.partition(".")
        if dot:
            part = chosen.extractor if kind == values["extractor"] else chosen.classifier
            assert getattr(part, setting) == value


def test_only_what_was_asked_for_is_chosen():
    asked = []
    picks = walk(lambda choice: asked.append(choice.name) or 1)
    assert asked == list(picks)
    assert set(picks) == {
        "extractor", "classifier", "lbp.points", "lbp.radius", "svm.C", "svm.gamma",
        "svm.class_weight",
    }  # fmt: skip


def test_a_point_is_told_in_one_line():
    picks = {
        "extractor": 0, "classifier": 1, "glcm.distances": 30, "glcm.angles_deg": 0,
        "svm.C": 11, "svm.gamma": 0, "svm.class_weight": 2,
    }  # fmt: skip
    assert describe(picks) == (
        "glcm distances 1,2,4,5,8 angles_deg 0 + "
        "svm C 32768 gamma 0 class_weight 0.35,0.35,0.1,0.1,0.1"
    )


@pytest.mark.parametrize(
    "wrong",
    [
        {},
        {"extractor": 1, "classifier": 0, "lbp.points": 0},
        {"extractor": 2, "classifier": 1, "sift.clusters": 8, "svm.C": 0, "svm.gamma": 0,
         "svm.class_weight": 0},
        {"extractor": 2, "classifier": 1, "sift.clusters": -1, "svm.C": 0, "svm.gamma": 0,
         "svm.class_weight": 0},
        {"extractor": 2, "classifier": 1, "sift.clusters": 0, "svm.C": 0, "svm.gamma": 0,
         "svm.class_weight": 0, "lbp.points": 0},
    ],
)  # fmt: skip
def test_what_is_no_point_is_refused(wrong):
    with pytest.raises(DatasetError, match="expected a point of the search space"):
        values_of(wrong)
