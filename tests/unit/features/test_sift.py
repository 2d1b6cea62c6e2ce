import numpy as np
import pytest
from pydantic import ValidationError

from deepfreak.errors import DatasetError, FrameError, ModelError
from deepfreak.features import SIFT, VisualWords, extract, extractor_from
from deepfreak.features.sift import LENGTH, STEP, _sample, nearest

cv2 = pytest.importorskip("cv2")


def spots(seed, *, size=(160, 192), count=40):
    """Return an image of blobs on a noisy background."""
    rng = np.random.default_rng(seed)
    image = 30 + rng.normal(0, 1, size)
    slow, fast = np.mgrid[: size[0], : size[1]]
    for _ in range(count):
        s, f = rng.uniform(0, size[0]), rng.uniform(0, size[1])
        width, height = rng.uniform(1.5, 6), rng.uniform(40, 180)
        image += height * np.exp(-((slow - s) ** 2 + (fast - f) ** 2) / (2 * width**2))
    return np.clip(image, 0, 255).astype(np.uint8)


IMAGES = [spots(seed) for seed in range(6)]
BLANK = np.full((64, 64), 3, np.uint8)


@pytest.fixture(scope="module")
def described():
    return [SIFT().describe(image) for image in IMAGES]


@pytest.fixture(scope="module")
def words(described):
    return SIFT(clusters=20).fit(described, seed=1)


def test_descriptors_are_those_of_opencv_with_its_defaults(described):
    for image, found in zip(IMAGES, described, strict=True):
        _, expected = cv2.SIFT_create().detectAndCompute(image, None)
        assert found.dtype == np.uint8
        np.testing.assert_array_equal(found, expected)  # whole numbers, so nothing is lost


def test_descriptors_do_not_depend_on_opencvs_threads(described):
    before = cv2.getNumThreads()
    try:
        for threads in (1, 2, 4):
            cv2.setNumThreads(threads)
            _, found = cv2.SIFT_create().detectAndCompute(IMAGES[0], None)
            np.testing.assert_array_equal(found, described[0])
    finally:
        cv2.setNumThreads(before)


def test_a_lower_threshold_finds_more_keypoints():
    faint = (20 + (IMAGES[0].astype(float) - 20) / 10).astype(np.uint8)
    assert len(SIFT(contrast_threshold=0.005).describe(faint)) > len(SIFT().describe(faint))


def test_what_missing_pixels_hold_does_not_matter():
    valid = np.ones(IMAGES[0].shape, bool)
    valid[60:80] = False
    valid[:, 100:109] = False
    found = SIFT().describe(IMAGES[0], valid)
    assert len(found) > 0
    for content in (0, 255):
        np.testing.assert_array_equal(
            SIFT().describe(np.where(valid, IMAGES[0], np.uint8(content)), valid), found
        )


def test_a_gap_makes_no_keypoints():
    flat = np.full((160, 160), 120, np.uint8)
    valid = np.ones(flat.shape, bool)
    valid[70:75, 40:120] = False
    valid[20:50, 90:100] = False
    dark = np.where(valid, flat, np.uint8(0))
    assert len(SIFT(contrast_threshold=0.005).describe(dark)) > 0  # a mask is needed
    assert len(SIFT(contrast_threshold=0.005).describe(dark, valid)) == 0


def test_a_mask_of_true_is_none():
    np.testing.assert_array_equal(
        SIFT().describe(IMAGES[0], np.ones(IMAGES[0].shape, bool)), SIFT().describe(IMAGES[0])
    )


@pytest.mark.parametrize("shape", [(1, 1), (1, 40), (3, 2), (9, 200)])
def test_small_images_are_no_error(shape):
    image = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    assert SIFT().describe(image).shape[1] == LENGTH


@pytest.mark.parametrize(
    ("image", "valid"),
    [
        (np.zeros((8, 8), np.float32), None),
        (np.zeros((8, 8, 3), np.uint8), None),
        (np.zeros((0, 8), np.uint8), None),
        (BLANK, np.ones((3, 3), bool)),
        (BLANK, np.ones(BLANK.shape, np.uint8)),
        (BLANK, np.zeros(BLANK.shape, bool)),
    ],
)
def test_images_of_another_kind_are_refused_in_one_line(image, valid):
    with pytest.raises(FrameError, match="expected") as caught:
        SIFT().describe(image, valid)
    assert "\n" not in str(caught.value)


def test_nearest_is_the_nearest_word(described, words):
    found = nearest(described[0], words.codebook)
    offsets = described[0][:, None].astype(float) - words.codebook[None].astype(float)
    distances = (offsets**2).sum(axis=2)
    chosen = distances[np.arange(len(found)), found]
    # the rounding of half squared lengths, which makes sums exact
    assert (chosen <= distances.min(axis=1) + 2 * STEP).all()


def test_nearest_words_do_not_depend_on_what_else_is_asked(described, words):
    together = np.concatenate(described * 3)
    assert len(together) > 600  # more than one block of rows
    alone = [nearest(row[None], words.codebook)[0] for row in together]
    np.testing.assert_array_equal(nearest(together, words.codebook), alone)


