import json
from importlib import metadata

import numpy as np
import pytest

from deepfreak.errors import FrameError, RecipeError
from deepfreak.features.lbp import LBP
from deepfreak.physics.exposure import simulate
from deepfreak.physics.recipe import load_recipe

skimage_feature = pytest.importorskip("skimage.feature")

# Later versions treat a point that is darker than its centre by up to 1e-12 as equal, and so
# differ where rounding decides: in up to one pixel in 140.
ROUNDING_DECIDES = tuple(map(int, metadata.version("scikit-image").split(".")[:2])) <= (0, 26)

RNG = np.random.default_rng(21)
Y, X = np.mgrid[-3:3:160j, -3:3:160j]
IMAGES = {
    "every level": RNG.integers(0, 256, (160, 160), dtype=np.uint8),
    "halo": np.sqrt(RNG.poisson(10 + 400 * np.exp(-(X**2) - Y**2))).astype(np.uint8),
    "few counts": RNG.poisson(2, (300, 290)).astype(np.uint8),
    "gradient": (np.add.outer(np.arange(100), 2 * np.arange(70)) // 3).astype(np.uint8),
    "flat": np.full((40, 300), 200, np.uint8),
    "narrow": RNG.integers(0, 9, (90, 3), dtype=np.uint8),
}
PAPER = [LBP(points=points, radius=radius) for points in (4, 8, 16, 24) for radius in range(4)]
OTHERS = [
    LBP(points=1, radius=1),
    LBP(points=2, radius=1.3),
    LBP(points=13, radius=2.5),
    LBP(points=32, radius=16),
]


def by_definition(image, lbp):
    """Return each pixel's bin: every point between its four pixels, every bit in turn."""
    rows, columns = image.shape
    slow, fast = (axis.astype(float) for axis in np.indices(image.shape))

    def pixel(r, c):
        inside = (r >= 0) & (r < rows) & (c >= 0) & (c < columns)
        clipped = r.clip(0, rows - 1).astype(int), c.clip(0, columns - 1).astype(int)
        return np.where(inside, image[clipped].astype(float), 0.0)

    bits = []
    for down, right in lbp.offsets:
        y, x = slow + down, fast + right
        top, bottom, left, end = np.floor(y), np.ceil(y), np.floor(x), np.ceil(x)
        dy, dx = y - top, x - left
        above = (1 - dx) * pixel(top, left) + dx * pixel(top, end)
        below = (1 - dx) * pixel(bottom, left) + dx * pixel(bottom, end)
        bits.append((1 - dy) * above + dy * below >= image)
    bits = np.array(bits)
    changes = (bits != np.roll(bits, 1, axis=0)).sum(axis=0)
    return np.where(changes <= 2, bits.sum(axis=0), lbp.points + 1)


@pytest.fixture(scope="module")
def simulated() -> list[np.ndarray]:
    """Return an image of each class of the paper's recipe."""
    experiment = load_recipe("diffranet")
    images = {}
    for index in range(60):
        shot = experiment.draw(seed=5, index=index)
        if shot.class_name not in images:
            images[shot.class_name] = simulate(shot)[0]
        if len(images) == len(experiment.classes.names):
            break
    return list(images.values())


@pytest.mark.parametrize("lbp", [*PAPER, *OTHERS], ids=str)
@pytest.mark.parametrize("name", IMAGES)
def test_patterns_are_those_of_the_definition(lbp, name):
    np.testing.assert_array_equal(lbp.patterns(IMAGES[name]), by_definition(IMAGES[name], lbp))


@pytest.mark.skipif(not ROUNDING_DECIDES, reason="needs a scikit-image without tolerance")
@pytest.mark.parametrize("lbp", [*PAPER, *OTHERS], ids=str)
@pytest.mark.parametrize("name", IMAGES)
def test_patterns_are_exactly_those_of_scikit_image(lbp, name):
    expected = skimage_feature.local_binary_pattern(
        IMAGES[name], lbp.points, lbp.radius, method="uniform"
    )
    np.testing.assert_array_equal(lbp.patterns(IMAGES[name]), expected)


@pytest.mark.parametrize("lbp", [LBP(), LBP(points=8, radius=3), LBP(points=16, radius=2)], ids=str)
def test_histograms_of_simulated_images_are_those_of_scikit_image(lbp, simulated):
    for image in simulated:
        patterns = skimage_feature.local_binary_pattern(image, lbp.points, lbp.radius, "uniform")
        bins = np.arange(lbp.points + 3)
        expected = np.histogram(patterns, bins=bins)[0] / image.size
        atol = 0 if ROUNDING_DECIDES else 5e-3
        np.testing.assert_allclose(lbp(image), expected, rtol=0, atol=atol)


@pytest.mark.parametrize("name", IMAGES)
def test_without_a_radius_every_pattern_has_all_bits(name):
    lbp = LBP(points=8, radius=0)
    expected = np.zeros(10)
    expected[8] = 1
    np.testing.assert_array_equal(lbp(IMAGES[name]), expected)
    assert lbp.names[8] == "lbp_p8_r0_ones_8"


def test_a_bright_pixel_on_a_flat_image_has_no_bit_and_a_dark_one_all():
    image = np.full((21, 21), 7, np.uint8)
    image[10, 5], image[10, 15] = 90, 1
    patterns = LBP().patterns(image)
    assert patterns[10, 5] == 0
    assert patterns[10, 15] == patterns[10, 10] == 24


def test_the_histogram_is_of_all_pixels_and_sums_to_one():
    for name, image in IMAGES.items():
        vector = LBP()(image)
        assert vector.shape == (26,), name
        assert vector.sum() == pytest.approx(1, abs=1e-12), name
    assert LBP()(IMAGES["every level"])[-1] > 0.5


def surroundings_by_definition(lbp, valid):
    """Return where the centre and each pixel with a weight in one of the points are valid."""
    usable = valid.copy()
    rows, columns = valid.shape
    for r, c in np.ndindex(rows, columns):
        for down, right in lbp.offsets:
            for y in {np.floor(r + down), np.ceil(r + down)}:
                for x in {np.floor(c + right), np.ceil(c + right)}:
                    if 0 <= y < rows and 0 <= x < columns:
                        usable[r, c] &= valid[int(y), int(x)]
    return usable


@pytest.mark.parametrize(
    "lbp", [LBP(), LBP(points=4, radius=2), LBP(points=8, radius=1.5)], ids=str
)
def test_patterns_made_of_a_masked_pixel_do_not_count(lbp):
    image = RNG.poisson(5, (30, 26)).astype(np.uint8)
    valid = RNG.random(image.shape) > 0.02
    usable = surroundings_by_definition(lbp, valid)
    assert 0 < usable.sum() < valid.sum()
    np.testing.assert_array_equal(lbp.usable(image, valid), usable)
    counts = np.bincount(lbp.patterns(image)[usable], minlength=lbp.points + 2)
    np.testing.assert_array_equal(lbp(image, valid), counts / usable.sum())


def test_the_value_of_a_masked_pixel_does_not_matter():
    image = IMAGES["halo"]
    valid = np.ones(image.shape, np.bool_)
    valid[50:60] = valid[:, 30:33] = False
    vectors = [LBP()(np.where(valid, image, fill).astype(np.uint8), valid) for fill in (0, 4, 255)]
    np.testing.assert_array_equal(vectors[0], vectors[1])
    np.testing.assert_array_equal(vectors[0], vectors[2])
    assert not np.array_equal(vectors[0], LBP()(np.where(valid, image, 0).astype(np.uint8)))


def test_a_mask_that_masks_nothing_changes_nothing():
    image = IMAGES["every level"]
    np.testing.assert_array_equal(LBP()(image, np.ones(image.shape, np.bool_)), LBP()(image))


def test_features_do_not_depend_on_the_memory_layout():
    image = IMAGES["halo"]
    np.testing.assert_array_equal(LBP()(np.asfortranarray(image)), LBP()(image))
    np.testing.assert_array_equal(LBP()(image[::2, ::2]), LBP()(image[::2, ::2].copy()))


@pytest.mark.parametrize(
    ("image", "valid"),
    [
        (np.zeros((0, 0), np.uint8), None),
        (np.zeros((0, 5), np.uint8), None),
        (np.zeros((64, 64), np.uint8), np.zeros((64, 64), np.bool_)),
        (np.zeros((64, 64), np.uint8), np.arange(64 * 64).reshape(64, 64) % 3 == 0),
    ],
)
def test_an_image_without_a_pattern_that_counts_is_refused(image, valid):
    with pytest.raises(FrameError, match="whose surroundings"):
        LBP()(image, valid)


@pytest.mark.parametrize(
    ("image", "valid"),
    [
        (np.zeros((64, 64), np.uint16), None),
        (np.zeros((64, 64, 3), np.uint8), None),
        (np.zeros((64, 64), np.uint8), np.ones((64, 63), np.bool_)),
        (np.zeros((64, 64), np.uint8), np.ones((64, 64), np.uint8)),
    ],
)
def test_arrays_of_another_kind_are_refused(image, valid):
    with pytest.raises(FrameError, match="expected"):
        LBP()(image, valid)


@pytest.mark.parametrize("lbp", [*PAPER, *OTHERS], ids=str)
def test_every_number_has_a_name_of_its_own(lbp):
    assert len(set(lbp.names)) == len(lbp.names) == lbp.points + 2


def test_names_tell_the_settings():
    assert LBP().names[0] == "lbp_p24_r3_ones_0"
    assert LBP(radius=2.5).names[-1] == "lbp_p24_r2.5_not_uniform"


@pytest.mark.parametrize(
    "settings",
    [
        {"points": 0},
        {"points": 33},
        {"points": 8.0},
        {"points": "8"},
        {"radius": -1},
        {"radius": 17},
        {"radius": float("nan")},
        {"radius": "3"},
    ],
)
def test_impossible_settings_are_refused(settings):
    with pytest.raises(RecipeError, match="expected"):
        LBP(**settings)


def test_settings_make_the_same_extractor_again():
    lbp = LBP(points=8, radius=2.5)
    settings = json.loads(json.dumps(lbp.settings()))
    assert settings["extractor"] == "lbp"
    assert LBP.from_settings(settings, lbp.arrays()) == lbp


def test_unknown_settings_and_arrays_are_refused():
    with pytest.raises(TypeError, match="colour"):
        LBP.from_settings({"colour": "red"}, {})
    with pytest.raises(RecipeError, match="codebook"):
        LBP.from_settings({}, {"codebook": np.zeros(3)})
