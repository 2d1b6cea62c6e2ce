"""Losses for class and group labels: slow definitions."""

import math

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy

from deepfreak.errors import DatasetError
from deepfreak.networks.targets import Targets
from tests.labelled import CLASSES

CPU = torch.device("cpu")
WITH_DIFFRACTION = [2, 3, 4]


def drawn(count, seed=0):
    rng = np.random.default_rng(seed)
    logits = torch.from_numpy(rng.normal(0, 3, (count, len(CLASSES))).astype(np.float32))
    # five classes, and behind them the two groups
    return logits, torch.from_numpy(rng.integers(0, len(CLASSES) + 2, count))


def targets(*, with_groups=True):
    return Targets.of(CLASSES, with_groups=with_groups, device=CPU)


def slow_loss(logits, label):
    """Return -log of the probability of what the label allows."""
    likelihoods = [math.exp(value) for value in logits.tolist()]
    allowed = {5: [0, 1], 6: WITH_DIFFRACTION}.get(int(label), [int(label)])
    return -math.log(sum(likelihoods[index] for index in allowed) / sum(likelihoods))


def test_the_loss_is_minus_log_of_the_probability_of_what_a_label_allows():
    logits, labels = drawn(200)
    expected = np.mean([slow_loss(*pair) for pair in zip(logits, labels, strict=True)])
    assert float(targets().loss(logits, labels, label_smoothing=0)) == pytest.approx(expected)


def test_smoothing_is_for_classes_only():
    logits, labels = drawn(50)
    grouped = labels >= len(CLASSES)
    by_class = cross_entropy(
        logits[~grouped], labels[~grouped], label_smoothing=0.1, reduction="sum"
    )
    by_group = sum(slow_loss(*pair) for pair in zip(logits[grouped], labels[grouped], strict=True))
    loss = targets().loss(logits, labels, label_smoothing=0.1)
    assert float(loss) == pytest.approx((float(by_class) + by_group) / 50)


def test_without_groups_the_loss_is_the_cross_entropy_in_each_bit():
    logits, labels = drawn(64)
    labels %= len(CLASSES)
    loss = targets(with_groups=False).loss(logits, labels, label_smoothing=0.1)
    assert torch.equal(loss, cross_entropy(logits, labels, label_smoothing=0.1))


def test_a_group_draws_its_classes_up_together_and_the_others_down():
    logits = torch.zeros(1, len(CLASSES), requires_grad=True)
    targets().loss(logits, torch.tensor([6]), label_smoothing=0).backward()
    # softmax over all, minus softmax over the group
    expected = [1 / 5, 1 / 5, 1 / 5 - 1 / 3, 1 / 5 - 1 / 3, 1 / 5 - 1 / 3]
    torch.testing.assert_close(logits.grad[0], torch.tensor(expected))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_loss_and_gradient_are_finite_where_the_group_is_all_but_impossible(dtype):
    values = torch.tensor([[1e4, 1e4, -1e4, -1e4, -1e4]], dtype=dtype, requires_grad=True)
    loss = targets().loss(values, torch.tensor([6]), label_smoothing=0)
    loss.backward()
    assert loss.item() == pytest.approx(2e4, rel=0.01)
    assert values.grad.isfinite().all()


def test_a_hit_is_a_likeliest_class_that_the_label_allows():
    logits = torch.eye(len(CLASSES))[[0, 1, 2, 3, 4, 4, 1]]
    labels = torch.tensor([0, 5, 5, 6, 6, 3, 1])
    assert int(targets().hits(logits, labels)) == 5
    assert int(targets(with_groups=False).hits(logits[:1], labels[:1])) == 1


def test_classes_that_are_no_groups_are_refused():
    with pytest.raises(DatasetError, match="cannot be grouped into two"):
        Targets.of(("cat", "dog"), with_groups=True, device=CPU)
