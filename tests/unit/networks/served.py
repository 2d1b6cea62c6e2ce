"""Networks that are small enough to be exported in each test."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import nn

from deepfreak.networks import Inputs, Topology
from deepfreak.networks.network import NetworkModel, build_network, fingerprint
from tests.labelled import CLASSES, draw_images

SIDE = 64
# its last maps are 8 x 8; windows of 3 overlap, and the last row and column are in none
SMALL = Topology(
    filters=2, blocks=(1, 1, 1, 1), block_strides=(1, 1, 1, 2), second_pool_size=3,
    second_pool_stride=2,
)  # fmt: skip


def images_of(count, *, seed=0, side=SIDE):
    return draw_images(np.arange(count) % 5, seed=seed, side=side)


def model_of(architecture, *, inputs=Inputs(subtract="mean"), side=SIDE, classes=CLASSES):  # noqa: B008 -- frozen
    """Return an untrained network whose normalisations have statistics of some images."""
    torch.manual_seed(1)
    network = build_network(architecture, inputs, classes=len(classes), side=side)
    network.mean.copy_(0.1 + 0.05 * torch.rand(network.mean.shape))
    for layer in network.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.momentum = 1.0
    with torch.no_grad():
        network.train()(torch.from_numpy(images_of(8, seed=9, side=side)))
        # so that its outputs differ from image to image
        network.body[-1].weight.mul_(4)
    manifest = {
        "architecture": architecture.settings(),
        "weights_sha256": fingerprint(network),
        "data": {"seed": 1},
    }
    return NetworkModel(network=network.eval(), side=side, classes=classes, manifest=manifest)


@dataclass(frozen=True)
class Pointed:
    """Detects spots: the excess of a pixel over its surroundings, the maximum of 4 x 4 pixels."""

    name: ClassVar[str] = "pointed"

    def settings(self):
        return {"architecture": self.name}

    def build(self, *, classes, size):
        surround = nn.Conv2d(1, 1, 7, padding=3, padding_mode="replicate")
        head = nn.Linear(1, classes)
        with torch.no_grad():
            surround.weight.fill_(-1 / 48)
            surround.weight[0, 0, 3, 3] = 1
            # three grey levels of 255 are noise
            surround.bias.fill_(-3 / 255)
            head.weight.copy_(torch.linspace(-60, 60, classes)[:, None])
            head.bias.zero_()
        return nn.Sequential(
            surround, nn.ReLU(), nn.MaxPool2d(4), nn.AvgPool2d(size // 4), nn.Flatten(), head
        )
