"""What each block of pixels shows beside the smooth background: the first step, without weights.

A stored pixel is the root of its counts, whose noise hardly depends on the light. Of a block of
4 x 4 pixels the darkest quarter is background, even if a spot is in the block. Its mean over the
blocks around is the background's level; what pixels have over it, and over the noise, is the
spots' light. The ratio of the two is the crystal's volume, whatever the pulse's energy.
"""

from contextlib import AbstractContextManager, nullcontext
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, conv2d, max_pool2d, relu

from deepfreak.networks.compact import BLOCK_PX
from deepfreak.prepare import PEDESTAL

# Stands for a pixel that measured nothing: even a mean of four with one of them is below 0.
MISSING = -4.0

# What a CPU works on at once; with more it waits for its memory and takes twice as long.
IMAGES_IN_CACHE = 2

LEVELS = 255.0
# A gray level v stands for roots of counts between v and v + 1.
HALF = 0.5
# Above all gray levels.
BEYOND = 2 * LEVELS
# Blocks a side over which the background is averaged: smooth, and wider than what spots fill.
SMOOTH_BLOCKS = 9
# In gray levels: counting and the dropped fraction make 1/4 + 1/12 of variance, pixels whose
# sensitivities differ by 4 %, as the simulated detector's, the rest.
NOISE_VARIANCE = 1 / 3
UNEVEN = 0.02
# The least of four means of four pixels is expected so many of a pixel's sigma below the mean.
LEAST_OF_FOUR = 0.515
# Light begins so many sigma over the background.
LIGHT_SIGMAS = 2.0
# A background of this gray level is 1 in the plane that shows it.
USUAL_LEVEL = 32.0
NEARLY_NOTHING = 1e-6


class Planes(NamedTuple):
    """What images show, by blocks of 4 x 4 pixels; all numbers are at least 0.

    Attributes
    ----------
    light
        (n, 2, side / 4, side / 4): the spots' light over the background's, of roots of counts and
        of counts, summed over a block's pixels.
    shape
        (n, 4, side / 4, side / 4): of what pixels have over background and noise, in gray levels,
        log(1 + sum) and log(1 + maximum); log(1 + light) of counts; and `level`.
    level
        (n, 1, side / 4, side / 4): the background's gray level over 32.
    weight
        (n, 1, side / 4, side / 4): the part of a block's pixels that measured something.
    """

    light: Tensor
    shape: Tensor
    level: Tensor
    weight: Tensor


class SpotPlanes(nn.Module):  # type: ignore[misc] # torch has no types here
    """Makes `Planes`, which turn with the image, and in which missing pixels leave no trace."""

    # how many planes `light` and `shape` have
    LIGHT, SHAPE = 2, 4

    ones: Tensor
    to_channels: Tensor
    quarters: Tensor

    def __init__(self) -> None:
        super().__init__()
        pixels, half = BLOCK_PX**2, BLOCK_PX // 2
        each = torch.eye(pixels).reshape(pixels, 1, BLOCK_PX, BLOCK_PX)
        # (4, 16): the mean of 2 x 2 of a block's pixels
        means = each.reshape(pixels, 2, half, 2, half).mean((2, 4)).reshape(pixels, 4).T
        # what `pixel_unshuffle` does, for which onnxruntime takes ten times as long
        self.register_buffer("ones", torch.ones(1, pixels, 1, 1))
        self.register_buffer("to_channels", each)
        self.register_buffer("quarters", means[:, :, None, None].contiguous())

    def forward(self, maps: Tensor) -> Planes:
        """Return the planes of images (n, 1, side, side): gray levels over 255, or `MISSING`."""
        if maps.device.type != "cpu" or torch.jit.is_tracing():
            return self._planes(maps)
        parts = [self._planes(part) for part in maps.split(IMAGES_IN_CACHE)]
        return Planes(*(torch.cat(planes) for planes in zip(*parts, strict=True)))

    def _planes(self, maps: Tensor) -> Planes:
        # eight bits of mantissa would not do for the squares of 255
        with in_float32(maps.device):
            # (n, 16, side / 4, side / 4)
            levels = maps.float() * LEVELS
            pixels = conv2d(levels, self.to_channels, stride=BLOCK_PX)
            background = self._background(pixels)
            least = background + LIGHT_SIGMAS * _sigma(background)
            roots = relu(pixels - least)
            total = self._sum(roots)
            # what (v + 1/2)^2 is over the same of `least`, where v is over `least`
            photons = self._sum(roots.square()) + 2 * (least + HALF) * total
            usual = relu((background + HALF).square() - PEDESTAL) + 1
            light = torch.cat([total / background.clamp_min(1), photons / usual], 1)
            summit = relu(max_pool2d(levels, BLOCK_PX) - least)
            level = background / USUAL_LEVEL
            shape = torch.cat([total.log1p(), summit.log1p(), light[:, 1:].log1p(), level], 1)
            weight = self._sum((pixels >= 0).to(pixels)) / BLOCK_PX**2
        return Planes(light, shape, level, weight)

    def _sum(self, pixels: Tensor) -> Tensor:
        """Return the sum (n, 1, ...) of a block's pixels (n, 16, ...); a convolution is faster."""
        return conv2d(pixels, self.ones)

    def _background(self, pixels: Tensor) -> Tensor:
        """Return the background's gray level, (n, 1, ...), of pixels (n, 16, ...)."""
        quarters = conv2d(pixels, self.quarters)  # (n, 4, ...)
        whole = (quarters >= 0).to(pixels)  # without a missing pixel
        one, two, three, four = (quarters * whole + BEYOND * (1 - whole)).split(1, 1)
        darkest = torch.minimum(torch.minimum(one, two), torch.minimum(three, four))
        known = (darkest < BEYOND).to(pixels)
        least = darkest * known
        # far from all that is known, the mean of the image; without any, 0
        everywhere = least.mean((2, 3), keepdim=True)
        share = known.mean((2, 3), keepdim=True).clamp_min(NEARLY_NOTHING)
        around = _smooth(least) + NEARLY_NOTHING * everywhere
        smooth = around / (_smooth(known) + NEARLY_NOTHING * share)
        return smooth + LEAST_OF_FOUR * _sigma(smooth)


def in_float32(device: torch.device) -> AbstractContextManager[None]:
    """Return a context in which nothing is computed in bf16, whatever is asked for outside."""
    if torch.amp.is_autocast_available(device.type):
        off: AbstractContextManager[None] = torch.autocast(device.type, enabled=False)
        return off
    return nullcontext()


def _sigma(level: Tensor) -> Tensor:
    """Return the standard deviation of a pixel about a background of this gray level."""
    return (NOISE_VARIANCE + (UNEVEN * level).square()).sqrt()


def _smooth(plane: Tensor) -> Tensor:
    """Return the mean over the square of blocks around each; beyond the edges are zeros."""
    size, half = SMOOTH_BLOCKS, SMOOTH_BLOCKS // 2
    rows = avg_pool2d(plane, (size, 1), 1, (half, 0))
    return avg_pool2d(rows, (1, size), 1, (0, half))
