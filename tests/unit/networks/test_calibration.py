import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from deepfreak.datasets import Dataset
from deepfreak.errors import DatasetError
from deepfreak.models.evaluation import Evaluation
from deepfreak.models.svm import softmax
from deepfreak.networks.calibration import calibrate, tempered
from tests.labelled import CLASSES, write_labelled


class TooSure:
    """Knows the probability of each class, but its logits are three times too large."""

    name = "too sure"
    classes = CLASSES

    def __init__(self, truth):
        self.truth = truth

    def probabilities(self, images, valid=None, *, workers=1):
        # an image's first pixels say which it is
        index = images[:, 0, 0].astype(int) + 256 * images[:, 0, 1].astype(int)
        return tempered(self.truth[index], 1 / 3)


@pytest.fixture(scope="module")
def images():
    """Labelled images, and the probabilities that their labels were drawn with."""
    rng = np.random.default_rng(4)
    truth = softmax(2 * rng.normal(size=(20_000, 5)))
    labels = (rng.random((20_000, 1)) > truth.cumsum(axis=1)).sum(axis=1).astype(np.uint8)
    pixels = np.zeros((20_000, 1, 2), np.uint8)
    pixels[:, 0, 0], pixels[:, 0, 1] = np.arange(20_000) % 256, np.arange(20_000) // 256
    data = Dataset(
        path=Path("known.h5"), images=pixels, labels=labels, classes=CLASSES, truth={}, manifest={},
        splits={"one": (0, 10_000), "two": (10_000, 10_000)},
    )  # fmt: skip
    return data, truth


def test_a_temperature_makes_up_for_too_large_logits(images):
    data, truth = images
    found = calibrate(TooSure(truth), data.split("one"))
    assert found.temperature == pytest.approx(3, rel=0.03)
    assert found.log_loss[1] < found.log_loss[0] - 0.1
    assert found.calibration_error[0] > 0.1
    assert found.calibration_error[1] < 0.015
    assert (found.data, found.split, found.images) == ("known.h5", "one", 10_000)
    assert json.loads(json.dumps(found.to_json())) == found.to_json()


def test_it_helps_on_images_that_it_was_not_found_on(images):
    data, truth = images
    temperature = calibrate(TooSure(truth), data.split("one")).temperature
    labels = data.split("two").labels
    before = tempered(truth[10_000:], 1 / 3)
    after = tempered(before, temperature)
    losses = [-np.log(rows[np.arange(10_000), labels]).mean() for rows in (before, after)]
    assert losses[1] < losses[0] - 0.1


def test_no_verdict_changes(images):
    _, truth = images
    for temperature in (0.2, 5):
        changed = tempered(truth, temperature)
        np.testing.assert_array_equal(changed.argmax(axis=1), truth.argmax(axis=1))
        np.testing.assert_allclose(changed.sum(axis=1), 1)
    np.testing.assert_allclose(tempered(truth, 1), truth, atol=1e-12)


def test_certainty_is_no_obstacle():
    assert tempered(np.array([[1.0, 0.0]]), 2).tolist() == [[1.0, pytest.approx(0, abs=1e-100)]]


def test_groups_of_classes_are_refused(tmp_path):
    path = write_labelled(tmp_path / "real.h5", [0, 1], classes=("no-diffraction", "diffraction"))
    with (
        Dataset.open(path) as data,
        pytest.raises(DatasetError, match="expected images of the model's classes"),
    ):
        calibrate(TooSure(np.eye(5)), data)


def test_the_calibration_error_is_the_distance_of_words_from_deeds():
    rows = np.array([[0.8, 0.2]] * 10 + [[0.35, 0.65]] * 10)
    truth = np.array([0] * 6 + [1] * 4 + [1] * 7 + [0] * 3, np.uint8)
    evaluation = Evaluation(
        model="m", data="d", classes=("no-crystal", "weak"), truth=truth, probabilities=rows,
        seconds_per_image=0.1,
    )  # fmt: skip
    # 80 % predicted and 60 % correct; 65 % predicted and 70 % correct
    assert evaluation.calibration_error == pytest.approx((0.2 + 0.05) / 2)
    assert evaluation.to_json()["calibration_error"] == evaluation.calibration_error
    certain = replace(evaluation, probabilities=np.eye(2)[truth])
    assert certain.calibration_error == 0
    nothing = replace(evaluation, truth=truth[:0], probabilities=rows[:0])
    assert nothing.to_json()["calibration_error"] is None
