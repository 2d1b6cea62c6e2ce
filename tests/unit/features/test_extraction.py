from dataclasses import dataclass

import numpy as np
import pytest

from deepfreak.errors import FrameError, ModelError
from deepfreak.features import GLCM, LBP, Diffraction, extract, extractor_from

IMAGES = np.random.default_rng(3).integers(0, 20, (7, 24, 24), dtype=np.uint8)


@dataclass(frozen=True)
class Mean:
    """One number per image; NaN where no pixel is valid."""

    names = ("least", "mean")

    def __call__(self, image, valid=None):
        chosen = image if valid is None else image[valid]
        return np.array([0.0, chosen.mean() if chosen.size else np.nan])


@pytest.mark.parametrize(
    "extractor", [GLCM(distances=(2,)), LBP(points=8, radius=1), Diffraction()]
)
def test_extractors_are_made_again_from_their_settings(extractor):
    again = extractor_from(extractor.settings(), extractor.arrays())
    assert again == extractor
    np.testing.assert_array_equal(again(IMAGES[0]), extractor(IMAGES[0]))


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"extractor": "hog"},
        {"extractor": ["glcm"]},
        {"extractor": "lbp", "points": 0},
        {"extractor": "lbp", "point": 8},
        {"extractor": "glcm", "distances": [0.5]},
        {"extractor": "sift", "clusters": 1},
        {"extractor": "diffraction", "definition": 0},
    ],
)
def test_settings_of_no_extractor_are_refused_in_one_line(settings):
    with pytest.raises(ModelError) as caught:
        extractor_from(
            settings,
            {"codebook": np.zeros((1, 128), np.float32)}
            if settings.get("extractor") == "sift"
            else {},
        )
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("workers", [1, 3])
def test_vectors_are_in_the_order_of_the_images(workers):
    done = []
    vectors = extract(Mean(), IMAGES, workers=workers, advance=done.append)
    np.testing.assert_array_equal(vectors[:, 1], IMAGES.mean(axis=(1, 2)))
    assert sum(done) == len(IMAGES)


@pytest.mark.parametrize("workers", [1, 3])
def test_numbers_that_are_not_finite_are_refused_by_name(workers):
    valid = np.ones(IMAGES.shape, bool)
    valid[4] = False
    with pytest.raises(FrameError, match="mean = nan"):
        extract(Mean(), IMAGES, valid, workers=workers)
