import json
from dataclasses import replace
from math import inf

import h5py
import numpy as np
import pytest

from deepfreak.classes import (
    GROUPS,
    grouped,
)
from deepfreak.datasets import Dataset
from deepfreak.datasets.real_images.real_set import prepare_real_set
from deepfreak.errors import DatasetError
from deepfreak.features import GLCM, extract
from deepfreak.formats import find_files
from deepfreak.models import (
    Forest,
)
from deepfreak.search.classical import Task, score
from deepfreak.search.images import Images
from deepfreak.search.tables import TABLE_8
from deepfreak.search.trial import Outcome, Trial
from tests.labelled import write_labelled
from tests.unit.datasets.real_images.test_real_set import write_frames

WEIGHTS = (0.35, 0.35, 0.1, 0.1, 0.1)
SETTINGS = {
    "extractor": "glcm", "classifier": "forest", "glcm.distances": (1,),
    "glcm.angles_deg": (0, 90), "forest.trees": 10, "forest.max_features": "sqrt",
    "forest.max_depth": 6, "forest.class_weight": WEIGHTS,
}  # fmt: skip


def scored(settings, data, cache, *, real=None, seed=0):
    """Return the outcome of a trial."""
    return score(
        Task(settings=settings, images=Images(data=data, real=real), cache=cache, seed=seed)
    )


def write_real(path, *, classes=GROUPS, side=64, seed=5):
    """Write 30 images of two classes with a missing bar, in the split `validation`."""
    labels = np.arange(30) % 2
    write_labelled(path, 3 * labels + 1, seed=seed, side=side)
    with h5py.File(path, "a") as file:
        file["label"][:] = labels
        file["label"].attrs["classes"] = list(classes)
        valid = np.ones((30, side, side), np.uint8)
        valid[:, 30:34] = 0
        file["valid"] = valid
        # Pixels under the bar must not matter.
        file["images"][:, 30:34] = 255
        splits = file.create_group("splits")
        splits.attrs["validation"], splits.attrs["test"] = (0, 24), (24, 6)
    return path


def test_a_trial_is_trained_and_evaluated(toy, tmp_path):
    outcome = scored(SETTINGS, toy, tmp_path / "features", seed=3)
    extractor = GLCM(distances=(1,), angles_deg=(0, 90))
    with Dataset.open(toy, split="train") as train, Dataset.open(toy, split="validation") as other:
        fitted = Forest(trees=10, max_features="sqrt", max_depth=6, class_weight=WEIGHTS).fit(
            extract(extractor, train.images), train.labels, classes=5, seed=3
        )
        right = fitted.predict(extract(extractor, other.images)) == other.labels
    assert (outcome.info["hits"], outcome.info["total"]) == (int(right.sum()), 40)
    assert outcome.loss == 1 - right.mean()
    # again from the cache
    assert scored(SETTINGS, toy, tmp_path / "features", seed=3).loss == outcome.loss
    assert outcome.seconds >= outcome.info["fit_s"] > 0


def test_on_real_images_two_classes_are_learned_and_weights_summed(toy, tmp_path):
    real = write_real(tmp_path / "real.h5")
    found = scored(SETTINGS, toy, tmp_path / "f", real=real).info
    extractor = GLCM(distances=(1,), angles_deg=(0, 90))
    with (
        Dataset.open(toy, split="train") as train,
        Dataset.open(real, split="validation") as other,
    ):
        learner = Forest(
            trees=10, max_features="sqrt", max_depth=6, class_weight=(0.7, 0.1 + 0.1 + 0.1)
        )
        labels = grouped(train.labels, train.classes)
        fitted = learner.fit(extract(extractor, train.images), labels, classes=2, seed=0)
        vectors = extract(extractor, other.images, other.valid)
        expected = int((fitted.predict(vectors) == other.labels).sum())
    assert (found["hits"], found["total"]) == (expected, 24)


def test_a_set_that_prepare_made_can_be_chosen_on(toy, tmp_path):
    labels = write_frames(tmp_path / "frames", series=3)
    made = prepare_real_set(
        find_files([tmp_path / "frames"]), labels, tmp_path / "real.h5", target_mean=20.0
    )
    for path in (made.raw, made.preprocessed):
        found = scored(SETTINGS, toy, tmp_path / "f", real=path)
        assert found.info["total"] == made.splits["validation"][1] > 0


def test_sift_of_images_without_keypoints_fails_in_one_line(toy, tmp_path):
    settings = {
        "extractor": "sift", "classifier": "svm", "sift.clusters": 5000, "svm.C": 1,
        "svm.gamma": 0, "svm.class_weight": None,
    }  # fmt: skip
    with pytest.raises(DatasetError, match="expected at least 5000 different SIFT descriptors"):
        scored(settings, toy, tmp_path)


@pytest.mark.parametrize(
    ("labels", "splits", "message"),
    [
        (np.arange(20) % 5, {"train": (0, 20)}, "has no split validation"),
        (np.arange(20) % 5, {"train": (0, 20), "validation": (20, 0)}, "split validation, found n"),
        (np.arange(20) % 3, {"train": (0, 15), "validation": (15, 5)}, "none of good, strong"),
    ],
)
def test_images_that_cannot_be_searched_are_refused(tmp_path, labels, splits, message):
    path = write_labelled(tmp_path / "a.h5", labels, side=16)
    with h5py.File(path, "a") as file:
        group = file.create_group("splits")
        for name, place in splits.items():
            group.attrs[name] = place
    with pytest.raises(DatasetError, match=message), Images(data=path).open():
        pass


def test_a_real_set_must_have_the_two_classes(toy, tmp_path):
    real = write_real(tmp_path / "real.h5", classes=("dark", "bright"))
    with (
        pytest.raises(DatasetError, match="expected the classes no-diffraction, diffraction"),
        Images(data=toy, real=real).open(),
    ):
        pass


def test_trials_survive_json():
    trial = Trial(number=3, configuration="3", settings=SETTINGS, seed=1)
    assert trial.loss == inf
    for outcome in (None, Outcome(0.25, {"hits": 3}), Outcome(inf, error="no")):
        made = replace(trial, outcome=outcome)
        assert Trial.from_json(json.loads(json.dumps(made.to_json(), allow_nan=False))) == made
        assert made.succeeded == (outcome is not None and not outcome.error)


def test_every_extractor_and_classifier_can_be_tried(tmp_path):
    """Spots bright enough for SIFT, so that all six kinds of trial succeed."""
    path = write_labelled(tmp_path / "spots.h5", np.arange(40) % 5, seed=2, side=128)
    with h5py.File(path, "a") as file:
        images = file["images"][:]
        rng = np.random.default_rng(0)
        for image in images:
            for slow, fast in rng.integers(8, 120, (6, 2)):
                image[slow - 3 : slow + 3, fast - 3 : fast + 3] = 255
        file["images"][:] = images
        splits = file.create_group("splits")
        splits.attrs["train"], splits.attrs["validation"] = (0, 30), (30, 10)
    for extractor in ("glcm", "lbp", "sift"):
        for classifier in ("forest", "svm"):
            first = {"extractor": extractor, "classifier": classifier}
            settings = TABLE_8.walk(lambda name, kind: first.get(name, kind.values[0]))  # noqa: B023
            assert scored(settings, path, tmp_path / "features").info["total"] == 10
