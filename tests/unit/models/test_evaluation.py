import json
import math

import h5py
import numpy as np
import pytest

from deepfreak.datasets import Dataset
from deepfreak.errors import DatasetError
from deepfreak.models.evaluation import (
    Evaluation,
    Proportion,
    evaluate,
    format_confusion,
    format_percent,
)
from tests.labelled import CLASSES, write_labelled

# The paper's Table 6, true classes in rows.
TABLE_6 = (
    (2069, 0, 0, 0, 0),
    (0, 3266, 2, 0, 0),
    (1, 18, 3280, 47, 0),
    (0, 0, 38, 2368, 38),
    (0, 0, 0, 44, 1428),
)


def evaluation_of(matrix, classes=CLASSES):
    matrix = np.asarray(matrix)
    truth, verdict = np.indices(matrix.shape)
    verdicts = np.repeat(verdict.ravel(), matrix.ravel())
    return Evaluation(
        model="model",
        data="data.h5",
        classes=classes,
        truth=np.repeat(truth.ravel(), matrix.ravel()).astype(np.uint8),
        probabilities=np.eye(len(classes))[verdicts],
        seconds_per_image=0.003,
    )


class Oracle:
    """Predicts the labels of a data set, with errors where required."""

    name = "oracle"
    classes = CLASSES

    def __init__(self, verdicts):
        self.left = list(verdicts)
        self.batches = []
        self.valid = []

    def probabilities(self, images, valid=None, *, workers=1):
        self.valid.append(valid)
        assert workers == 2
        self.batches.append(len(images))
        verdicts, self.left = self.left[: len(images)], self.left[len(images) :]
        return np.eye(len(self.classes))[verdicts]


def test_the_papers_matrix_gives_the_papers_figures():
    evaluation = evaluation_of(TABLE_6)
    np.testing.assert_array_equal(evaluation.confusion, TABLE_6)
    assert [f"{100 * each.value:.2f}" for each in evaluation.recall] == [
        "100.00",
        "99.94",
        "98.03",
        "96.89",
        "97.01",
    ]
    assert [f"{100 * each.value:.2f}" for each in evaluation.precision] == [
        "99.95",
        "99.45",
        "98.80",
        "96.30",
        "97.41",
    ]
    assert format_percent(evaluation.accuracy) == " 98.51 [98.28, 98.71]"
    assert f"{100 * evaluation.crystal_accuracy.value:.2f}" == "99.83"


def test_the_table_is_laid_out_as_the_papers():
    lines = format_confusion(evaluation_of(TABLE_6)).splitlines()
    assert lines[0].split() == ["Predicted", "class", "Recall", "(%)"]
    assert lines[1].split() == ["True", "class", *CLASSES]
    assert lines[4].split() == ["weak", "1", "18", "3280", "47", "0", "98.03", "[97.50,", "98.45]"]
    assert lines[7].split() == ["Precision", "(%)", "99.95", "99.45", "98.80", "96.30", "97.41"]
    assert lines[8].split()[:3] == ["95", "%", "from"]
    # Columns are aligned: the last digit of a count stands below the last letter of its class.
    assert lines[4][: lines[1].index("strong")].split()[-1] == "47"
    assert max(len(line) for line in lines) < 110


