import numpy as np
import pytest
import torch
from torch.nn.functional import pixel_unshuffle

from deepfreak.errors import ModelError, RecipeError
from deepfreak.networks import (
    DEEPFREAK,
    OURS,
    Compact,
    Inputs,
    architecture_from,
    cost,
    multiply_adds,
)
from deepfreak.networks.compact_network import IMAGES_IN_CACHE, MISSING, SpotPlanes
from deepfreak.networks.network import build_network

SIDE = 128
SMALL = Compact(widths=(3, 5), hidden=7)
NOTHING = Inputs(subtract="nothing")


def levels(expected, *, seed=0):
    """Return stored images of `expected` photons: counted, on the pedestal, with read-out noise."""
    rng = np.random.default_rng(seed)
    counts = rng.poisson(expected) + 10 + rng.normal(0, 3, expected.shape)
    return torch.from_numpy(np.sqrt(np.clip(counts, 0, 65025)).astype(np.uint8))


def scene(pulse, *, crystal=1.0, seed=0, spots=60):
    """Return expected photons of a smooth background and of spots, and their ratio per pixel."""
    rng = np.random.default_rng(seed)
    x = np.linspace(-1, 1, SIDE)
    background = pulse * 800 * np.exp(-(x[:, None] ** 2 + x**2) / 4)
    light = np.zeros((SIDE, SIDE))
    at = rng.integers(0, SIDE, (2, spots))
    light[tuple(at)] = crystal * rng.uniform(1, 3, spots)
    return background * (1 + light), light


def network_of(settings=SMALL):
    torch.manual_seed(0)
    return build_network(settings, NOTHING, classes=5, side=SIDE).eval()


@pytest.fixture(scope="module")
def images():
    return torch.stack([levels(scene(pulse, seed=i)[0]) for i, pulse in enumerate((0.3, 1, 2))])


@pytest.fixture(scope="module")
def network():
    return network_of()


