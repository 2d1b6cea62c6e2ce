"""Small perceptrons learn what can be learned, by a gradient that is right."""

from itertools import pairwise

import numpy as np
import pytest
from threadpoolctl import threadpool_limits

from deepfreak.models.perceptrons import fit_perceptrons, loss

NAMES = ("a", "b", "c")


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    with threadpool_limits(1):
        yield


def clouds(rng, count=300, classes=2):
    labels = np.arange(count) % classes
    values = rng.normal(size=(count, 3))
    values[:, 0] += 6 * labels
    return values * [1, 100, 0.01] + [0, 1e4, 0], labels


def ring(rng, count=600):
    values = rng.normal(size=(count, 3))
    return values, (np.hypot(values[:, 0], values[:, 1]) > 1.2).astype(int)


@pytest.mark.parametrize(("sizes", "classes"), [((3, 1), 2), ((3, 4, 1), 2), ((3, 5, 4, 5), 5)])
def test_the_gradient_is_that_of_finite_differences(sizes, classes):
    rng = np.random.default_rng(0)
    inputs, labels = rng.normal(size=(20, 3)), rng.integers(classes, size=20)
    weights = rng.uniform(size=20)
    count = sum(a * b + b for a, b in pairwise(sizes))
    at, step = rng.normal(size=count), 1e-6
    _, gradient = loss(at, inputs, labels, weights, sizes, 0.1)
    for place in range(count):
        away = step * (np.arange(count) == place)
        above, below = (
            loss(at + sign * away, inputs, labels, weights, sizes, 0.1)[0] for sign in (1, -1)
        )
        assert gradient[place] == pytest.approx((above - below) / (2 * step), abs=1e-7)


def test_two_clouds_are_told_apart_by_a_regression():
    values, labels = clouds(np.random.default_rng(0))
    found = fit_perceptrons(values, labels, np.ones(len(labels)), names=NAMES)
    fresh, truth = clouds(np.random.default_rng(1))
    assert np.mean((found.outputs(fresh)[:, 0] > 0) == truth) > 0.99
    assert found.names == NAMES


def test_five_classes_are_told_apart():
    values, labels = clouds(np.random.default_rng(0), classes=5)
    found = fit_perceptrons(
        values, labels, np.ones(len(labels)), names=NAMES, classes=5, hidden=(8,), members=2
    )
    fresh, truth = clouds(np.random.default_rng(1), classes=5)
    assert found.outputs(fresh).shape == (len(fresh), 5)
    assert np.mean(found.outputs(fresh).argmax(1) == truth) > 0.97


def test_a_ring_takes_a_hidden_layer():
    values, labels = ring(np.random.default_rng(0))
    fresh, truth = ring(np.random.default_rng(1))
    right = []
    for hidden in ((), (12,)):
        found = fit_perceptrons(values, labels, np.ones(len(labels)), names=NAMES, hidden=hidden)
        right.append(np.mean((found.outputs(fresh)[:, 0] > 0) == truth))
    assert right[0] < 0.7
    assert right[1] > 0.9


def test_again_it_is_the_same_and_another_seed_is_not():
    values, labels = ring(np.random.default_rng(0), 200)

    def fitted(seed):
        return fit_perceptrons(
            values, labels, np.ones(200), names=NAMES, hidden=(4,), members=2, seed=seed
        ).fingerprint()

    assert fitted(0) == fitted(0) != fitted(1)


def test_a_frame_without_weight_teaches_nothing():
    values, labels = clouds(np.random.default_rng(0))
    wrong = np.concatenate([labels, 1 - labels])
    weights = np.concatenate([np.ones(len(labels)), np.zeros(len(labels))])
    found = fit_perceptrons(np.concatenate([values, values]), wrong, weights, names=NAMES)
    assert np.mean((found.outputs(values)[:, 0] > 0) == labels) > 0.99


def test_decay_makes_log_odds_small():
    values, labels = clouds(np.random.default_rng(0))
    largest = [
        np.abs(
            fit_perceptrons(values, labels, np.ones(300), names=NAMES, decay=decay).outputs(values)
        ).max()
        for decay in (1e-4, 1.0)
    ]
    assert largest[1] < largest[0] / 5
