"""The networks of `Topology` in torch (He et al. 2016, strides placed as in torchvision)."""

from typing import TYPE_CHECKING

from torch import Tensor, nn
from torch.nn.functional import relu

if TYPE_CHECKING:
    from deepfreak.networks.architecture import Topology

# A bottleneck block gives four times the channels that its 3 x 3 convolution works on.
EXPANSION = 4


def bottleneck_network(topology: "Topology", *, classes: int, size: int) -> nn.Module:
    """Return the network, float (n, 1, size, size) to logits (n, classes).

    Convolutions are initialised as in He et al. (2015), by fan-out, the linear layer by torch's
    default; both draw from torch's global generator. Raises `RecipeError` if the second pool is
    larger than its map.
    """
    *_, last = topology.map_sizes(size)
    filters = topology.filters
    layers = [
        _convolution(1, filters, topology.first_conv_size, topology.first_conv_stride),
        nn.ReLU(inplace=True),
        nn.MaxPool2d(
            topology.first_pool_size, topology.first_pool_stride, topology.first_pool_size // 2
        ),
    ]
    channels = filters
    stages = zip(topology.blocks, topology.block_strides, strict=True)
    for stage, (blocks, stride) in enumerate(stages):
        inner = filters * 2**stage
        for block in range(blocks):
            layers.append(Bottleneck(channels, inner, stride if block == 0 else 1))
            channels = inner * EXPANSION
    head = [
        nn.AvgPool2d(topology.second_pool_size, topology.second_pool_stride),
        nn.Flatten(),
        nn.Linear(channels * last**2, classes),
    ]
    network = nn.Sequential(*layers, *head)
    if topology.normalise == "image":
        normalise_by_image(network)
    return network


def normalise_by_image(network: nn.Module) -> None:
    """Replace every batch normalisation of `network` by one of each image; weights stay."""
    for parent in list(network.modules()):
        for name, layer in parent.named_children():
            if isinstance(layer, nn.BatchNorm2d):
                own = nn.InstanceNorm2d(layer.num_features, eps=layer.eps, affine=True)
                own.weight, own.bias = layer.weight, layer.bias
                setattr(parent, name, own)


class Bottleneck(nn.Module):
    """1 x 1 down to `inner` channels, 3 x 3 with the stride, 1 x 1 up to four times `inner`."""

    def __init__(self, channels: int, inner: int, stride: int) -> None:
        super().__init__()
        self.residual = nn.Sequential(
            _convolution(channels, inner, 1, 1),
            nn.ReLU(inplace=True),
            _convolution(inner, inner, 3, stride),
            nn.ReLU(inplace=True),
            _convolution(inner, inner * EXPANSION, 1, 1),
        )
        same = stride == 1 and channels == inner * EXPANSION
        self.shortcut = (
            nn.Identity() if same else _convolution(channels, inner * EXPANSION, 1, stride)
        )

    def forward(self, maps: Tensor) -> Tensor:
        """Return float (n, 4 inner, slow / stride, fast / stride)."""
        return relu(self.residual(maps) + self.shortcut(maps))


def _convolution(channels: int, filters: int, size: int, stride: int) -> nn.Module:
    """Return a convolution without bias and its batch normalisation."""
    convolution = nn.Conv2d(channels, filters, size, stride, size // 2, bias=False)
    nn.init.kaiming_normal_(convolution.weight, mode="fan_out", nonlinearity="relu")
    return nn.Sequential(convolution, nn.BatchNorm2d(filters))
