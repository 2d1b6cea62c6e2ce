import numpy as np
import pytest
import torch

from deepfreak.networks import Augmentation, augmentation
from deepfreak.networks.augmentation import Changes, change, draw_changes, measured

CPU = torch.device("cpu")


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
    drawn = draw_changes(Augmentation(rotations=True, flips=True), 8000, np.random.default_rng(1))
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
    settings = Augmentation(rotations=True, intensity=(0.5, 2), gaps=0.5)
    drawn = draw_changes(settings, 12, np.random.default_rng(1))
    for part in range(3):
        shares = [drawn.share(rank, 3)[part] for rank in range(3)]
        np.testing.assert_array_equal(np.concatenate(shares), drawn[part])


def test_gaps_are_where_they_say():
    rows, corner = (0.25, 0.5, 0, 1), (-0.5, 0.25, 0.75, 2)
    gaps = np.array([[rows, corner], [(0, 0, 0, 0), (0.5, 0.5, 0, 1)]], float)
    valid = measured(Changes(np.zeros(2, int), np.ones(2), gaps), side=8, device=CPU)
    expected = torch.ones(2, 8, 8, dtype=torch.bool)
    expected[0, 2:4] = False
    expected[0, :2, 6:] = False
    assert torch.equal(valid, expected)


def test_without_gaps_all_pixels_are_measured():
    rng = np.random.default_rng(1)
    assert measured(draw_changes(Augmentation(), 5, rng), side=8, device=CPU) is None
    rare = draw_changes(Augmentation(gaps=1e-9), 5, rng)
    assert measured(rare, side=8, device=CPU) is None


def test_as_many_images_have_gaps_as_asked_for():
    drawn = draw_changes(Augmentation(gaps=0.3), 400, np.random.default_rng(1))
    valid = measured(drawn, side=64, device=CPU)
    part = valid.float().mean((1, 2))
    assert (part < 1).float().mean() == pytest.approx(0.3, abs=0.07)
    # enough is left to judge
    assert part.min() > 0.3
    assert part[part < 1].mean() == pytest.approx(0.88, abs=0.08)


def test_asking_for_gaps_leaves_the_other_changes_alone():
    settings = {"rotations": True, "flips": True, "intensity": (0.5, 2)}
    one, two = (
        draw_changes(Augmentation(**settings, gaps=gaps), 9, np.random.default_rng(1))
        for gaps in (0, 0.5)
    )
    np.testing.assert_array_equal(one.symmetry, two.symmetry)
    np.testing.assert_array_equal(one.intensity, two.intensity)


def test_a_gpu_turns_images_as_a_cpu_does():
    images = torch.arange(8 * 36, dtype=torch.int32).reshape(8, 6, 6)
    every = np.arange(8)
    together = augmentation._rotated_together(images, every)
    assert torch.equal(together, augmentation._rotated_one_by_one(images, every))
    assert len({tuple(each.flatten().tolist()) for each in together - images}) == 8
