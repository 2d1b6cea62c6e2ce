"""Architectures: settings from which a network is built, and what it will cost."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Protocol

import pydantic
from pydantic import Field

from deepfreak.errors import ModelError, RecipeError
from deepfreak.settings import one_line, settings, to_json

if TYPE_CHECKING:
    from torch import nn

    from deepfreak.networks.compact_network import CompactNetwork

# The bounds keep a network that a file describes from asking for all the memory there is.
Width = Annotated[int, Field(ge=1, le=128)]
Kernel = Annotated[int, Field(ge=1, le=64)]
Stride = Annotated[int, Field(ge=1, le=16)]
Depth = Annotated[int, Field(ge=1, le=64)]


@settings
class Topology:
    """A residual network of bottleneck blocks for one-channel images.

    Its layers are a convolution, a pool, four stages of blocks, each twice as wide as the one
    before, a second pool, and one linear layer over all that the second pool leaves.

    Parameters
    ----------
    filters
        Filters of the first convolution, at most. Also the inner channels of the first stage.
    first_conv_size, first_conv_stride, first_pool_size, first_pool_stride
        In pixels; padded by half their size. The first pool takes maxima.
    second_pool_size, second_pool_stride
        In pixels of the last stage's map; not padded. The second pool takes means.
    blocks, block_strides
        Of each stage; the stride is that of the stage's first 3 x 3 convolution.
    normalise
        Normalisation by the statistics of the batch or of each image. By those of the "batch" while
        it learns and by running ones afterwards; or always by those of each "image", as batches of
        one do while they learn.
    """

    name: ClassVar[str] = "bottlenecks"

    filters: Width = 64
    first_conv_size: Kernel = 7
    first_conv_stride: Stride = 2
    first_pool_size: Kernel = 3
    first_pool_stride: Stride = 2
    second_pool_size: Kernel = 7
    second_pool_stride: Stride = 1
    blocks: tuple[Depth, Depth, Depth, Depth] = (3, 4, 6, 3)
    block_strides: tuple[Stride, Stride, Stride, Stride] = (1, 2, 2, 2)
    normalise: Literal["batch", "image"] = "batch"

    def map_sizes(self, size: int) -> tuple[int, ...]:
        """Return the maps' sides in pixels for images of `size` x `size`.

        After the first convolution, the first pool, each of the four stages, and the second pool.
        Raises `RecipeError` if the second pool is larger than the map that it is to pool.
        """
        sides = [_padded(size, self.first_conv_size, self.first_conv_stride)]
        sides.append(_padded(sides[-1], self.first_pool_size, self.first_pool_stride))
        for stride in self.block_strides:
            sides.append(_padded(sides[-1], 3, stride))
        if self.second_pool_size > sides[-1]:
            raise RecipeError(
                f"expected a second pool of at most {sides[-1]} x {sides[-1]}, the last map of "
                f"images of {size} x {size}, found {self.second_pool_size}: use a smaller pool "
                "or smaller strides"
            )
        sides.append((sides[-1] - self.second_pool_size) // self.second_pool_stride + 1)
        return tuple(sides)

    def settings(self) -> dict[str, Any]:
        """Return the settings as JSON values, the name under `architecture`."""
        return {"architecture": self.name, **to_json(self)}

    def build(self, *, classes: int = 5, size: int = 512) -> "nn.Module":
        """Return the network, float (n, 1, size, size) to logits (n, classes); see `resnet`."""
        from deepfreak.networks.resnet import bottleneck_network

        return bottleneck_network(self, classes=classes, size=size)


def _padded(side: int, window: int, stride: int) -> int:
    """Return the output's side of a window over `side` pixels, padded by half its size."""
    return (side + 2 * (window // 2) - window) // stride + 1


# Table 9; a variant's number is its place, 0 the default, which at 224 x 224 is plain ResNet-50.
TOPOLOGIES: tuple[Topology, ...] = (
    Topology(),
    Topology(second_pool_size=9, second_pool_stride=2),
    Topology(second_pool_size=13, second_pool_stride=2),
    Topology(block_strides=(2, 2, 2, 2)),
    Topology(first_conv_stride=4),
    Topology(second_pool_stride=2, block_strides=(2, 2, 2, 2)),
    Topology(second_pool_size=15, second_pool_stride=2),
    Topology(second_pool_size=8, block_strides=(2, 2, 2, 2)),
    Topology(block_strides=(1, 2, 3, 3)),
    Topology(filters=8),
    Topology(filters=8, second_pool_stride=2),
    Topology(second_pool_size=9, second_pool_stride=2, block_strides=(1, 2, 2, 3)),
    Topology(filters=16, second_pool_size=9, second_pool_stride=2),
    Topology(filters=16, second_pool_stride=2),
)

# Table 1: what BOHB chose.
DEEPFREAK = TOPOLOGIES[8]


Channels = Annotated[int, Field(ge=1, le=512)]


@settings
class Compact:
    """A small convolutional network over the light of each block of pixels above the background.

    Parameters
    ----------
    widths
        Channels of the 3 x 3 convolutions. The first one works on blocks of 4 x 4 pixels, each
        further one at half the resolution of the one before; of these the means are taken.
    hidden
        Units between the means over the image and the classes.
    """

    name: ClassVar[str] = "compact"

    widths: Annotated[tuple[Channels, ...], Field(max_length=6)] = (8, 16, 32, 64)
    hidden: Channels = 64

    def settings(self) -> dict[str, Any]:
        """Return the settings as JSON values, the name under `architecture`."""
        return {"architecture": self.name, **to_json(self)}

    def build(self, *, classes: int = 5, size: int = 512) -> "CompactNetwork":
        """Return the network; `RecipeError` if images cannot be halved at each convolution."""
        from deepfreak.networks.compact_network import BLOCK_PX, CompactNetwork

        multiple = BLOCK_PX << max(len(self.widths) - 1, 0)
        if size % multiple:
            raise RecipeError(
                f"expected images whose side is a multiple of {multiple} for a compact network of "
                f"{len(self.widths)} convolutions, found {size}: use fewer, or prepare the images"
            )
        return CompactNetwork(widths=self.widths, hidden=self.hidden, classes=classes)


class Architecture(Protocol):
    """Settings from which a network is built, and which a file of weights names as JSON."""

    name: ClassVar[str]

    def settings(self) -> dict[str, Any]:
        """Return what `architecture_from` needs, as JSON values, `name` under "architecture"."""

    def build(self, *, classes: int, size: int) -> "nn.Module":
        """Return a module that takes float images (n, 1, size, size) to logits (n, classes).

        If it has an attribute `missing`, it takes gray levels as they are stored, with that number
        added for missing pixels. A method `with_volume` gives the crystal's volume (n,) too, a
        method `maps` activation maps.
        """


ARCHITECTURES: dict[str, type[Architecture]] = {each.name: each for each in (Topology, Compact)}


def architecture_from(settings: Mapping[str, Any]) -> Architecture:
    """Return the architecture that a file's `settings` describe; `ModelError` if there is none."""
    values = dict(settings)
    name = values.pop("architecture", None)
    if name not in ARCHITECTURES:
        known = " or ".join(map(repr, ARCHITECTURES))
        raise ModelError(
            f"expected a network of the architecture {known}, found {name!r}: use the version of "
            "deepfreak that made it, or train it again"
        )
    try:
        return pydantic.TypeAdapter(ARCHITECTURES[name]).validate_python(values)
    except pydantic.ValidationError as error:
        raise ModelError(
            f"expected settings of the architecture {name!r}: {one_line(error)}"
        ) from error


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What a network costs: number of weights, and multiply-adds an image."""

    parameters: int
    multiply_adds: int


def cost(architecture: Architecture, *, classes: int = 5, size: int = 512) -> Cost:
    """Return the cost of a network on images of `size` x `size`, without making its weights.

    Multiply-adds are those of convolutions and matrix products.
    """
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    with torch.device("meta"):
        network = architecture.build(classes=classes, size=size).eval()
        counter = FlopCounterMode(display=False)
        with counter:
            network(torch.empty(1, 1, size, size))
    parameters = sum(weights.numel() for weights in network.parameters())
    # the counter counts a multiplication and its addition as two operations
    return Cost(parameters=parameters, multiply_adds=counter.get_total_flops() // 2)


def multiply_adds(architecture: Architecture, *, classes: int = 5, size: int = 512) -> int:
    """Return the multiplications with addition that one image of `size` x `size` costs."""
    return cost(architecture, classes=classes, size=size).multiply_adds
