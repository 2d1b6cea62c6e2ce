import json

import numpy as np
import pytest

from deepfreak.datasets import Dataset
from deepfreak.errors import DatasetError
from deepfreak.features.glcm import GLCM
from deepfreak.models import Forest, train
from deepfreak.models.importance import importances_of, kinds_of, permutation_importance, steps
from tests.labelled import write_labelled

NAMES = ("peaks_count", "peaks_height", "background_slope", "noise")


def first_two_agree(vectors):
    """Return the class that either of the first two columns tells."""
    return (vectors[:, :2].mean(axis=1) > 0).astype(np.intp)


@pytest.fixture
def told():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 400)
    vectors = rng.normal(size=(400, 4))
    vectors[:, 0] = vectors[:, 1] = labels - 0.5
    return vectors, labels


def test_a_feature_that_is_not_used_has_no_importance(told):
    found = permutation_importance(first_two_agree, *told, names=NAMES)
    by_name = {each.name: each for each in found.features}
    assert found.accuracy == 1
    assert by_name["noise"].drops == by_name["background_slope"].drops == (0.0,) * 5


def test_features_that_stand_in_for_one_another_matter_together():
    rng = np.random.default_rng(1)
    labels = rng.integers(0, 2, 500)
    vectors = np.column_stack([labels - 0.4, labels - 0.4, rng.normal(size=(500, 2))])

    def either(vectors):
        return ((vectors[:, 0] > 0) | (vectors[:, 1] > 0)).astype(np.intp)

    found = permutation_importance(either, vectors, labels, names=NAMES)
    (kind,) = found.kinds
    assert (kind.name, kind.features) == ("peaks", 2)
    # shuffled, half of the images take the other class's place, whichever that is
    assert kind.mean == pytest.approx(0.5, abs=0.05)
    assert max(each.mean for each in found.features) < 0.3


def test_the_single_feature_agrees_with_scikit_learn(told):
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.inspection import permutation_importance as of_sklearn

    vectors, labels = told
    vectors = vectors + np.random.default_rng(3).normal(0, 0.7, vectors.shape)
    forest = RandomForestClassifier(20, random_state=0).fit(vectors[:200], labels[:200])
    unseen = vectors[200:], labels[200:]
    expected = of_sklearn(forest, *unseen, n_repeats=40, random_state=0).importances_mean
    found = permutation_importance(forest.predict, *unseen, names=NAMES, repeats=40)
    by_name = {each.name: each.mean for each in found.features}
    np.testing.assert_allclose([by_name[name] for name in NAMES], expected, atol=0.02)


def test_it_depends_on_the_seed_only(told):
    def means(seed):
        found = permutation_importance(first_two_agree, *told, names=NAMES, seed=seed)
        return [each.mean for each in found.features]

    assert means(1) == means(1)
    assert means(1) != means(2)


def test_the_most_important_come_first_and_the_spread_is_that_of_the_repeats(told):
    found = permutation_importance(first_two_agree, *told, names=NAMES, repeats=4)
    means = [each.mean for each in found.features]
    assert means == sorted(means, reverse=True)
    first = found.features[0]
    assert first.spread == pytest.approx(np.std(first.drops, ddof=1))
    assert json.loads(json.dumps(found.to_json()))["features"][0]["name"] == first.name


def test_co_occurrence_is_grouped_by_property_distance_and_angle():
    kinds = kinds_of(GLCM(distances=(1, 8), angles_deg=(0, 22.5)).names)
    assert {name: len(columns) for name, columns in kinds.items()} == {
        **dict.fromkeys(
            ("contrast", "dissimilarity", "homogeneity", "ASM", "energy", "correlation"), 4
        ),
        **dict.fromkeys(("distance 1", "distance 8", "angle 0", "angle 22.5"), 12),
    }


def test_other_features_are_grouped_by_their_first_word():
    assert kinds_of(NAMES) == {"peaks": [0, 1]}
    assert kinds_of(("lbp_0", "lbp_1")) == {}


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    path = write_labelled(tmp_path_factory.mktemp("i") / "data.h5", np.arange(40) % 5, side=64)
    with Dataset.open(path) as data:
        return train(data, extractor=GLCM(distances=(1,)), classifier=Forest(trees=10))


@pytest.mark.parametrize("classes", [None, ("no-diffraction", "diffraction")])
def test_a_models_features_are_judged_on_some_images_of_a_data_set(tmp_path, model, classes):
    count = 5 if classes is None else 2
    path = tmp_path / "data.h5"
    write_labelled(path, np.arange(30) % count, seed=2, side=64, classes=classes or model.classes)
    done = []
    with Dataset.open(path) as data:
        found = importances_of(model, data, max_images=20, repeats=2, advance=done.append)
    assert found.images == 20
    assert sum(done) == steps(model) == len(found.features) + len(found.kinds)
    assert {each.name for each in found.features} == set(model.extractor.names)


def test_other_classes_than_the_models_are_refused(tmp_path, model):
    path = write_labelled(tmp_path / "data.h5", [0, 1], classes=("empty", "full"), side=16)
    with Dataset.open(path) as data, pytest.raises(DatasetError, match="empty, full"):
        importances_of(model, data)
