import numpy as np
import pytest
from pydantic import ValidationError
from threadpoolctl import threadpool_limits

from deepfreak.errors import DatasetError
from deepfreak.models import PerceptronLearner
from deepfreak.models.classifier import weights_by_image
from tests.unit.models.vectors import draw_vectors

SETTINGS = PerceptronLearner(hidden=6, decay=0.003, members=2)
LABELS = np.arange(300) % 5


@pytest.fixture(scope="module")
def vectors():
    return draw_vectors(LABELS, seed=0)[0]


@pytest.fixture(scope="module")
def unseen():
    return draw_vectors(np.arange(600) % 5, seed=5)


@pytest.fixture(scope="module")
def fitted(vectors):
    return SETTINGS.fit(vectors, LABELS, classes=5, held_out=True)


@pytest.mark.parametrize("classes", [2, 5])
def test_they_come_near_the_best_that_can_be_done(vectors, classes):
    found, labels = SETTINGS, LABELS % classes
    taught, _ = draw_vectors(labels, seed=0)
    new, truth = draw_vectors(np.arange(600) % classes, seed=5)
    fitted = found.fit(taught, labels, classes=classes)
    # normal classes of one deviation: the best is the nearest mean
    scaled = (new - 7) / np.logspace(-2, 3, 6)
    means = 1.5 * np.arange(classes)[:, None] * np.array([1, 0.7, 0.4, 0, 0, 0])
    best = ((scaled[:, None] - means) ** 2).sum(axis=2).argmin(axis=1)
    assert np.mean(fitted.predict(new) == truth) > np.mean(best == truth) - 0.06


def test_probabilities_add_up_and_the_most_probable_class_is_predicted(fitted, unseen):
    rows = fitted.probabilities(unseen[0])
    np.testing.assert_allclose(rows.sum(axis=1), 1)
    np.testing.assert_array_equal(fitted.predict(unseen[0]), rows.argmax(axis=1))


def test_of_two_classes_the_output_is_the_log_odds(vectors):
    fitted = SETTINGS.fit(vectors, LABELS % 2, classes=2)
    rows = fitted.probabilities(vectors)
    odds = fitted.perceptrons.outputs(vectors)[:, 0]
    np.testing.assert_allclose(np.log(rows[:, 1] / rows[:, 0]), odds, atol=1e-9)


def test_what_is_held_out_tells_how_good_and_how_sure_they_are(fitted, unseen):
    vectors, labels = unseen
    rows = fitted.probabilities(vectors)
    right = rows.argmax(axis=1) == labels
    assert fitted.accuracy_held_out == pytest.approx(right.mean(), abs=0.07)
    assert rows.max(axis=1).mean() == pytest.approx(right.mean(), abs=0.07)


def test_neither_workers_nor_threads_change_them(fitted, vectors):
    with threadpool_limits(2):
        again = SETTINGS.fit(vectors, LABELS, classes=5, held_out=True, workers=2)
    assert again.fingerprint() == fitted.fingerprint()
    assert again.accuracy_held_out == fitted.accuracy_held_out


def test_the_seed_and_the_settings_change_them(fitted, vectors):
    prints = {fitted.fingerprint(), SETTINGS.fit(vectors, LABELS, classes=5, seed=1).fingerprint()}
    for changed in ({"hidden": 5}, {"decay": 0.1}, {"members": 1}):
        settings = PerceptronLearner(**({"hidden": 6, "decay": 0.003, "members": 2} | changed))
        prints.add(settings.fit(vectors, LABELS, classes=5).fingerprint())
    assert len(prints) == 5


def test_a_class_that_weighs_more_is_named_more_often(vectors):
    weights = (1.0, 30.0, 1.0, 1.0, 1.0)
    counts = [
        np.bincount(
            PerceptronLearner(hidden=3, members=1, decay=0.1, class_weight=weight)
            .fit(vectors, LABELS, classes=5)
            .predict(vectors),
            minlength=5,
        )[1]
        for weight in (None, weights)
    ]
    assert counts[1] > counts[0]


def test_weights_are_those_of_each_image():
    labels = np.array([0, 0, 0, 1])
    np.testing.assert_array_equal(weights_by_image(None, labels, 2), [1, 1, 1, 1])
    np.testing.assert_array_equal(weights_by_image((2.0, 3.0), labels, 2), [2, 2, 2, 3])
    balanced = weights_by_image("balanced", labels, 2)
    assert balanced[:3].sum() == pytest.approx(balanced[3])
    assert balanced.sum() == pytest.approx(4)


def test_a_number_that_never_varies_does_no_harm(vectors):
    vectors = np.c_[vectors, np.full(len(vectors), 1e5)]
    fitted = SETTINGS.fit(vectors, LABELS, classes=5)
    assert np.mean(fitted.predict(vectors) == LABELS) > 0.6
    vectors[:, -1] += 1e6
    assert np.isfinite(fitted.probabilities(vectors)).all()


def test_a_class_with_one_vector_cannot_be_held_out(vectors):
    labels = np.where(np.arange(300) == 3, 4, np.arange(300) % 4)
    with pytest.raises(DatasetError, match="two images of every class"):
        SETTINGS.fit(vectors, labels, classes=5, held_out=True)


@pytest.mark.parametrize("wrong", [{"hidden": 0}, {"decay": 0}, {"members": 0}, {"hidden": 600}])
def test_impossible_settings_are_refused(wrong):
    with pytest.raises(ValidationError):
        PerceptronLearner(**wrong)