def test_it_gives_logits_and_a_map_for_each_class(network, images):
    with torch.inference_mode():
        logits, maps = network.body.maps(images[:, None].float())
        torch.testing.assert_close(logits, network(images))
    assert logits.shape == (3, 5)
    assert maps.shape == (3, 5, SIDE // 4, SIDE // 4)


def test_its_cost_is_as_counted_by_hand():
    cheap = cost(SMALL, size=SIDE)
    # five planes of light, the second convolution's channels, and the level
    means = 5 + 5 + 1
    weights = 9 * 4 * 3 + 3 + 9 * 3 * 5 + 5  # convolutions
    weights += means * 7 + 7 + 7 * 7 + 7 + (means + 1) + (7 + 1) + 8 * 5 + 5
    assert cheap.parameters == weights
    blocks = (SIDE // 4) ** 2
    convolutions = 9 * 4 * 3 * blocks + 9 * 3 * 5 * blocks // 4
    planes = 16 * 16 + 16 * 4 + 16  # convolutions without weights
    averages = (5 + 1) + 5 / 4
    layers = means * 7 + 7 * 7 + means + 7 + 8 * 5
    assert cheap.multiply_adds == convolutions + (planes + averages) * blocks + layers


def test_it_costs_less_than_a_hundredth_of_the_papers_network():
    assert 100 * multiply_adds(Compact()) < multiply_adds(DEEPFREAK)
    # as float32 it is far below the 5 MB that ship
    assert cost(Compact()).parameters < 1_000_000


def test_planes_turn_with_the_image(images):
    spots = SpotPlanes()
    maps = images[:1, None].float()
    maps[:, :, 10:30, 40:47] = MISSING
    for turns in range(4):
        for flip in (False, True):
            changed = maps.rot90(turns, (2, 3))
            changed = changed.flip(3) if flip else changed
            for planes, own in zip(spots(changed), spots(maps), strict=True):
                own = own.rot90(turns, (2, 3))  # noqa: PLW2901 -- the same planes, turned
                own = own.flip(3) if flip else own  # noqa: PLW2901 -- and mirrored
                torch.testing.assert_close(planes, own, rtol=1e-4, atol=1e-4)


def test_missing_pixels_have_no_influence(network, images):
    valid = torch.ones(images.shape, dtype=torch.bool)
    valid[:, :, 50:57] = False
    valid[:, 60:64, 60:64] = False
    valid[0, ::7, ::5] = False
    other = torch.where(valid, images, torch.full_like(images, 255))
    with torch.inference_mode():
        torch.testing.assert_close(network(other, valid), network(images, valid), rtol=0, atol=0)
        assert not torch.equal(network(other), network(images))


def test_an_image_without_a_pixel_has_an_answer(network, images):
    with torch.inference_mode():
        answer = network(images, torch.zeros(images.shape, dtype=torch.bool))
    assert answer.isfinite().all()


def test_blocks_are_what_pixel_unshuffle_makes():
    spots, maps = SpotPlanes(), torch.rand(2, 1, 16, 16)
    blocks = torch.nn.functional.conv2d(maps, spots.to_channels, stride=4)
    torch.testing.assert_close(blocks, pixel_unshuffle(maps, 4), rtol=0, atol=0)
    quarters = torch.nn.functional.conv2d(blocks, spots.to_means)
    expected = pixel_unshuffle(torch.nn.functional.avg_pool2d(maps, 2), 2)
    torch.testing.assert_close(quarters, expected)


def test_images_do_not_depend_on_those_beside_them(images):
    spots = SpotPlanes()
    maps = images[[0, 1, 2, 0, 1]][:, None].float()
    assert len(maps) > 2 * IMAGES_IN_CACHE
    whole = spots(maps)
    for index in range(len(maps)):
        for planes, own in zip(whole, spots(maps[index : index + 1]), strict=True):
            assert torch.equal(planes[index], own[0])


@pytest.mark.parametrize("pulse", [0.05, 0.3, 1, 2])
@pytest.mark.parametrize("spots", [0, 60, 250])
def test_the_background_is_found_under_spots(pulse, spots):
    expected, light = scene(pulse, spots=spots, seed=3)
    planes = SpotPlanes()(levels(expected)[None, None].float())
    background = expected / (1 + light)
    truth = torch.from_numpy(np.sqrt(background + 10)).float()[None, None]
    # a stored pixel is the root without its fraction, 1/2 in the mean
    truth = torch.nn.functional.avg_pool2d(truth, 4) - 0.5
    inner = (..., slice(4, -4), slice(4, -4))
    error = planes.level[inner] * 32 - truth[inner]
    assert error.abs().mean() < 0.02 * truth.mean() + 0.1


@pytest.mark.parametrize("crystal", [0.5, 1, 2])
def test_light_by_background_does_not_depend_on_the_pulse(crystal):
    spots = SpotPlanes()
    found = []
    for pulse in (0.5, 1, 2):
        expected, light = scene(pulse, crystal=crystal, seed=5, spots=200)
        planes = spots(levels(expected)[None, None].float())
        # noise alone has light, too, and equally much whatever the crystal
        dark = spots(levels(expected / (1 + light))[None, None].float())
        by_counts = (planes.light - dark.light)[:, -1]
        found.append(float(by_counts.sum() / light.sum()))
    assert max(found) < 1.12 * min(found)
    # what lies within 2 sigma of the background is lost; two spots of a block count as one
    assert found == pytest.approx([0.9] * 3, abs=0.15)


@pytest.mark.parametrize("pulse", [0.05, 0.3, 1, 2])
def test_what_is_clear_of_noise_is_light_of_spots_alone(pulse):
    expected, light = scene(pulse, seed=5)
    dark = SpotPlanes()(levels(expected / (1 + light))[None, None].float()).light[0, 1:-1]
    assert (dark == 0).all()
    image = levels(expected / (1 + light))
    image[57, 70] = 255
    planes = SpotPlanes()(image[None, None].float())
    background = planes.level[0, 0, 14, 17] * 32
    sigma = (1 / 3 + (0.02 * background) ** 2).sqrt()
    for plane, sigmas in zip(planes.light[0, 1:-1], (4, 8, 16), strict=True):
        torch.testing.assert_close(plane[14, 17], (255 - background - sigmas * sigma) / background)


def test_the_weight_is_the_part_of_a_block_that_is_measured():
    maps = torch.full((1, 1, 8, 8), 255.0)
    maps[0, 0, :4, 4:] = MISSING
    maps[0, 0, 4, :4] = MISSING
    maps[0, 0, 7, 7] = MISSING
    weight = SpotPlanes()(maps).weight
    assert weight[0, 0].tolist() == [[1, 0], [0.75, 0.9375]]


def test_no_light_is_found_in_darkness():
    planes = SpotPlanes()(levels(np.zeros((SIDE, SIDE)))[None, None].float())
    assert planes.level.mean() * 32 == pytest.approx(np.sqrt(10) - 0.5, abs=0.3)
    assert planes.shape[:, 0].exp().mean() - 1 < 0.5  # sigma


def test_bf16_leaves_planes_and_decisions_in_float32(network, images):
    with torch.inference_mode():
        expected = network(images)
        with torch.autocast("cpu", torch.bfloat16):
            found = network(images)
            planes = network.body.spots(images[:, None].float())
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, expected, rtol=0.02, atol=0.05)
    assert torch.equal(planes.light, network.body.spots(images[:, None].float()).light)


def test_maps_are_the_derivative_by_light(network, images):
    body = network.body
    planes = body.spots(images[:, None].float())
    _, means = body._features(planes)
    means = means.detach().requires_grad_()
    *_, logits = body._decide(means)
    _, maps = body.maps(images[:, None].float())
    for place in range(5):
        (slope,) = torch.autograd.grad(logits[:, place].sum(), means, retain_graph=True)
        # the background's level, the last of the means, has no map
        expected = (slope * means)[:, :-1].sum(1)
        torch.testing.assert_close(maps[:, place].sum((1, 2)), expected, rtol=1e-4, atol=1e-5)


def test_maps_light_up_where_the_light_is(network):
    expected, light = scene(1, spots=0)
    at = (slice(24, 28), slice(80, 84))
    light[at] = 3
    image = levels(expected * (1 + light))[None]
    dark = levels(expected)[None]
    with torch.inference_mode():
        maps, without = (network.body.maps(each[:, None].float())[1] for each in (image, dark))
    changed = (maps - without).abs().sum(1)[0]
    place = divmod(int(changed.argmax()), SIDE // 4)
    assert abs(place[0] - 6) <= 1
    assert abs(place[1] - 20) <= 1


def test_missing_blocks_have_no_map(network, images):
    valid = torch.ones(images.shape, dtype=torch.bool)
    valid[:, 32:64, 64:96] = False
    maps = torch.where(valid, images.float(), MISSING)[:, None]
    with torch.inference_mode():
        _, found = network.body.maps(maps)
    assert (found[:, :, 8:16, 16:24] == 0).all()
    assert (found != 0).any()


def test_weights_follow_from_the_seed():
    one, two = network_of().state_dict(), network_of().state_dict()
    assert all(torch.equal(one[name], two[name]) for name in one)


@pytest.mark.parametrize("inputs", [Inputs(), Inputs(subtract="mean"), Inputs(shrink_to=64)])
def test_images_must_come_as_they_were_stored(inputs):
    with pytest.raises(RecipeError, match="as they are stored for the architecture 'compact'"):
        build_network(SMALL, inputs, classes=5, side=SIDE)


def test_a_side_that_cannot_be_halved_so_often_is_refused():
    with pytest.raises(RecipeError, match="multiple of 8 for a compact network of 2") as caught:
        SMALL.build(size=100)
    assert "\n" not in str(caught.value)


def test_it_works_without_a_convolution(images):
    assert network_of(Compact(widths=()))(images).shape == (3, 5)


@pytest.mark.parametrize("settings", [Compact(), SMALL, Compact(widths=())])
def test_json_makes_the_same_network_again(settings):
    assert architecture_from(settings.settings()) == settings


@pytest.mark.parametrize(
    "wrong", [{"widths": [0]}, {"widths": [8] * 7}, {"hidden": 10**9}, {"depth": 3}]
)
def test_json_of_something_else_is_refused(wrong):
    with pytest.raises(ModelError, match=next(iter(wrong))):
        architecture_from(Compact().settings() | wrong)


def test_our_recipe_is_for_our_network():
    assert build_network(Compact(), OURS.inputs, classes=5, side=512) is not None
    assert OURS.volume_weight > 0