# Newcombe (1998), Table I, method 3, and the ends.
@pytest.mark.parametrize(
    ("hits", "total", "low", "high"),
    [
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_intervals_are_those_of_wilson(hits, total, low, high):
    assert Proportion(hits, total).interval == pytest.approx((low, high), abs=5e-5)


def test_intervals_hold_the_value_and_stay_between_0_and_1():
    for total in (1, 7, 400):
        for hits in range(total + 1):
            low, high = Proportion(hits, total).interval
            assert 0 <= low <= hits / total <= high <= 1
            assert low < high


def test_a_class_without_images_has_no_recall():
    evaluation = evaluation_of([[3, 1], [0, 0]], classes=("blank", "weak"))
    assert math.isnan(evaluation.recall[1].value)
    assert "-" in format_confusion(evaluation).splitlines()[3]
    summary = json.loads(json.dumps(evaluation.to_json(), allow_nan=False))
    assert summary["recall"]["weak"] == {
        "value": None,
        "low": None,
        "high": None,
        "hits": 0,
        "total": 0,
    }


def test_the_summary_is_json_and_complete():
    summary = json.loads(json.dumps(evaluation_of(TABLE_6).to_json(), allow_nan=False))
    assert summary["confusion"] == [list(row) for row in TABLE_6]
    assert summary["count"] == 12599
    assert summary["accuracy"]["low"] < summary["accuracy"]["value"] < summary["accuracy"]["high"]
    assert summary["crystal_accuracy"]["hits"] == 12599 - 21


def test_mistakes_between_crystal_classes_do_not_cost_crystal_accuracy():
    evaluation = evaluation_of(
        np.diag([2, 2, 0, 0, 0]) + np.eye(5, k=-1, dtype=int) * [0, 0, 1, 1, 0]
    )
    assert evaluation.accuracy == Proportion(4, 6)
    assert evaluation.crystal_accuracy == Proportion(6, 6)


def test_p_crystal_is_the_sum_over_weak_good_and_strong():
    evaluation = evaluation_of(np.eye(5, dtype=int))
    np.testing.assert_array_equal(evaluation.p_crystal, [0, 0, 1, 1, 1])


def test_every_image_is_judged_once_in_bounded_batches(tmp_path):
    labels = [0, 1, 2, 3, 4, 0, 1]
    oracle = Oracle([0, 1, 2, 3, 3, 0, 2])
    done = []
    with Dataset.open(write_labelled(tmp_path / "data.h5", labels, side=16)) as data:
        evaluation = evaluate(oracle, data, batch=3, workers=2, advance=done.append)
    assert oracle.batches == done == [3, 3, 1]
    assert evaluation.accuracy == Proportion(5, 7)
    assert evaluation.confusion[4, 3] == evaluation.confusion[1, 2] == 1
    assert evaluation.seconds_per_image > 0
    assert evaluation.grouped_from == ()
    assert oracle.valid == [None] * 3


def real_set(path, labels, *, splits=None):
    """Write a set as `deepfreak data prepare` does, the first two rows of each image missing."""
    write_labelled(path, labels, classes=("no-diffraction", "diffraction"), side=16)
    with h5py.File(path, "a") as file:
        valid = np.ones((len(labels), 16, 16), np.uint8)
        valid[:, :2] = 0
        file["valid"] = valid
        for name, place in (splits or {}).items():
            file.require_group("splits").attrs[name] = place
    return path


def test_five_classes_are_summed_to_the_two_of_real_images(tmp_path):
    oracle = Oracle([0, 1, 2, 3, 4, 2])
    with Dataset.open(real_set(tmp_path / "real.h5", [0, 0, 1, 1, 1, 0])) as data:
        evaluation = evaluate(oracle, data, workers=2)
    assert evaluation.classes == ("no-diffraction", "diffraction")
    np.testing.assert_array_equal(evaluation.confusion, [[2, 1], [0, 3]])
    assert evaluation.accuracy == evaluation.crystal_accuracy == Proportion(5, 6)
    np.testing.assert_array_equal(evaluation.p_crystal, [0, 0, 1, 1, 1, 1])
    assert evaluation.grouped_from == CLASSES
    assert evaluation.to_json()["grouped_from"] == list(CLASSES)


def test_five_classes_of_images_are_grouped_for_a_model_of_two(tmp_path):
    oracle = Oracle([0, 0, 1, 1, 0])
    oracle.classes = ("no-diffraction", "diffraction")
    with Dataset.open(write_labelled(tmp_path / "data.h5", [0, 1, 2, 3, 4], side=16)) as data:
        evaluation = evaluate(oracle, data, workers=2)
    np.testing.assert_array_equal(evaluation.confusion, [[2, 0], [1, 2]])
    assert evaluation.grouped_from == CLASSES


def test_probabilities_are_summed_before_the_verdict(tmp_path):
    class Undecided(Oracle):
        def probabilities(self, images, *_valid, **_options):
            return np.tile([0.4, 0.0, 0.2, 0.2, 0.2], (len(images), 1))

    with Dataset.open(real_set(tmp_path / "real.h5", [1])) as data:
        assert evaluate(Undecided([]), data).accuracy == Proportion(1, 1)


def test_the_model_is_told_which_pixels_are_valid(tmp_path):
    path = real_set(tmp_path / "real.h5", [0, 0, 1, 1, 1, 0], splits={"test": (2, 4)})
    oracle = Oracle([2, 3, 4, 1])
    with Dataset.open(path, split="test") as data:
        evaluation = evaluate(oracle, data, batch=3, workers=2)
    assert evaluation.accuracy == Proportion(4, 4)
    assert [valid.shape for valid in oracle.valid] == [(3, 16, 16), (1, 16, 16)]
    for valid in oracle.valid:
        assert valid.dtype == np.bool_
        assert not valid[:, :2].any()
        assert valid[:, 2:].all()


def test_other_classes_than_the_models_are_refused(tmp_path):
    path = write_labelled(tmp_path / "data.h5", [0, 1], classes=("empty", "full"), side=16)
    with Dataset.open(path) as data, pytest.raises(DatasetError, match="empty, full"):
        evaluate(Oracle([]), data)


def test_an_empty_data_set_is_refused(tmp_path):
    path = write_labelled(tmp_path / "data.h5", [], side=16)
    with Dataset.open(path) as data, pytest.raises(DatasetError, match="found none"):
        evaluate(Oracle([]), data)
