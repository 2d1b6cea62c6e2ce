import json
from dataclasses import replace
from pathlib import Path

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
from deepfreak.features import GLCM, FeatureCache, extract
from deepfreak.formats import find_files
from deepfreak.models import (
    Forest,
)
from deepfreak.search.space import TABLE_8, values_of
from deepfreak.search.trial import Images, Outcome, Task, Trial, score
from tests.labelled import write_labelled
from tests.unit.datasets.real_images.test_real_set import write_frames

# GLCM at distance 1 and angles 0 and 90, ten trees of depth 6, the first weights by class.
PICKS = {
    "extractor": 0, "classifier": 0, "glcm.distances": 0, "glcm.angles_deg": 5,
    "forest.trees": 0, "forest.max_features": 0, "forest.max_depth": 2, "forest.class_weight": 2,
}  # fmt: skip
WEIGHTS = (0.35, 0.35, 0.1, 0.1, 0.1)


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


def test_a_trial_learns_the_training_and_judges_the_validation_images(toy, tmp_path):
    values = values_of(PICKS)
    assert values["forest.class_weight"] == WEIGHTS
    task = Task(picks=PICKS, images=Images(data=toy), cache=tmp_path / "features", seed=3)
    outcome = Outcome(**json.loads(json.dumps(score(task.to_json()))))
    extractor = GLCM(distances=values["glcm.distances"], angles_deg=values["glcm.angles_deg"])
    with Dataset.open(toy, split="train") as train, Dataset.open(toy, split="validation") as other:
        fitted = Forest(trees=10, max_features="sqrt", max_depth=6, class_weight=WEIGHTS).fit(
            extract(extractor, train.images), train.labels, classes=5, seed=3
        )
        right = fitted.predict(extract(extractor, other.images)) == other.labels
    assert (outcome.state, outcome.hits, outcome.total) == ("done", int(right.sum()), 40)
    # again from the cache, and with another seed
    assert score(task.to_json())["hits"] == outcome.hits
    assert outcome.total_s >= outcome.fit_s > 0


def test_on_real_images_two_classes_are_learned_and_weights_summed(toy, tmp_path):
    real = write_real(tmp_path / "real.h5")
    images = Images(data=toy, real=real)
    found = score(Task(picks=PICKS, images=images, cache=tmp_path / "f", seed=0).to_json())
    extractor = GLCM(distances=(1,), angles_deg=values_of(PICKS)["glcm.angles_deg"])
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
        images = Images(data=toy, real=path)
        found = score(Task(picks=PICKS, images=images, cache=tmp_path / "f", seed=0).to_json())
        assert found["state"] == "done"
        assert found["total"] == made.splits["validation"][1] > 0


def test_sift_of_images_without_keypoints_fails_in_one_line(toy, tmp_path):
    picks = {"extractor": 2, "classifier": 1, "sift.clusters": 7, "svm.C": 0, "svm.gamma": 0,
             "svm.class_weight": 0}  # fmt: skip
    task = Task(picks=picks, images=Images(data=toy), cache=tmp_path, seed=0)
    with pytest.raises(DatasetError, match="expected at least 5000 different SIFT descriptors"):
        score(task.to_json())


@pytest.mark.parametrize("real", [None, Path("real.h5")])
def test_a_task_survives_json(real):
    task = Task(picks=PICKS, images=Images(data=Path("a.h5"), real=real), cache=Path("c"), seed=7)
    again = Task.from_json(json.loads(json.dumps(task.to_json())))
    assert again.images.data == Path("a.h5").absolute()
    assert again == replace(task, images=again.images, cache=Path("c").absolute())
    assert (again.images.real is None) == (real is None)


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


def test_only_a_trial_that_is_done_has_an_accuracy():
    trial = Trial(number=0, picks=PICKS)
    assert not trial.done
    assert np.isnan(trial.accuracy)
    assert np.isnan(replace(trial, outcome=Outcome(state="bound")).accuracy)
    done = replace(trial, outcome=Outcome(state="done", hits=3, total=4))
    assert done.done
    assert done.accuracy == 0.75


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
    cache = FeatureCache(tmp_path / "features")
    places = {choice.name: 0 for choice in TABLE_8}
    for extractor in range(3):
        for classifier in range(2):
            chosen = places | {"extractor": extractor, "classifier": classifier}
            kinds = {"glcm": 0, "lbp": 1, "sift": 2}, {"forest": 0, "svm": 1}
            picks = {
                choice.name: chosen[choice.name]
                for choice in TABLE_8
                if choice.when is None
                or kinds[choice.when[0] == "classifier"][choice.when[1]] == chosen[choice.when[0]]
            }
            task = Task(picks=picks, images=Images(data=path), cache=cache.folder, seed=0)
            assert score(task.to_json())["total"] == 10
