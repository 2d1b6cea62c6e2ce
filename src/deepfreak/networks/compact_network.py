"""The `Compact` network in torch: spot planes, convolutions, logarithms of means, three layers.

A stored pixel is the root of its counts, whose noise hardly depends on the light. Of a block of
4 x 4 pixels the darkest quarter is background, even if a spot is in the block. Its mean over the
blocks around is the background's level; what pixels have over it, and over the noise, is the
spots' light. The ratio of the two is the crystal's volume, whatever the pulse's energy.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, conv2d, interpolate, max_pool2d, relu

from deepfreak.encoding import PEDESTAL

# Side in pixels of the blocks that the image is divided into.
BLOCK_PX = 4
BLOCK_PIXELS = BLOCK_PX**2
# Added to missing pixels. All gray levels of a block together do not make up for it, so that a
# block's sum says how many are missing.
MISSING = -4096.0
# Above all gray levels, below the size of the mean of four pixels of which one is missing.
BEYOND = 512.0
# What a CPU computes at once; with more it waits for its memory and takes twice as long.
IMAGES_IN_CACHE = 2

# A gray level v stands for roots of counts between v and v + 1.
HALF = 0.5
# Blocks a side over which the background is averaged: smooth, and wider than what spots fill.
SMOOTH_BLOCKS = 9
# In gray levels: counting and the dropped fraction make 1/4 + 1/12 of variance, pixels whose
# sensitivities differ by 4 %, as the simulated detector's, the rest.
NOISE_VARIANCE = 1 / 3
UNEVEN = 0.02
# The least of four means of four pixels is expected this many of a pixel's sigma below the mean.
MIN_OF_FOUR = 0.515
# Light begins this many sigma over the background.
LIGHT_SIGMAS = 2.0
# A pixel this many sigma over the background is no noise, whatever else its block holds.
CLEAR_SIGMAS = (4.0, 8.0, 16.0)
# A background of this gray level is 1 in the plane that shows it.
USUAL_LEVEL = 32.0
NEARLY_NOTHING = 1e-6


class Planes(NamedTuple):
    """The light of images by blocks of 4 x 4 pixels; all numbers are at least 0.

    `light` (n, 5, side / 4, side / 4) is that of spots over that of the background: by roots of
    counts, of all pixels and of what the brightest has over 4, 8 and 16 sigma, where nothing is
    noise; and by counts, as if one pixel had all of the block's. `shape` (n, 4, ...) is log(1 + x)
    of light in sigma, of the brightest pixel's over 2 sigma, and of light by counts; and `level`.
    `level` (n, 1, ...) is the background's gray level over 32, `weight` (n, 1, ...) the share of
    valid pixels.
    """

    light: Tensor
    shape: Tensor
    level: Tensor
    weight: Tensor


class SpotPlanes(nn.Module):
    """Computes `Planes`, which rotate with the image and do not depend on missing pixels."""

    # numbers of planes of `light` and `shape`
    LIGHT, SHAPE = 2 + len(CLEAR_SIGMAS), 4

    to_channels: Tensor
    to_means: Tensor
    to_sum: Tensor

    def __init__(self) -> None:
        super().__init__()
        half = BLOCK_PX // 2
        each = torch.eye(BLOCK_PIXELS).reshape(BLOCK_PIXELS, 1, BLOCK_PX, BLOCK_PX)
        means = each.reshape(BLOCK_PIXELS, 2, half, 2, half).mean((2, 4)).reshape(-1, 4).T
        # what `pixel_unshuffle` does
        self.register_buffer("to_channels", each)
        # a block's pixels to the means of its quarters, and to their sum
        self.register_buffer("to_means", means[:, :, None, None].contiguous())
        self.register_buffer("to_sum", torch.ones(1, BLOCK_PIXELS, 1, 1))

    def forward(self, levels: Tensor) -> Planes:
        """Return the planes of images (n, 1, side, side) of gray levels, some with `MISSING`."""
        if levels.device.type != "cpu" or torch.onnx.is_in_onnx_export():
            return self._planes(levels)
        parts = [self._planes(part) for part in levels.split(IMAGES_IN_CACHE)]
        return Planes(*(torch.cat(planes) for planes in zip(*parts, strict=True)))

    def _planes(self, levels: Tensor) -> Planes:
        # eight bits of mantissa would not do for counts
        with in_float32(levels.device):
            levels = levels.float()
            pixels = conv2d(levels, self.to_channels, stride=BLOCK_PX)  # (n, 16, ...)
            background, weight = self._background(pixels)
            sigma = _sigma(background)
            least = background + LIGHT_SIGMAS * sigma
            roots = conv2d(relu(pixels - least), self.to_sum)  # (n, 1, ...)
            # what (least + roots + 1/2)^2 is over (least + 1/2)^2
            photons = roots * (roots + 2 * least + 1)
            usual = relu((background + HALF).square() - PEDESTAL) + 1
            brightest = max_pool2d(levels, BLOCK_PX) - background
            clear = [relu(brightest - sigmas * sigma) for sigmas in CLEAR_SIGMAS]
            by_roots = torch.cat([roots, *clear], 1) / background.clamp_min(1)
            by_counts = photons / usual
            light = torch.cat([by_roots, by_counts], 1)
            summit = relu(brightest / sigma - LIGHT_SIGMAS)
            level = background / USUAL_LEVEL
            logs = torch.cat([roots / sigma, summit, by_counts], 1).log1p()
            shape = torch.cat([logs, level], 1)
        return Planes(light, shape, level, weight)

    def _background(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """Return gray level of the background and `weight`, (n, 1, ...), of pixels (n, 16, ...)."""
        one, two, three, four = conv2d(pixels, self.to_means).split(1, 1)
        total = (one + two + three + four) * (BLOCK_PIXELS / 4)
        weight = (total / -MISSING).floor() / BLOCK_PIXELS + 1
        # without its sign a quarter with a missing pixel is `BEYOND`, and never the least
        least = torch.minimum(
            torch.minimum(one.abs(), two.abs()), torch.minimum(three.abs(), four.abs())
        )
        known = (least < BEYOND).to(pixels)
        least = least * known
        # far from all that is known, the mean of the image; without any, 0
        everywhere = least.mean((2, 3), keepdim=True)
        share = known.mean((2, 3), keepdim=True).clamp_min(NEARLY_NOTHING)
        around = _smooth(least) + NEARLY_NOTHING * everywhere
        smooth = around / (_smooth(known) + NEARLY_NOTHING * share)
        return smooth + MIN_OF_FOUR * _sigma(smooth), weight


@contextmanager
def in_float32(device: torch.device) -> Iterator[None]:
    """Compute in float32 inside the block, whatever precision is set outside."""
    with ExitStack() as stack:
        if torch.amp.is_autocast_available(device.type):
            stack.enter_context(torch.autocast(device.type, enabled=False))
        if device.type == "cuda":
            before = torch.backends.cudnn.allow_tf32
            torch.backends.cudnn.allow_tf32 = False
            stack.callback(setattr, torch.backends.cudnn, "allow_tf32", before)
        yield


def _sigma(level: Tensor) -> Tensor:
    """Return the standard deviation of a pixel about a background of this gray level."""
    return (NOISE_VARIANCE + (UNEVEN * level).square()).sqrt()


def _smooth(plane: Tensor) -> Tensor:
    """Return the mean over the square of blocks around each; beyond the edges are zeros."""
    size, half = SMOOTH_BLOCKS, SMOOTH_BLOCKS // 2
    rows = avg_pool2d(plane, (size, 1), 1, (half, 0))
    return avg_pool2d(rows, (1, size), 1, (0, half))


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
        _, _, volume, logits = self._decide(means)
        return logits, volume

    def maps(self, maps: Tensor) -> tuple[Tensor, Tensor]:
        """Return logits (n, classes) and activation maps (n, classes, side / 4, side / 4).

        A map is what each block's light adds to the logit of its class: the derivative of the logit
        by each mean, times the block's part of that mean. It is exact for small changes of light
        (Selvaraju et al. 2017). The background's level has no map.
        """
        planes = self.spots(maps)
        features, means = self._features(planes)
        first, second, _, logits = self._decide(means)
        own, by_volume = self.last.weight.split([self.second.out_features, 1], 1)
        by_volume = SHARPNESS * by_volume  # (classes, 1)
        by_second = own + by_volume * self.volume.weight
        # (n, classes, hidden), through the ReLUs that let something pass
        by_first = (by_second * (second > 0)[:, None]) @ self.second.weight
        by_log = (by_first * (first > 0)[:, None]) @ self.first.weight
        by_log = by_log + by_volume * self.powers.weight
        by_mean = by_log / (SPREAD_OF_LOGS * (means + MIN_MEAN))[:, None]
        found = torch.zeros_like(planes.weight)
        parts = by_mean[:, :, :-1].split([each.shape[1] for each in features], 2)
        for own, each, scale in zip(parts, features, self.scales, strict=True):
            map_of_each = (own @ each.flatten(2)).unflatten(2, each.shape[2:])
            # a coarse block's part is shared by those within
            map_of_each = map_of_each * _share(planes.weight, scale) / scale**2
            found = found + interpolate(map_of_each, scale_factor=float(scale))
        return logits, found

    def _features(self, planes: Planes) -> tuple[list[Tensor], Tensor]:
        """Return features of blocks, (n, k, ...) by stage, and means (n, m), the level's last."""
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

    def _decide(self, means: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return both hidden layers (n, hidden), volumes (n,) and logits of the means (n, m)."""
        with in_float32(means.device):
            # scaled to about mean 0 and deviation 1
            logs = ((means + MIN_MEAN).log() - USUAL_LOG) / SPREAD_OF_LOGS
            first = relu(self.first(logs))
            second = relu(self.second(first))
            volume = self.powers(logs) + self.volume(second)
            logits = self.last(torch.cat([second, SHARPNESS * volume], 1))
        return first, second, volume[:, 0], logits


def _share(weight: Tensor, scale: int) -> Tensor:
    """Return the weight of each square of `scale` x `scale` blocks in a mean over the image."""
    if scale > 1:
        weight = avg_pool2d(weight, scale)
    return weight / weight.sum((2, 3), keepdim=True).clamp_min(NEARLY_NOTHING)


def _mean(features: Tensor, weight: Tensor, scale: int) -> Tensor:
    """Return the mean of each channel (n, k) over the valid pixels."""
    share = _share(weight, scale)
    return (features.flatten(2) @ share.flatten(2).transpose(1, 2))[:, :, 0]
