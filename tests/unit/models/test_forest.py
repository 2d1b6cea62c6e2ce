import numpy as np
import pytest
from pydantic import ValidationError

from deepfreak.errors import DatasetError
from deepfreak.models import CLASS_WEIGHTS, Forest
from deepfreak.models.forest import MAX_DEPTHS, MAX_FEATURES, TREES, trees_of, vote
from tests.unit.models.vectors import draw_vectors

LABELS = np.arange(150) % 5


@pytest.fixture(scope="module")
def vectors():
    return draw_vectors(LABELS, seed=0)[0]


def fit(vectors, labels=LABELS, *, classes=5, seed=1, **settings):
    workers = settings.pop("workers", 1)
    held_out = settings.pop("held_out", False)
    return Forest(**settings).fit(
        vectors, labels, classes=classes, seed=seed, workers=workers, held_out=held_out
    )


def test_unseen_vectors_are_told_apart(vectors):
    unseen, truth = draw_vectors(np.arange(100) % 5, seed=9, apart=3)
    fitted = fit(draw_vectors(LABELS, seed=0, apart=3)[0], trees=30)
    assert np.mean(fitted.predict(unseen) == truth) > 0.85


@pytest.mark.parametrize("depth", [None, 3])
@pytest.mark.parametrize("classes", [2, 5])
def test_probabilities_are_those_of_scikit_learn(vectors, classes, depth):
    from sklearn.ensemble import RandomForestClassifier

    labels = np.minimum(LABELS, classes - 1)
    theirs = RandomForestClassifier(20, max_depth=depth, random_state=1).fit(vectors, labels)
    ours = trees_of(theirs)
    assert ours.fingerprint() == (
        fit(vectors, labels, classes=classes, trees=20, max_depth=depth).fingerprint()
    )
    for seen in (vectors, draw_vectors(LABELS, seed=3)[0]):
        np.testing.assert_allclose(
            ours.probabilities(seen), theirs.predict_proba(seen), rtol=0, atol=1e-14
        )


def test_a_value_at_a_threshold_goes_where_scikit_learn_sends_it():
    """A threshold lies between two numbers in double precision, and is kept in single."""
    from sklearn.ensemble import RandomForestClassifier

    rng = np.random.default_rng(5)
    near = (1 + rng.integers(0, 40, (300, 3)) * np.finfo(np.float32).eps).astype(np.float64)
    labels = rng.integers(0, 3, 300)
    theirs = RandomForestClassifier(10, random_state=0).fit(near, labels)
    np.testing.assert_allclose(
        trees_of(theirs).probabilities(near), theirs.predict_proba(near), rtol=0, atol=1e-14
    )


def test_the_compiled_loop_is_the_slow_equivalent(vectors):
    fitted = fit(vectors, trees=3)
    arrays = fitted.arrays().values()
    np.testing.assert_array_equal(
        fitted.probabilities(vectors), vote.py_func(vectors.astype(np.float32), *arrays)
    )


def test_a_vector_is_classified_alike_alone_and_among_others(vectors):
    fitted = fit(vectors, trees=20)
    alone = np.concatenate([fitted.probabilities(vector[None]) for vector in vectors[:8]])
    np.testing.assert_array_equal(fitted.probabilities(vectors[:8]), alone)


def test_it_depends_on_the_seed_and_not_on_the_workers(vectors):
    first = fit(vectors, trees=10).fingerprint()
    assert fit(vectors, trees=10, workers=3).fingerprint() == first
    assert fit(vectors, trees=10, seed=2).fingerprint() != first


def test_the_accuracy_out_of_bag_is_found_where_it_is_asked_for(vectors):
    assert fit(vectors, trees=10).accuracy_held_out is None
    asked = fit(vectors, trees=10, held_out=True)
    assert 0.3 < asked.accuracy_held_out < 1
    assert asked.fingerprint() == fit(vectors, trees=10).fingerprint()


def test_a_single_tree_has_an_accuracy_over_what_it_did_not_see(vectors):
    assert 0 < fit(vectors, trees=1, held_out=True).accuracy_held_out <= 1


def test_defaults_are_the_best_settings_of_the_paper():
    assert Forest().settings() == {
        "classifier": "forest",
        "trees": 100,
        "max_depth": 20,
        "max_features": "sqrt",
        "class_weight": None,
    }


def test_a_heavier_class_is_found_more_often(vectors):
    labels = np.minimum(LABELS, 1)
    light, heavy = (
        fit(vectors, labels, classes=2, trees=30, max_depth=2, class_weight=weight)
        for weight in ((1.0, 1.0), (50.0, 1.0))
    )
    assert (heavy.predict(vectors) == 0).sum() > (light.predict(vectors) == 0).sum()


def test_every_value_of_table_8_is_taken(vectors):
    assert (len(TREES), len(MAX_FEATURES), len(MAX_DEPTHS)) == (3, 4, 7)
    for depth, part, weight in zip(
        MAX_DEPTHS, (*MAX_FEATURES, *MAX_FEATURES[:3]), (*CLASS_WEIGHTS, None, None), strict=True
    ):
        fitted = fit(vectors, trees=5, max_depth=depth, max_features=part, class_weight=weight)
        assert fitted.probabilities(vectors).shape == (150, 5)


@pytest.mark.parametrize(
    "wrong",
    [
        {"trees": 0},
        {"trees": 2.5},
        {"max_depth": 0},
        {"max_features": 0},
        {"max_features": 1.5},
        {"max_features": "log2"},
        {"class_weight": "heavy"},
        {"class_weight": (1.0, -1.0)},
        {"class_weight": (1.0, float("nan"))},
        {"depth": 3},
    ],
)
def test_impossible_settings_are_refused(wrong):
    with pytest.raises(ValidationError):
        Forest(**wrong)


def test_what_cannot_be_learned_from_is_refused(vectors):
    with pytest.raises(DatasetError, match=r"\[30, 30, 30, 60, 0\]"):
        fit(vectors, np.minimum(LABELS, 3))
    with pytest.raises(DatasetError, match="two classes or more"):
        fit(vectors, np.zeros(150, int), classes=1)
    with pytest.raises(DatasetError, match="labels 0 to 2"):
        fit(vectors, classes=3)
    with pytest.raises(DatasetError, match="labels"):
        fit(vectors[:0], LABELS[:0])
    with pytest.raises(DatasetError, match="for each of 5 classes, found 2"):
        fit(vectors, class_weight=(0.7, 0.3))
    with pytest.raises(DatasetError, match="found \\(150, 6\\)"):
        fit(vectors, LABELS[:10])


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e39])
def test_a_number_that_is_not_finite_is_refused_by_place(vectors, value):
    spoilt = vectors.copy()
    spoilt[17, 4] = value
    with pytest.raises(DatasetError, match="feature 4 of image 17"):
        fit(spoilt)
