"""A `Compact` in torch: planes of spots, convolutions, logarithms of means, three layers."""

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, interpolate, relu

from deepfreak.networks.compact import Compact
from deepfreak.networks.spot_planes import MISSING, Planes, SpotPlanes, in_float32

# Below it a mean over the image is noise.
LEAST_MEAN = 1e-3
# Logarithms of means have about this mean and spread over images.
USUAL_LOG, SPREAD_OF_LOGS = -3.0, 2.0
# Classes are ranges of volume, and a few per cent of volume lie between them: without this factor
# large weights would have to be learnt.
SHARPNESS = 20.0
NEARLY_NOTHING = 1e-6


class CompactNetwork(nn.Module):  # type: ignore[misc] # torch has no types here
    """Sums light over the image and decides by logarithms.

    All features of blocks are at least 0. Of each the mean over what was measured is taken; the
    logarithms of these means go through two layers to the logarithm of the crystal's volume, and
    both together through one more to the classes. Nothing is normalised over a batch: images differ
    so much in brightness that its mean would be noise to each of them.
    """

    # what `Network` puts where a pixel measured nothing
    missing = MISSING

    def __init__(self, settings: Compact, *, classes: int) -> None:
        super().__init__()
        self.spots = SpotPlanes()
        stages = []
        channels = SpotPlanes.SHAPE
        for index, width in enumerate(settings.widths):
            convolution = nn.Conv2d(channels, width, 3, 1 if index == 0 else 2, 1)
            nn.init.kaiming_normal_(convolution.weight, nonlinearity="relu")
            nn.init.zeros_(convolution.bias)
            stages.append(nn.Sequential(convolution, nn.ReLU(inplace=True)))
            channels = width
        self.stages = nn.ModuleList(stages)
        # blocks a side to one of the features: of light, and of each stage
        self.scales = (1, *(1 << index for index in range(len(stages))))
        means = SpotPlanes.LIGHT + sum(settings.widths) + 1
        self.first = nn.Linear(means, settings.hidden)
        self.second = nn.Linear(settings.hidden, settings.hidden)
        self.volume = nn.Linear(settings.hidden, 1)
        self.last = nn.Linear(settings.hidden + 1, classes)

    def forward(self, maps: Tensor) -> Tensor:
        """Return logits (n, classes) of images (n, 1, side, side); see `SpotPlanes`."""
        return self.with_volume(maps)[0]

    def with_volume(self, maps: Tensor) -> tuple[Tensor, Tensor]:
        """Return logits (n, classes) and volumes (n,).

        A volume is that of all crystals in the beam, as the natural logarithm of what `recipe`
        counts volumes in; without a crystal it says nothing.
        """
        return self.judge(self.spots(maps))

    def judge(self, planes: Planes) -> tuple[Tensor, Tensor]:
        """Return logits (n, classes) and volumes (n,) of what `spots` has made of images."""
        _, means = self._features(planes)
        return self._answers(self._hidden(means)[1])

    def maps(self, maps: Tensor) -> tuple[Tensor, Tensor]:
        """Return logits (n, classes) and activation maps (n, classes, side / 4, side / 4).

        A map is what each block's light adds to the logit of its class: the derivative of the logit
        by each mean, times the block's part of that mean. It is exact for small changes of light
        (Selvaraju et al. 2017). The background's level has no map.
        """
        planes = self.spots(maps)
        features, means = self._features(planes)
        first, second = self._hidden(means)
        logits, _ = self._answers(second)
        hidden = self.second.out_features
        weights = self.last.weight  # (classes, hidden + 1)
        by_second = weights[:, :hidden] + SHARPNESS * weights[:, hidden:] * self.volume.weight
        # (n, classes, hidden), through the ReLUs that let something pass
        by_first = (by_second * (second > 0)[:, None]) @ self.second.weight
        by_log = (by_first * (first > 0)[:, None]) @ self.first.weight
        by_mean = by_log / (SPREAD_OF_LOGS * (means + LEAST_MEAN))[:, None]
        found = torch.zeros_like(planes.weight)
        parts = by_mean[:, :, :-1].split([each.shape[1] for each in features], 2)
        for own, each, scale in zip(parts, features, self.scales, strict=True):
            map_of_each = (own @ each.flatten(2)).unflatten(2, each.shape[2:])
            # a coarse block's part is shared by those within
            map_of_each = map_of_each * _share(planes.weight, scale) / scale**2
            found = found + interpolate(map_of_each, scale_factor=float(scale))
        return logits, found

    def _features(self, planes: Planes) -> tuple[list[Tensor], Tensor]:
        """Return the features of blocks, (n, k, ...) of each stage, and all their means (n, m).

        Last among the means is the level's.
        """
        features = [planes.light]
        maps = planes.shape
        for stage in self.stages:
            maps = stage(maps)
            features.append(maps)
        with in_float32(maps.device):
            features = [each.float() for each in features]
            means = [
                _mean(each, planes.weight, scale)
                for each, scale in zip((*features, planes.level), (*self.scales, 1), strict=True)
            ]
            return features, torch.cat(means, 1)

    def _hidden(self, means: Tensor) -> tuple[Tensor, Tensor]:
        with in_float32(means.device):
            logs = ((means + LEAST_MEAN).log() - USUAL_LOG) / SPREAD_OF_LOGS
            first = relu(self.first(logs))
            return first, relu(self.second(first))

    def _answers(self, second: Tensor) -> tuple[Tensor, Tensor]:
        with in_float32(second.device):
            volume = self.volume(second)
            logits = self.last(torch.cat([second, SHARPNESS * volume], 1))
            return logits, volume[:, 0]


def _share(weight: Tensor, scale: int) -> Tensor:
    """Return what each square of `scale` x `scale` blocks counts in a mean over the image."""
    if scale > 1:
        weight = avg_pool2d(weight, scale)
    return weight / weight.sum((2, 3), keepdim=True).clamp_min(NEARLY_NOTHING)


def _mean(features: Tensor, weight: Tensor, scale: int) -> Tensor:
    """Return the mean of each channel (n, k) over what was measured."""
    share = _share(weight, scale)
    return (features.flatten(2) @ share.flatten(2).transpose(1, 2))[:, :, 0]
