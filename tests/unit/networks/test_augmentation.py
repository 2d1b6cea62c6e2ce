import numpy as np
import pytest
import torch

from deepfreak.networks import Augmentation
from deepfreak.networks.augmentation import Changes, change, draw_changes


@pytest.fixture
def image():
    return torch.from_numpy(np.random.default_rng(0).integers(0, 256, (6, 6)).astype(np.uint8))


def test_there_are_eight_symmetries_of_a_square(image):
    changes = Changes(np.arange(8), np.ones(8))
    changed = change(image.expand(8, 6, 6), changes, pedestal=10)
    assert changed.dtype == torch.uint8
    assert torch.equal(changed[0], image)
    assert len({tuple(each.flatten().tolist()) for each in changed}) == 8
    assert torch.equal(changed[1], image.rot90())
    assert torch.equal(changed[6], image.rot90(2).flip(1))


def test_all_symmetries_are_drawn_as_often():
    drawn = draw_changes(Augmentation(turns=True, flips=True), 8000, np.random.default_rng(1))
    assert np.bincount(drawn.symmetry, minlength=8) == pytest.approx(1000, abs=150)
    assert (drawn.intensity == 1).all()


def test_nothing_is_changed_unless_asked_for(image):
    drawn = draw_changes(Augmentation(), 5, np.random.default_rng(1))
    images = image.expand(5, 6, 6)
    assert change(images, drawn, pedestal=10) is images


def test_intensity_multiplies_the_counts_above_the_pedestal():
    images = torch.tensor([[[4, 0, 255]], [[4, 0, 255]]], dtype=torch.uint8)
    changed = change(images, Changes(np.zeros(2, int), np.array([2.0, 0.5])), pedestal=10)
    # 16 counts: 10 and 6 of light; 0 counts: 10 below the pedestal; 65025 is where pixels end
    expected = np.sqrt([[[22, 0, 65025]], [[13, 5, 10 + 65015 / 2]]])
    np.testing.assert_allclose(changed.numpy(), expected, rtol=1e-6)


def test_the_shares_of_processes_are_the_whole_batch():
    drawn = draw_changes(Augmentation(turns=True, intensity=(0.5, 2)), 12, np.random.default_rng(1))
    for part in range(2):
        shares = [drawn.share(rank, 3)[part] for rank in range(3)]
        np.testing.assert_array_equal(np.concatenate(shares), drawn[part])