def test_sums_of_the_search_are_exact_in_single_precision(described, words):
    rows = np.concatenate(described)
    single = rows.astype(np.float32) @ words.codebook.T
    np.testing.assert_array_equal(single, rows.astype(float) @ words.codebook.T.astype(float))
    assert (rows.astype(float) ** 2).sum(axis=1).max() < 520**2


def test_vectors_are_fractions_of_keypoints(described, words):
    vector = words(IMAGES[0])
    assert vector.shape == (20,) == (len(words.names),)
    counts = vector * len(described[0])
    np.testing.assert_allclose(counts, np.rint(counts), atol=1e-9)
    assert vector.sum() == pytest.approx(1)


def test_an_image_without_keypoints_is_the_zero_vector(words):
    np.testing.assert_array_equal(words(BLANK), np.zeros(20))


def test_words_depend_on_the_seed_only(described):
    first, again, other = (SIFT(clusters=12).fit(described, seed=seed) for seed in (3, 3, 4))
    np.testing.assert_array_equal(first.codebook, again.codebook)
    assert not np.array_equal(first.codebook, other.codebook)


def test_words_are_the_centres_of_well_separated_heaps():
    rng = np.random.default_rng(0)
    centres = rng.integers(0, 120, (5, LENGTH))
    heaps = [
        (centres[i % 5] + rng.integers(0, 3, (60, LENGTH))).astype(np.uint8) for i in range(20)
    ]
    words = SIFT(clusters=5).fit(heaps, seed=0)
    apart = np.abs(words.codebook[:, None] - (centres[None] + 1)).max(axis=2)
    assert sorted(apart.argmin(axis=1)) == [0, 1, 2, 3, 4]
    assert apart.min(axis=1).max() < 0.5


def test_threads_do_not_change_vectors(words):
    images = np.stack([*IMAGES, np.zeros_like(IMAGES[0])])
    np.testing.assert_array_equal(
        extract(words, images, workers=3), [words(image) for image in images]
    )


def test_fewer_descriptors_than_words_are_refused_in_one_line(described):
    few = [described[0][:9], np.empty((0, LENGTH), np.uint8)]
    with pytest.raises(DatasetError, match="at least 10 different .* found 9") as caught:
        SIFT(clusters=10).fit(few, seed=0)
    assert "\n" not in str(caught.value)


def test_no_descriptors_at_all_are_refused():
    with pytest.raises(DatasetError, match="found 0"):
        SIFT(clusters=10).fit([], seed=0)


def test_equal_descriptors_count_once(described):
    with pytest.raises(DatasetError, match="found 4"):
        SIFT(clusters=10).fit([described[0][:4]] * 30, seed=0)


def test_as_many_descriptors_as_words_are_enough(described):
    few = np.unique(described[0], axis=0)[:10]
    words = SIFT(clusters=10).fit([few], seed=0)
    # not one word each: mini-batch k-means restarts rare centres
    assert words.codebook.shape == (10, LENGTH)


def test_the_sample_is_drawn_evenly_from_all_images():
    # each descriptor encodes its image and its place
    rows = np.zeros((200, 50, LENGTH), np.uint8)
    rows[..., 0] = np.arange(200)[:, None]
    rows[..., 1] = np.arange(50)
    sample = _sample(iter(rows), most=1000, seed=0)
    assert len(np.unique(sample, axis=0)) == 1000
    by_image = np.bincount(sample[:, 0], minlength=200)
    by_place = np.bincount(sample[:, 1], minlength=50)
    # hypergeometric: 5 +- 2.1 of each image, 20 +- 4.2 of each place
    assert by_image.max() < 16
    assert 3 <= by_place.min() <= by_place.max() < 42
    assert abs(by_image[:100].sum() - 500) < 80


def test_the_sample_keeps_all_of_a_few():
    rows = np.random.default_rng(0).integers(0, 256, (3, 7, LENGTH), dtype=np.uint8)
    np.testing.assert_array_equal(_sample(rows, most=21, seed=5), rows.reshape(21, LENGTH))


def test_settings_and_arrays_make_the_extractor_again(words):
    again = extractor_from(words.settings(), words.arrays())
    assert isinstance(again, VisualWords)
    np.testing.assert_array_equal(again(IMAGES[1]), words(IMAGES[1]))
    assert words.settings() == {"extractor": "sift", "clusters": 20, "contrast_threshold": 0.04}


@pytest.mark.parametrize(
    "spoil",
    [
        lambda _: {},
        lambda book: {"codebook": book[:-1]},
        lambda book: {"codebook": book.astype(float)},
        lambda book: {"codebook": np.full_like(book, np.nan)},
        lambda book: {"codebook": -book},
        lambda book: {"codebook": book + np.float32(0.01)},
    ],
)
def test_other_codebooks_are_refused_in_one_line(words, spoil):
    with pytest.raises(ModelError, match="expected") as caught:
        extractor_from(words.settings(), spoil(words.codebook))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("wrong", [{"clusters": 1}, {"contrast_threshold": 0}, {"words": 3}])
def test_settings_out_of_range_are_refused(wrong):
    with pytest.raises(ValidationError):
        SIFT(**wrong)
