from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from deepfreak.errors import DatasetError
from deepfreak.screening.calibration import calibrate_on_images, thresholds

CLASSES = ("blank", "no-crystal", "weak", "good", "strong")


@dataclass
class Images:
    """Labelled images, of which the first pixel says how the model scores them."""

    labels: list[int]
    scores: list[float]
    classes: tuple = CLASSES
    path: Path = Path("made.h5")
    manifest: dict = field(default_factory=dict)
    valid: np.ndarray | None = None

    def __len__(self):
        return len(self.labels)

    @property
    def images(self):
        return np.array(self.scores)[:, None, None] * np.ones((1, 2, 2))


class Reads:
    """A model whose score is the first pixel."""

    name = "reads 1"
    classes = CLASSES

    def probabilities(self, images, valid=None):
        self.valid = valid
        p_crystal = images[:, 0, 0]
        rows = np.zeros((len(images), 5))
        rows[:, 0], rows[:, 3] = 1 - p_crystal, p_crystal
        return rows


def test_each_image_is_counted_on_its_side():
    found = calibrate_on_images(Reads(), Images([0, 1, 2, 3, 4], [0.1, 0.7, 0.3, 0.9, 0.8]))
    assert (found.hits, found.empties, found.simulated) == (3, 2, False)
    at = thresholds()
    half = int(np.searchsorted(at, 0.5))
    assert found.hits_below[half] == 1
    assert found.empties_from[half] == 1
    assert found.hits_below[-1] == 3
    assert found.empties_from[0] == 2


def test_the_model_hears_of_missing_pixels_and_the_level_leaves_them_out():
    valid = np.ones((2, 2, 2), np.bool_)
    valid[:, 1, 1] = False
    images, model = Images([1, 3], [0.25, 0.75], valid=valid), Reads()
    found = calibrate_on_images(model, images)
    assert (model.valid == valid).all()
    assert found.levels == pytest.approx((0.25, 0.75), abs=0.01)


@pytest.mark.parametrize(
    ("manifest", "simulated"),
    [
        ({"experiment": {}}, True),
        ({"varied": {}}, True),
        ({"origin": "imported", "variant": "synthetic"}, True),
        ({"origin": "imported", "variant": "real_raw"}, False),
        ({"origin": "measured"}, False),
    ],
)
def test_simulated_images_are_known_by_their_manifest(manifest, simulated):
    found = calibrate_on_images(Reads(), Images([0, 3], [0.1, 0.9], manifest=manifest))
    assert found.simulated == simulated


def test_images_without_a_crystal_prove_nothing_about_hits():
    with pytest.raises(DatasetError, match="found none among 3"):
        calibrate_on_images(Reads(), Images([0, 1, 0], [0.1, 0.2, 0.3]))
