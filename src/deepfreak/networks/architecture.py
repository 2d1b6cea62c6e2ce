"""What a network is before it has weights: settings that build it, and what it will cost."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from deepfreak.errors import ModelError
from deepfreak.networks.compact import Compact
from deepfreak.networks.topology import Topology

if TYPE_CHECKING:
    from torch import nn


class Architecture(Protocol):
    """Settings from which a network is built, and which a file of weights names as JSON."""

    name: ClassVar[str]

    def settings(self) -> dict[str, Any]:
        """Return what `architecture_from` needs, as JSON values, `name` under "architecture"."""

    def build(self, *, classes: int, size: int) -> "nn.Module":
        """Return a module that takes float images (n, 1, size, size) to logits (n, classes).

        If it has `missing`, it takes gray levels as they are stored, and that number more for a
        pixel that measured nothing. It may have a method `with_volume`, which gives the crystal's
        volume (n,) too, and one named `maps`, which gives activation maps.
        """


def architecture_from(settings: Mapping[str, Any]) -> Architecture:
    """Return the architecture that `settings`, read from a file of weights, describe.

    Raises
    ------
    ModelError
        It is not one of this version, or its settings are wrong.
    """
    name = settings.get("architecture")
    if name == Topology.name:
        return Topology.from_settings(settings)
    if name == Compact.name:
        return Compact.from_settings(settings)
    raise ModelError(
        f"expected a network of the architecture {Topology.name!r} or {Compact.name!r}, found "
        f"{name!r}: use the version of deepfreak that made it, or train it again"
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What a network costs: its learnt numbers, and multiplications with addition an image."""

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
    # the counter takes a multiplication and its addition for two operations
    return Cost(parameters=parameters, multiply_adds=counter.get_total_flops() // 2)


def multiply_adds(architecture: Architecture, *, classes: int = 5, size: int = 512) -> int:
    """Return the multiplications with addition that one image of `size` x `size` costs."""
    return cost(architecture, classes=classes, size=size).multiply_adds
