import json

import numpy as np
import pytest

from deepfreak.errors import FrameError, ModelError, RecipeError
from deepfreak.features import GLCM, extract, extractor_from
from deepfreak.features.glcm import PROPERTIES

skimage_feature = pytest.importorskip("skimage.feature")

RNG = np.random.default_rng(20)
Y, X = np.mgrid[-3:3:160j, -3:3:160j]
IMAGES = {
    "every level": RNG.integers(0, 256, (160, 160), dtype=np.uint8),
    "halo": np.sqrt(RNG.poisson(10 + 400 * np.exp(-(X**2) - Y**2))).astype(np.uint8),
    "two levels": RNG.integers(3, 5, (50, 70), dtype=np.uint8),
    "one bright pixel": np.where(np.arange(64 * 65).reshape(64, 65) == 900, 255, 2).astype(
        np.uint8
    ),
    "one level": np.full((40, 40), 200, np.uint8),
    "narrow": RNG.integers(0, 9, (90, 9), dtype=np.uint8),
}
SETTINGS = (
    GLCM(),
    GLCM(distances=(1, 4), angles_deg=(0, 30, 60, 90, 120, 180)),
    GLCM(distances=(3,), angles_deg=(-45, 200.5)),
)


def reference(glcm, image):
    """Return scikit-image's counts, and its features in our order."""
    angles = np.deg2rad(glcm.angles_deg)
    counts = skimage_feature.graycomatrix(image, glcm.distances, angles, levels=256, symmetric=True)
    features = [skimage_feature.graycoprops(counts, name) for name in PROPERTIES]
    return counts, np.stack(features, axis=-1).ravel()


@pytest.mark.parametrize("glcm", SETTINGS)
@pytest.mark.parametrize("name", IMAGES)
def test_counts_are_exactly_those_of_scikit_image(glcm, name):
    expected, _ = reference(glcm, IMAGES[name])
    np.testing.assert_array_equal(glcm.counts(IMAGES[name]), expected)


@pytest.mark.parametrize("glcm", SETTINGS)
@pytest.mark.parametrize("name", IMAGES)
def test_features_are_those_of_scikit_image(glcm, name):
    _, expected = reference(glcm, IMAGES[name])
    np.testing.assert_allclose(glcm(IMAGES[name]), expected, rtol=1e-9, atol=1e-9)


def counts_by_definition(image, valid, slow, fast):
    """Count pairs of valid pixels in both orders, one pixel at a time."""
    counts = np.zeros((256, 256), np.uint32)
    rows, columns = image.shape
    for s in range(rows):
        for f in range(columns):
            other = s + slow, f + fast
            inside = 0 <= other[0] < rows and 0 <= other[1] < columns
            if inside and valid[s, f] and valid[other]:
                counts[image[s, f], image[other]] += 1
                counts[image[other], image[s, f]] += 1
    return counts


def test_pairs_with_a_masked_pixel_do_not_count():
    image = RNG.integers(0, 256, (23, 31), dtype=np.uint8)
    valid = RNG.random(image.shape) > 0.3
    glcm = GLCM()
    counts = glcm.counts(image, valid).reshape(256, 256, -1)
    for index, (slow, fast) in enumerate(glcm.offsets):
        expected = counts_by_definition(image, valid, slow, fast)
        np.testing.assert_array_equal(counts[..., index], expected)


def test_the_value_of_a_masked_pixel_does_not_matter():
    image = IMAGES["halo"]
    valid = np.ones(image.shape, np.bool_)
    valid[50:60] = valid[:, 30:33] = False
    glcm = GLCM()
    vectors = [glcm(np.where(valid, image, fill).astype(np.uint8), valid) for fill in (0, 4, 255)]
    np.testing.assert_array_equal(vectors[0], vectors[1])
    np.testing.assert_array_equal(vectors[0], vectors[2])
    assert not np.array_equal(vectors[0], glcm(np.where(valid, image, 0).astype(np.uint8)))


def test_a_mask_that_masks_nothing_changes_nothing():
    image = IMAGES["every level"]
    np.testing.assert_array_equal(GLCM()(image, np.ones(image.shape, np.bool_)), GLCM()(image))


def test_features_do_not_depend_on_the_memory_layout():
    image = IMAGES["halo"]
    np.testing.assert_array_equal(GLCM()(np.asfortranarray(image)), GLCM()(image))
    np.testing.assert_array_equal(GLCM()(image[::2, ::2]), GLCM()(image[::2, ::2].copy()))


