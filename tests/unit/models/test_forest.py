import json

import numpy as np
import pytest

from deepfreak.dataset import Dataset
from deepfreak.errors import DatasetError
from deepfreak.features import GLCM, extract
from deepfreak.models import train_forest
from tests.labelled import CLASSES, draw_images, write_labelled

LABELS = np.arange(60) % 5


@pytest.fixture(scope="module")
def labelled(tmp_path_factory):
    return write_labelled(tmp_path_factory.mktemp("forest") / "data.h5", LABELS)


def train(path, **settings):
    with Dataset.open(path) as data:
        return train_forest(data, extractor=GLCM(distances=(1, 3)), **settings)


@pytest.fixture(scope="module")
def model(labelled):
    return train(labelled, trees=30, seed=1)


def test_unseen_images_are_told_apart(model):
    truth = np.arange(25) % 5
    probabilities = model.probabilities(draw_images(truth, seed=99))
    assert probabilities.shape == (25, 5)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1)
    assert np.mean(probabilities.argmax(axis=1) == truth) > 0.8


def test_probabilities_are_those_of_scikit_learn(model):
    images = draw_images(LABELS[:10], seed=5)
    expected = model.forest.predict_proba(extract(model.extractor, images))
    np.testing.assert_allclose(model.probabilities(images), expected, atol=1e-14)


def test_an_image_is_judged_alike_alone_and_among_others(model):
    images = draw_images(LABELS[:6], seed=6)
    alone = np.concatenate([model.probabilities(image[None]) for image in images])
    np.testing.assert_array_equal(model.probabilities(images, workers=2), alone)


def test_missing_pixels_do_not_change_the_verdict_into_their_value(model):
    images = draw_images(LABELS[:5], seed=7)
    valid = np.ones(images.shape, np.bool_)
    valid[:, 40:70] = False
    masked = [
        model.probabilities(np.where(valid, images, fill).astype(np.uint8), valid)
        for fill in (0, 255)
    ]
    np.testing.assert_array_equal(masked[0], masked[1])


def test_the_forest_depends_on_the_seed_and_not_on_the_workers(labelled, model):
    assert train(labelled, trees=30, seed=1, workers=3).name == model.name
    assert train(labelled, trees=30, seed=2).name != model.name


def test_the_manifest_tells_where_the_model_comes_from(model):
    manifest = model.manifest
    assert json.loads(json.dumps(manifest, allow_nan=False)) == manifest
    assert manifest["classes"] == list(CLASSES)
    assert manifest["forest"] == {
        "trees": 30,
        "max_depth": 20,
        "max_features": "sqrt",
        "class_weight": None,
        "seed": 1,
    }
    assert manifest["data"]["count"] == 60
    assert manifest["data"]["class_counts"] == dict.fromkeys(CLASSES, 12)
    assert manifest["data"]["manifest"]["seed"] == 0
    assert 0.6 < manifest["accuracy_out_of_bag"] <= 1
    assert {"deepfreak", "numpy", "scikit-learn"} <= manifest["versions"].keys()


def test_defaults_are_the_best_settings_of_the_paper(labelled):
    forest = train(labelled).forest
    assert (forest.n_estimators, forest.max_depth, forest.max_features) == (100, 20, "sqrt")
    assert forest.class_weight is None
    assert (GLCM().distances, GLCM().angles_deg) == ((1, 2, 5, 8), (45, 135))


def test_a_single_tree_has_an_accuracy_over_what_it_did_not_see(labelled):
    model = train(labelled, trees=1)
    assert 0 < model.manifest["accuracy_out_of_bag"] <= 1


@pytest.mark.parametrize("labels", [[0, 1, 2, 3] * 3, [2] * 8, []])
def test_a_class_without_images_is_refused_by_name(tmp_path, labels):
    path = write_labelled(tmp_path / "few.h5", labels, side=32)
    with pytest.raises(DatasetError, match="strong"):
        train(path, trees=5)


def test_a_single_class_is_refused(tmp_path):
    path = write_labelled(tmp_path / "one.h5", [0] * 5, classes=("blank",), side=32)
    with pytest.raises(DatasetError, match="second class"):
        train(path, trees=5)


def test_two_classes_of_another_kind_can_be_learned(tmp_path):
    path = write_labelled(tmp_path / "two.h5", [0, 1] * 8, classes=("empty", "full"), side=64)
    model = train(path, trees=10)
    assert model.classes == ("empty", "full")
    assert model.probabilities(draw_images([0, 1, 1], seed=3, side=64)).shape == (3, 2)
