import pydantic
import pytest
import torch

from deepfreak.errors import ModelError, RecipeError
from deepfreak.networks import (
    DEEPFREAK,
    TOPOLOGIES,
    Topology,
    architecture_from,
    cost,
    multiply_adds,
)

# At 512 x 512 with five classes, by the number of the variant in Table 9.
PARAMETERS = (
    24_525_765, 23_665_605, 23_542_725, 23_542_725, 23_542_725, 23_512_005, 23_512_005,
    23_512_005, 23_542_725, 501_373, 405_373, 23_542_725, 1_520_373, 1_543_413,
)  # fmt: skip


def count(network):
    return sum(weights.numel() for weights in network.parameters())


@pytest.mark.parametrize(("variant", "parameters"), list(enumerate(PARAMETERS)))
def test_each_variant_has_its_number_of_parameters(variant, parameters):
    with torch.device("meta"):
        assert count(TOPOLOGIES[variant].build(classes=5, size=512)) == parameters


def test_there_are_a_default_and_thirteen_variants():
    assert len(TOPOLOGIES) == len(PARAMETERS)
    assert len(set(TOPOLOGIES)) == len(TOPOLOGIES)
    assert TOPOLOGIES[0] == Topology()


def test_deepfreak_is_table_1():
    table_1 = Topology(
        filters=64,
        first_conv_size=7,
        first_conv_stride=2,
        first_pool_size=3,
        first_pool_stride=2,
        second_pool_size=7,
        second_pool_stride=1,
        blocks=(3, 4, 6, 3),
        block_strides=(1, 2, 3, 3),
    )
    assert table_1 == DEEPFREAK
    assert DEEPFREAK.map_sizes(512) == (256, 128, 128, 64, 22, 8, 2)


def test_at_224_with_1000_classes_the_default_is_resnet_50_but_for_its_one_channel():
    # torchvision's has 25,557,032 parameters, of which two further channels make up 2 x 7 x 7 x 64.
    with torch.device("meta"):
        network = TOPOLOGIES[0].build(classes=1000, size=224)
    assert count(network) == 25_557_032 - 2 * 7 * 7 * 64


def test_the_stride_is_that_of_the_3_x_3_convolution():
    with torch.device("meta"):
        network = DEEPFREAK.build()
    strides = {}
    for layer in network.modules():
        if isinstance(layer, torch.nn.Conv2d):
            strides.setdefault(layer.kernel_size[0], set()).add(layer.stride[0])
    assert strides == {7: {2}, 3: {1, 2, 3}, 1: {1, 2, 3}}
    # A 1 x 1 with a stride is a shortcut; none is within a residual.
    for name, layer in network.named_modules():
        if isinstance(layer, torch.nn.Conv2d) and layer.kernel_size == (1, 1):
            assert layer.stride == (1, 1) or "shortcut" in name


def test_sizes_are_those_of_the_maps():
    topology = Topology(
        filters=1, first_conv_size=5, block_strides=(1, 3, 2, 1), second_pool_size=2
    )
    network = topology.build(classes=3, size=77)
    sides = [
        layer.register_forward_hook(lambda _layer, _maps, out: seen.append(out.shape[-1]))
        for layer in network
    ]
    seen = []
    assert network(torch.zeros(2, 1, 77, 77)).shape == (2, 3)
    assert len(sides) == len(seen)
    expected = topology.map_sizes(77)
    after = [0, 2, *(2 + sum(topology.blocks[: stage + 1]) for stage in range(4)), -3]
    assert tuple(seen[index] for index in after) == expected


def test_deepfreak_multiplies_14_billion_times():
    assert multiply_adds(DEEPFREAK) == pytest.approx(14.1e9, rel=0.005)


def test_multiply_adds_of_a_small_network_are_those_counted_by_hand():
    topology = Topology(filters=1, blocks=(1, 1, 1, 1), second_pool_size=1)
    by_hand = 7 * 7 * 16 * 16  # 32 pixels, stride 2
    channels, side = 1, 8
    for stage, stride in enumerate(topology.block_strides):
        inner, smaller = 2**stage, (side - 1) // stride + 1
        by_hand += channels * inner * side**2 + 9 * inner**2 * smaller**2
        by_hand += 4 * inner**2 * smaller**2 + 4 * channels * inner * smaller**2
        channels, side = 4 * inner, smaller
    by_hand += channels * 5
    assert cost(topology, size=32).multiply_adds == by_hand


def test_a_pool_larger_than_the_map_is_refused_in_one_line():
    with pytest.raises(RecipeError, match="at most 8 x 8, the last map") as caught:
        Topology(second_pool_size=9, block_strides=(2, 2, 2, 2)).build(size=512)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "wrong", [{"filters": 0}, {"blocks": (3, 4, 6)}, {"first_conv_stride": 0}, {"pool": 3}]
)
def test_impossible_settings_are_refused(wrong):
    with pytest.raises(pydantic.ValidationError):
        Topology(**wrong)


@pytest.mark.parametrize("topology", TOPOLOGIES)
def test_json_makes_the_same_topology_again(topology):
    assert architecture_from(topology.settings()) == topology


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"architecture": "vgg"}, "'bottlenecks' or 'compact', found 'vgg'"),
        ({"filters": 10**9}, "filters"),
        ({"depth": 3}, "depth"),
    ],
)
def test_json_of_something_else_is_refused(change, match):
    with pytest.raises(ModelError, match=match):
        architecture_from(DEEPFREAK.settings() | change)
