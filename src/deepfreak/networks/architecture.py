"""Architectures: settings from which a network is built, and what it will cost."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import pydantic

from deepfreak.errors import ModelError
from deepfreak.networks.compact import Compact
from deepfreak.networks.topology import Topology
from deepfreak.settings import one_line

if TYPE_CHECKING:
    from torch import nn


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
    """Return the architecture that `settings`, read from a file of weights, describe.

    Raises
    ------
    ModelError
        It is not one of this version, or its settings are wrong.
    """
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
