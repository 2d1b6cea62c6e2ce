from hypothesis import given
from hypothesis import strategies as st

from deepfreak.features import GLCM, LBP, SIFT
from deepfreak.models import SVM, Forest
from deepfreak.search.space import Ordinal
from deepfreak.search.tables import TABLE_8, describe, pipeline, size

BY_NAME = TABLE_8.parameters


@st.composite
def points(draw):
    return TABLE_8.walk(lambda _, parameter: draw(st.sampled_from(parameter.values)))


def test_the_space_is_the_papers_table_8():
    counts = {name: len(parameter.values) for name, parameter in BY_NAME.items()}
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
    ordinal = {name for name, parameter in BY_NAME.items() if isinstance(parameter, Ordinal)}
    assert "svm.C" in ordinal
    assert not ordinal & {"glcm.distances", "svm.class_weight", "extractor"}


@given(points())
def test_each_point_is_one_extractor_and_one_classifier(settings):
    chosen = pipeline(settings)
    kinds = {"glcm": GLCM, "lbp": LBP, "sift": SIFT, "forest": Forest, "svm": SVM}
    assert isinstance(chosen.extractor, kinds[settings["extractor"]])
    assert isinstance(chosen.classifier, kinds[settings["classifier"]])
    for name, value in settings.items():
        kind, dot, setting = name.partition(".")
        if dot:
            part = chosen.extractor if kind == settings["extractor"] else chosen.classifier
            assert getattr(part, setting) == value


def test_a_point_is_told_in_one_line():
    settings = {
        "extractor": "glcm", "classifier": "svm", "glcm.distances": (1, 2, 4, 5, 8),
        "glcm.angles_deg": (0,), "svm.C": 32768, "svm.gamma": 0,
        "svm.class_weight": (0.35, 0.35, 0.1, 0.1, 0.1),
    }  # fmt: skip
    assert describe(settings) == (
        "glcm distances 1,2,4,5,8 angles_deg 0 + "
        "svm C 32768 gamma 0 class_weight 0.35,0.35,0.1,0.1,0.1"
    )
