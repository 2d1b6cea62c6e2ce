"""The `Compact` network in torch: spot planes, convolutions, logarithms of means, three layers."""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, interpolate, relu

from deepfreak.networks.spot_planes import MISSING, Planes, SpotPlanes, in_float32

# Below it a mean over the image is noise.
MIN_MEAN = 1e-3
# Logarithms of means have about this mean and spread over images.
USUAL_LOG, SPREAD_OF_LOGS = -3.0, 2.0
# Classes are ranges of volume, and a few per cent of volume lie between them: without this factor
# large weights would have to be learned.
SHARPNESS = 20.0
NEARLY_NOTHING = 1e-6


class CompactNetwork(nn.Module):
    """Sums light over the image and decides by logarithms.

    All features of blocks are at least 0, and each is averaged over the valid pixels. The crystal's
    volume is a product of powers of these means, corrected by two hidden layers over their
    logarithms; the classes follow from it and from the hidden layers. Nothing is normalised over a
    batch: images differ so much in brightness that its mean would be noise to each of them.
    """

    # The network takes gray levels as they are stored, with this added for missing pixels; see
    # `Network`.
    missing = MISSING

    def __init__(self, *, widths: tuple[int, ...], hidden: int, classes: int) -> None:
        super().__init__()
        self.spots = SpotPlanes()
        stages = []
        channels = SpotPlanes.SHAPE
        for index, width in enumerate(widths):
            convolution = nn.Conv2d(channels, width, 3, 1 if index == 0 else 2, 1)
            nn.init.kaiming_normal_(convolution.weight, nonlinearity="relu")
            nn.init.constant_(convolution.get_parameter("bias"), 0)
            stages.append(nn.Sequential(convolution, nn.ReLU(inplace=True)))
            channels = width
        self.stages = nn.ModuleList(stages)
        # blocks a side to one of the features: of light, and of each stage but the first
        self.scales = (1, *(1 << index for index in range(1, len(stages))))
        means = SpotPlanes.LIGHT + sum(widths[1:]) + 1
        self.first = nn.Linear(means, hidden)
        self.second = nn.Linear(hidden, hidden)
        self.powers = nn.Linear(means, 1)
        self.volume = nn.Linear(hidden, 1)
        self.last = nn.Linear(hidden + 1, classes)

    def forward(self, maps: Tensor) -> Tensor:
        """Return logits (n, classes) of gray levels (n, 1, side, side); see `SpotPlanes`."""
        return self.with_volume(maps)[0]

    def with_volume(self, maps: Tensor) -> tuple[Tensor, Tensor]:
        """Return logits (n, classes) and volumes (n,).

        A volume is that of all crystals in the beam: its natural logarithm, in units of
        `configuration.VOLUME_UNIT_MM3`. Without a crystal it has no meaning.
        """
        return self.decide(self.spots(maps))

    def decide(self, planes: Planes) -> tuple[Tensor, Tensor]:
        """Return logits (n, classes) and volumes (n,) of the planes of images."""
        _, means = self._features(planes)
        decided = self._decide(means)
        return decided.logits, decided.volume

    def maps(self, maps: Tensor) -> tuple[Tensor, Tensor]:
        """Return logits (n, classes) and activation maps (n, classes, side / 4, side / 4).

        A map is what each block's light adds to the logit of its class: the derivative of the logit
        by each mean, times the block's part of that mean. It is exact for small changes of light
        (Selvaraju et al. 2017). The background's level has no map.
        """
        planes = self.spots(maps)
        features, means = self._features(planes)
        decided = self._decide(means)
        own, by_volume = self.last.weight.split([self.second.out_features, 1], 1)
        by_volume = SHARPNESS * by_volume  # (classes, 1)
        by_second = own + by_volume * self.volume.weight
        # (n, classes, hidden), through the ReLUs that let something pass
        by_first = (by_second * (decided.second > 0)[:, None]) @ self.second.weight
        by_log = (by_first * (decided.first > 0)[:, None]) @ self.first.weight
        by_log = by_log + by_volume * self.powers.weight
        by_mean = by_log / (SPREAD_OF_LOGS * (means + MIN_MEAN))[:, None]
        found = torch.zeros_like(planes.weight)
        parts = by_mean[:, :, :-1].split([each.shape[1] for each in features], 2)
        for own, each, scale in zip(parts, features, self.scales, strict=True):
            map_of_each = (own @ each.flatten(2)).unflatten(2, each.shape[2:])
            # a coarse block's part is shared by those within
            map_of_each = map_of_each * _share(planes.weight, scale) / scale**2
            found = found + interpolate(map_of_each, scale_factor=float(scale))
        return decided.logits, found

    def _features(self, planes: Planes) -> tuple[list[Tensor], Tensor]:
        """Return the features of blocks, (n, k, ...) of each stage, and all their means (n, m).

        Last among the means is the level's.
        """
        features = [planes.light]
        maps = planes.shape
        for index, stage in enumerate(self.stages):
            maps = stage(maps)
            if index > 0:  # at full resolution the means alone would take as long as the rest
                features.append(maps)
        with in_float32(maps.device):
            features = [each.float() for each in features]
            means = [
                _mean(each, planes.weight, scale)
                for each, scale in zip((*features, planes.level), (*self.scales, 1), strict=True)
            ]
            return features, torch.cat(means, 1)

    def _logs(self, means: Tensor) -> Tensor:
        """Return the logarithms of means (n, m), scaled to about mean 0 and deviation 1."""
        return ((means + MIN_MEAN).log() - USUAL_LOG) / SPREAD_OF_LOGS

    def _decide(self, means: Tensor) -> "Decided":
        """Return hidden layers, volumes and logits of the means (n, m)."""
        with in_float32(means.device):
            logs = self._logs(means)
            first = relu(self.first(logs))
            second = relu(self.second(first))
            volume = self.powers(logs) + self.volume(second)
            logits = self.last(torch.cat([second, SHARPNESS * volume], 1))
        return Decided(first, second, volume[:, 0], logits)


class Decided(NamedTuple):
    """Both hidden layers (n, hidden), volumes (n,) and logits (n, classes)."""

    first: Tensor
    second: Tensor
    volume: Tensor
    logits: Tensor


def _share(weight: Tensor, scale: int) -> Tensor:
    """Return the weight of each square of `scale` x `scale` blocks in a mean over the image."""
    if scale > 1:
        weight = avg_pool2d(weight, scale)
    return weight / weight.sum((2, 3), keepdim=True).clamp_min(NEARLY_NOTHING)


def _mean(features: Tensor, weight: Tensor, scale: int) -> Tensor:
    """Return the mean of each channel (n, k) over the valid pixels."""
    share = _share(weight, scale)
    return (features.flatten(2) @ share.flatten(2).transpose(1, 2))[:, :, 0]
