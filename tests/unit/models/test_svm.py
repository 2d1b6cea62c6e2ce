import numpy as np
import pytest
from pydantic import ValidationError

from deepfreak.errors import DatasetError
from deepfreak.models import SVM
from deepfreak.models.svm import COSTS, GAMMAS, separate, temperature_of
from tests.unit.models.vectors import draw_vectors

LABELS = np.arange(200) % 5


@pytest.fixture(scope="module")
def vectors():
    return draw_vectors(LABELS, seed=0)[0]


@pytest.fixture(scope="module")
def unseen():
    return draw_vectors(np.arange(300) % 5, seed=5)


def reference(vectors, labels, settings):
    """Return scikit-learn's machine over the same scaling."""
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
    from sklearn.svm import SVC

    machine = SVC(C=settings.C, gamma=settings.gamma or "auto", decision_function_shape="ovo")
    return make_pipeline(StandardScaler(), machine).fit(vectors, labels)


@pytest.mark.parametrize("classes", [2, 3, 5])
@pytest.mark.parametrize("gamma", [0, 0.1, 8])
def test_decisions_are_those_of_libsvm(vectors, unseen, classes, gamma):
    settings = SVM(C=8, gamma=gamma)
    labels = LABELS % classes
    fitted = settings.fit(vectors, labels, classes=classes)
    scaled = (unseen[0] - fitted.mean) / fitted.scale
    found = separate(
        scaled, fitted.support, fitted.gamma, fitted.coefficients, fitted.offsets, fitted.counts
    )
    expected = reference(vectors, labels, settings).decision_function(unseen[0])
    # of two classes, scikit-learn's decision is for the second
    expected = -expected[:, None] if classes == 2 else expected
    np.testing.assert_allclose(found, expected, atol=1e-10)


def test_the_prediction_is_libsvms_wherever_a_class_wins_all_its_comparisons(vectors, unseen):
    settings = SVM(C=8, gamma=0.1)
    fitted = settings.fit(vectors, LABELS, classes=5)
    clear = fitted.margins(unseen[0]).max(axis=1) > 0
    assert clear.mean() > 0.95
    expected = reference(vectors, LABELS, settings).predict(unseen[0])
    np.testing.assert_array_equal(fitted.predict(unseen[0])[clear], expected[clear])


def test_the_prediction_is_the_most_probable_class_calibrated_or_not(vectors, unseen):
    for held_out in (False, True):
        fitted = SVM(C=8, gamma=0.1).fit(vectors, LABELS, classes=5, held_out=held_out)
        probabilities = fitted.probabilities(unseen[0])
        np.testing.assert_allclose(probabilities.sum(axis=1), 1)
        np.testing.assert_array_equal(probabilities.argmax(axis=1), fitted.predict(unseen[0]))


def test_calibration_does_not_change_a_prediction(vectors, unseen):
    plain, calibrated = (
        SVM(C=8, gamma=0.1).fit(vectors, LABELS, classes=5, held_out=held_out)
        for held_out in (False, True)
    )
    np.testing.assert_array_equal(plain.predict(unseen[0]), calibrated.predict(unseen[0]))


def test_calibrated_probabilities_can_be_believed(vectors, unseen):
    unseen, truth = draw_vectors(np.arange(2000) % 5, seed=6)
    fitted = SVM(C=1, gamma=0.05).fit(vectors, LABELS, classes=5, held_out=True)
    probabilities = fitted.probabilities(unseen)
    right = np.mean(fitted.predict(unseen) == truth)
    # 0.02; with a temperature of 1 it is 0.14
    assert abs(probabilities.max(axis=1).mean() - right) < 0.08
    assert abs(fitted.accuracy_held_out - right) < 0.08


def test_margins_without_a_mistake_do_not_become_certainty():
    labels = np.arange(20) % 2
    margins = np.where(labels[:, None] == np.arange(2), 1.0, -1.0)
    probability = 1 / (1 + np.exp(-2 / temperature_of(margins, labels)))
    assert probability == pytest.approx(21 / 22, abs=1e-3)


