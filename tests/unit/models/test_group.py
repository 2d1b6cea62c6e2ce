import numpy as np
import pytest

from deepfreak.classes import group_probabilities, group_weights, grouped
from deepfreak.errors import DatasetError
from deepfreak.models import CLASS_WEIGHTS
from tests.labelled import CLASSES


def test_weak_good_and_strong_are_diffraction():
    np.testing.assert_array_equal(grouped(np.arange(5), CLASSES), [0, 0, 1, 1, 1])


def test_two_groups_stay_what_they_are():
    classes = ("no-diffraction", "diffraction")
    np.testing.assert_array_equal(grouped(np.array([1, 0, 1]), classes), [1, 0, 1])


def test_weights_are_summed_over_the_groups():
    assert group_weights(CLASS_WEIGHTS[2], CLASSES) == pytest.approx((0.7, 0.3))
    assert group_weights(CLASS_WEIGHTS[4], CLASSES) == pytest.approx((0.5, 0.498))
    assert group_weights("balanced", CLASSES) == "balanced"
    assert group_weights(None, CLASSES) is None


def test_probabilities_are_summed_over_the_groups():
    found = group_probabilities(np.array([[0.1, 0.2, 0.3, 0.25, 0.15]]), CLASSES)
    np.testing.assert_allclose(found, [[0.3, 0.7]])


def test_classes_that_are_no_groups_are_refused():
    for classes in (("empty", "full"), ("weak", "good"), ("blank", "no-crystal")):
        with pytest.raises(DatasetError, match="cannot be grouped"):
            grouped(np.array([0]), classes)
    with pytest.raises(DatasetError, match="found 2 weights"):
        group_weights((0.5, 0.5), CLASSES)
