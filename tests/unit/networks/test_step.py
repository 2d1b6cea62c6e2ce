import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from deepfreak.datasets import Dataset
from deepfreak.networks import OURS, Compact
from deepfreak.networks.batches.batch import Batch
from deepfreak.networks.processes import Processes
from deepfreak.networks.step import RecordedStep, Step, _volume_error, step_of
from deepfreak.networks.targets import Targets
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


def steps_of(network, training=tiny.TRAINING, device="cpu"):
    group = Processes(rank=0, count=1, device=torch.device(device))
    return step_of(network, Targets(members=None), training, group)


def batch_of(count):
    torch.manual_seed(count)
    images = torch.randint(0, 256, (count, 1, 4), dtype=torch.uint8)
    return Batch(images, torch.arange(count) % 3, torch.zeros(count))


def test_the_gradients_are_those_of_this_batch_alone():
    network = Linear()
    step = steps_of(network)
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


def test_nothing_is_recorded_without_a_gpu_or_with_other_processes():
    assert isinstance(steps_of(Linear()), Step)
    together = Processes(rank=1, count=2, device=torch.device("cuda"))
    step = step_of(Linear(), Targets(members=None), tiny.TRAINING, together)
    assert isinstance(step, Step)


def test_the_error_of_volumes_is_a_logarithm():
    estimated = torch.tensor([5.0, 1.0, math.log(2) + 0.5])
    error = _volume_error(estimated, torch.tensor([0, 1e-5, 2e-5]))
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
def test_recorded_steps_leave_the_same_weights(tmp_path, monkeypatch, architecture, training):
    path = write_labelled(tmp_path / "data.h5", np.arange(22) % 5, side=2 * tiny.SIDE)
    options = {"architecture": architecture, "training": training, "device": "cuda"}
    with Dataset.open(path) as data:
        recorded = tiny.train(data, tmp_path / "recorded", **options)
        monkeypatch.setattr(RecordedStep, "__call__", lambda self, batch: self.step(batch))
        plain = tiny.train(data, tmp_path / "plain", **options)
    assert plain.model.manifest["weights_sha256"] == recorded.model.manifest["weights_sha256"]