def test_a_larger_temperature_is_found_for_worse_margins():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, 500)
    told = (labels[:, None] == np.arange(3)) * 2.0
    good, bad = (temperature_of(told + rng.normal(0, s, told.shape), labels) for s in (0.5, 2))
    assert bad > 1.5 * good


def test_a_vector_is_judged_alike_alone_and_among_others(vectors):
    fitted = SVM().fit(vectors, LABELS, classes=5)
    alone = np.concatenate([fitted.probabilities(vector[None]) for vector in vectors[:8]])
    np.testing.assert_array_equal(fitted.probabilities(vectors)[:8], alone)


def test_it_depends_on_the_seed_of_its_folds_and_not_on_the_workers(vectors):
    def fingerprint(**settings):
        fitted = SVM(C=8, gamma=0.1).fit(vectors, LABELS, classes=5, held_out=True, **settings)
        return fitted.fingerprint()

    assert fingerprint(seed=1) == fingerprint(seed=1, workers=3)
    assert fingerprint(seed=1) != fingerprint(seed=2)


def test_the_order_of_the_numbers_in_memory_does_not_matter(vectors):
    first, second = (
        SVM().fit(ordered, LABELS, classes=5).fingerprint()
        for ordered in (vectors, np.asfortranarray(vectors))
    )
    assert first == second


def test_the_scaling_is_that_of_the_training_vectors(vectors):
    fitted = SVM().fit(vectors, LABELS, classes=5)
    np.testing.assert_allclose(fitted.mean, vectors.mean(axis=0))
    np.testing.assert_allclose(fitted.scale, vectors.std(axis=0))


def test_a_constant_feature_changes_nothing(vectors, unseen):
    plain = SVM(C=8, gamma=0.1).fit(vectors, LABELS, classes=5)
    more = SVM(C=8, gamma=0.1).fit(np.column_stack([vectors, np.full(200, 3.0)]), LABELS, classes=5)
    wider = np.column_stack([unseen[0], np.full(300, 3.0)])
    np.testing.assert_allclose(more.margins(wider), plain.margins(unseen[0]), atol=1e-9)


def test_gamma_0_is_one_over_the_number_of_features(vectors):
    assert SVM(gamma=0).fit(vectors, LABELS, classes=5).gamma == 1 / 6


def test_the_values_are_those_of_table_8():
    assert (COSTS[0], COSTS[1], COSTS[-1], len(COSTS)) == (1, 2**-5, 2**15, 12)
    assert (GAMMAS[0], GAMMAS[1], GAMMAS[-1], len(GAMMAS)) == (0, 2**-15, 2**3, 11)


def test_a_heavier_class_is_found_more_often(vectors):
    light, heavy = (
        SVM(C=0.1, gamma=0.1, class_weight=weight).fit(vectors, LABELS, classes=5)
        for weight in (None, (50.0, 1.0, 1.0, 1.0, 1.0))
    )
    assert (heavy.predict(vectors) == 0).sum() > (light.predict(vectors) == 0).sum()


@pytest.mark.parametrize(
    "wrong", [{"C": 0}, {"C": float("inf")}, {"gamma": -1}, {"gamma": float("nan")}, {"c": 1}]
)
def test_impossible_settings_are_refused(wrong):
    with pytest.raises(ValidationError):
        SVM(**wrong)


def test_what_cannot_be_learned_from_is_refused(vectors):
    with pytest.raises(DatasetError, match="two classes or more"):
        SVM().fit(vectors, np.zeros(200, int), classes=1)
    spoilt = vectors.copy()
    spoilt[3, 1] = np.nan
    with pytest.raises(DatasetError, match="nan for feature 1 of image 3"):
        SVM().fit(spoilt, LABELS, classes=5)
    with pytest.raises(DatasetError, match="found 1 of class 0"):
        SVM().fit(vectors[:5], LABELS[:5], classes=5, held_out=True)