@pytest.mark.parametrize(
    ("image", "valid"),
    [
        (np.zeros((4, 4), np.uint8), None),
        (np.zeros((1, 1), np.uint8), None),
        (np.zeros((0, 0), np.uint8), None),
        (np.zeros((64, 64), np.uint8), np.zeros((64, 64), np.bool_)),
    ],
)
def test_an_image_without_pairs_is_refused(image, valid):
    with pytest.raises(FrameError, match="pair of valid pixels"):
        GLCM()(image, valid)


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
        GLCM()(image, valid)


def test_every_number_has_a_name_of_its_own():
    glcm = GLCM()
    assert len(set(glcm.names)) == len(glcm.names) == len(glcm(IMAGES["halo"])) == 48
    assert glcm.names[0] == "glcm_contrast_d1_a45"
    assert glcm.names[-1] == "glcm_correlation_d8_a135"
    constant = dict(zip(glcm.names, glcm(IMAGES["one level"]), strict=True))
    assert constant["glcm_contrast_d5_a135"] == 0
    assert constant["glcm_energy_d5_a135"] == 1


@pytest.mark.parametrize(
    "settings",
    [
        {"distances": ()},
        {"angles_deg": ()},
        {"distances": (0,)},
        {"distances": (1.5,)},
        {"distances": (5000,)},
        {"angles_deg": (float("nan"),)},
        {"angles_deg": ("45",)},
        {"distances": tuple(range(1, 200))},
    ],
)
def test_impossible_settings_are_refused(settings):
    with pytest.raises(RecipeError, match="expected"):
        GLCM(**settings)


def test_settings_make_the_same_extractor_again():
    glcm = GLCM(distances=(2, 3), angles_deg=(0, 22.5))
    settings = json.loads(json.dumps(glcm.settings()))
    assert extractor_from(settings) == glcm
    assert GLCM.from_settings(settings, glcm.arrays()) == glcm


def test_arrays_are_no_part_of_a_glcm():
    with pytest.raises(RecipeError, match="codebook"):
        GLCM.from_settings({}, {"codebook": np.zeros(3)})


def test_offsets_that_coincide_have_the_same_features():
    glcm = GLCM(distances=(1, 2), angles_deg=(45, 45.5))
    assert len(set(glcm.offsets)) == 1
    features = glcm(IMAGES["halo"]).reshape(4, len(PROPERTIES))
    np.testing.assert_array_equal(features, np.broadcast_to(features[0], features.shape))
    np.testing.assert_array_equal(
        features[0], GLCM(distances=(1,), angles_deg=(45,))(IMAGES["halo"])
    )


@pytest.mark.parametrize(
    "settings",
    [
        {"extractor": "lbp", "radius": [3]},
        {},
        {"extractor": "glcm", "distances": [0]},
        {"extractor": "glcm", "colour": ["red"]},
        {"extractor": "glcm", "distances": 5},
    ],
)
def test_unknown_extractors_are_refused(settings):
    with pytest.raises(ModelError, match=r"feature extractors|settings in the model"):
        extractor_from(settings)


def test_threads_keep_the_order_and_report_every_image():
    images = RNG.integers(0, 200, (12, 40, 40), dtype=np.uint8)
    valid = RNG.random(images.shape) > 0.1
    done = []
    vectors = extract(GLCM(), images, valid, workers=3, advance=done.append)
    assert sum(done) == 12
    expected = [GLCM()(image, mask) for image, mask in zip(images, valid, strict=True)]
    np.testing.assert_array_equal(vectors, expected)
    np.testing.assert_array_equal(extract(GLCM(), images, valid), expected)


@pytest.mark.parametrize("workers", [1, 2])
def test_an_image_that_cannot_be_used_stops_the_rest(workers):
    images = np.zeros((50, 20, 20), np.uint8)
    valid = np.ones(images.shape, np.bool_)
    valid[3] = False
    done = []
    with pytest.raises(FrameError):
        extract(GLCM(), images, valid, workers=workers, advance=done.append)
    assert sum(done) == 3


@pytest.mark.parametrize("angle", [0, 45, 90, 135])
def test_an_offset_wider_than_the_image_counts_nothing(angle):
    extractor = GLCM(distances=(8,), angles_deg=(angle,))
    for shape in ((6, 6), (40, 6), (6, 40)):
        image = np.full(shape, 7, np.uint8)
        slow, fast = extractor.offsets[0]
        counts = extractor.counts(image)
        assert counts.sum() == 2 * max(0, shape[0] - abs(slow)) * max(0, shape[1] - abs(fast))
