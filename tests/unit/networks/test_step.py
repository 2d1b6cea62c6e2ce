import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from deepfreak.datasets import Dataset
from deepfreak.networks import OURS, Compact
from deepfreak.networks.batches import Batch
from deepfreak.networks.cuda_graph import WARM_UP_STEPS, CudaGraphStep
from deepfreak.networks.targets import Targets, volume_error
from deepfreak.networks.training import gradient_step
from tests.labelled import write_labelled
from tests.unit.networks import tiny

on_a_gpu = pytest.mark.skipif(
    not torch.cuda.is_available(), reason="CUDA graphs need a GPU and a CUDA build of torch"
)


class Linear(nn.Module):
    """One linear layer over the first row of an image."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.layer = nn.Linear(4, 3)

    def forward(self, images, valid, *, with_volume):
        assert valid is None
        assert not with_volume
        return self.layer(images[:, 0].float())


def step_of(network, training=tiny.TRAINING):
    return gradient_step(network, Targets(members=None), training, torch.device("cpu"))


def batch_of(count):
    torch.manual_seed(count)
    images = torch.randint(0, 256, (count, 1, 4), dtype=torch.uint8)
    return Batch(images, torch.arange(count) % 3, torch.zeros(count))


def test_the_gradients_are_those_of_this_batch_alone():
    network = Linear()
    step = step_of(network)
    step(batch_of(5))
    batch = batch_of(4)
    loss, hits = step(batch)
    found = [weights.grad.clone() for weights in network.parameters()]
    logits = network.layer(batch.images[:, 0].float())
    expected = nn.functional.cross_entropy(logits, batch.labels)
    gradients = torch.autograd.grad(expected, list(network.parameters()))
    torch.testing.assert_close(found, list(gradients))
    assert float(loss) == pytest.approx(expected.item())
    assert not loss.requires_grad
    assert int(hits) == int((logits.argmax(1) == batch.labels).sum())


def test_the_error_of_volumes_is_a_logarithm():
    estimated = torch.tensor([5.0, 1.0, math.log(2) + 0.5])
    error = volume_error(estimated, torch.tensor([0, 1e-5, 2e-5]))
    assert float(error) == pytest.approx((1 + 0.25) / 3)


@on_a_gpu
@pytest.mark.parametrize(
    ("architecture", "training"),
    [
        (tiny.SMALL, replace(tiny.TRAINING, batch=1)),
        (tiny.SMALL, replace(tiny.TRAINING, batch=1, precision="bf16")),
        # the last batch is smaller; below, some batches have gaps and some have not
        (tiny.SMALL, tiny.TRAINING),
        (
            Compact(widths=(4, 8)),
            replace(OURS, epochs=3, batch=4, warmup_epochs=1.0, volume_weight=0.0),
        ),
    ],
)
def test_a_cuda_graph_leaves_the_same_weights(tmp_path, architecture, training):
    path = write_labelled(tmp_path / "data.h5", np.arange(22) % 5, side=2 * tiny.SIDE)
    options = {"architecture": architecture, "training": training, "device": "cuda"}
    with Dataset.open(path) as data:
        captured = tiny.train(data, tmp_path / "captured", **options)
        plain = tiny.train(data, tmp_path / "plain", cuda_graph=False, **options)
    assert plain.model.manifest["weights_sha256"] == captured.model.manifest["weights_sha256"]


@on_a_gpu
def test_whole_batches_are_replayed_as_a_graph():
    network = Linear().cuda()
    device, calls = torch.device("cuda"), []
    step = gradient_step(network, Targets(members=None), tiny.TRAINING, device)

    def counted(batch):
        calls.append(len(batch.labels))
        return step(batch)

    graphed = CudaGraphStep(step=counted, network=network, batch=4, device=device)
    for _ in range(9):
        batch = Batch(*(None if each is None else each.cuda() for each in batch_of(4)))
        found, _ = graphed(batch)
        gradients = [weights.grad.clone() for weights in network.parameters()]
        expected, _ = step(batch)
        assert torch.equal(found, expected)
        for weights, gradient in zip(network.parameters(), gradients, strict=True):
            assert torch.equal(weights.grad, gradient)
    # three to warm up and the capture; the rest are replays
    assert len(calls) == WARM_UP_STEPS + 1
