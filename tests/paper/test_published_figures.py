"""The published figures agree with one another where they should."""

import numpy as np
import pytest

from paper import published


@pytest.mark.parametrize(
    ("confusion", "percent"),
    [
        (published.TABLE_6_NETWORK, published.TABLE_5["network"]),
        (published.TABLE_12_SVM, published.TABLE_5["svm"]),
        (published.TABLE_13_FOREST, published.TABLE_5["forest"]),
    ],
)
def test_each_confusion_matrix_gives_the_accuracy_of_table_5(confusion, percent):
    assert 100 * np.trace(confusion) / confusion.sum() == pytest.approx(percent, abs=0.011)


def test_the_matrices_of_forest_and_network_lack_an_image():
    totals = [table.sum() for table in (published.TABLE_6_NETWORK, published.TABLE_13_FOREST)]
    assert totals == [12_599, 12_599]
    assert published.TABLE_12_SVM.sum() == 12_600


def test_crystal_or_none_of_the_network_is_99_83_percent():
    crystal = np.arange(5) >= 2
    right = published.TABLE_6_NETWORK[crystal[:, None] == crystal].sum()
    assert 100 * right / published.TABLE_6_NETWORK.sum() == pytest.approx(99.83, abs=0.01)
