import numpy as np
import pytest
import torch

from deepfreak.datasets import Dataset, generate
from deepfreak.datasets.in_memory import (
    agreement,
    on_cpu,
    places_in_recipe,
    render,
    rendered_splits,
)
from deepfreak.errors import RecipeError
from deepfreak.physics.exposure import scatter, simulate
from deepfreak.physics.gpu.batch import Batch
from deepfreak.physics.recipe import load_recipe
from tests.paper.test_gpu_script import SMALL_CRYSTAL


@pytest.fixture(scope="module")
def experiment():
    plan = ("dataset.count=12", "dataset.splits={train=8, test=4}")
    pixels = ("detector.image_size=[32, 32]", "detector.pixel_size_mm=2.752")
    return load_recipe("diffranet", changes=[*SMALL_CRYSTAL, *plan, *pixels])


class Device:
    """Renders on the CPU in place of a GPU, optionally a little brighter."""

    def __init__(self, experiment, brighter=1.0):
        self.experiment, self.brighter, self.asked = experiment, brighter, []

    def render(self, *, seed, first, count):
        self.asked.append((first, count))
        shots = tuple(self.experiment.draw(seed=seed, index=first + i) for i in range(count))
        return Batch(images=self.images(shots), shots=shots)

    def images(self, shots):
        return torch.from_numpy(np.stack([simulate(shot)[0] for shot in shots]))

    def expected(self, shots):
        return torch.from_numpy(np.stack([scatter(shot) * self.brighter for shot in shots]))


def test_images_in_memory_are_those_that_generate_would_write(experiment, tmp_path):
    generate(experiment, count=12, seed=5, out=tmp_path / "all.h5")
    made = rendered_splits(experiment, seed=5, counts={"train": 3, "test": None})
    with Dataset.open(tmp_path / "all.h5") as data:
        for name, count in (("train", 3), ("test", 4)):
            mine, theirs = made.split(name), data.split(name)
            assert len(mine) == count
            np.testing.assert_array_equal(mine.images[0:count], theirs.images[0:count])
            np.testing.assert_array_equal(mine.labels, theirs.labels[:count])
            for quantity, values in mine.truth.items():
                np.testing.assert_array_equal(values, theirs.truth[quantity][:count])


def test_a_devices_images_are_of_the_same_shots(experiment):
    device = Device(experiment)
    places = {"train": (0, 5), "test": (8, 2)}
    made = render(experiment, seed=5, places=places, renderer=device)
    assert [first for first, _ in device.asked] == [0, 8]
    host = render(experiment, seed=5, places=places)
    np.testing.assert_array_equal(made.labels, host.labels)
    np.testing.assert_array_equal(made.images, host.images)
    assert made.manifest["backend"] == "gpu"
    assert set(made.truth) < set(host.truth)


def test_the_manifest_tells_splits_and_numbers_of_images_apart(experiment):
    made = rendered_splits(experiment, seed=5, counts={"train": 3, "test": 3})
    fewer = rendered_splits(experiment, seed=5, counts={"train": 2})
    manifests = [made.split("train").manifest, made.split("test").manifest]
    assert manifests[0] != manifests[1]
    assert fewer.split("train").manifest not in manifests


def test_more_images_than_the_recipe_plans_are_refused(experiment):
    with pytest.raises(RecipeError, match="train with 8, test with 4"):
        places_in_recipe(experiment, {"train": 9})
    with pytest.raises(RecipeError, match="split validation"):
        places_in_recipe(experiment, {"validation": None})


@pytest.mark.parametrize("brighter", [1.0, 1.01])
def test_what_a_device_gets_wrong_shows(experiment, brighter):
    class Done:
        def __init__(self, index):
            self.index = index

        def result(self):
            return on_cpu(experiment, 5, self.index)

    found = dict(agreement(Device(experiment, brighter), 5, [Done(index) for index in range(4)]))
    values = [float(value) for value in found.values()]
    assert values == pytest.approx([brighter - 1, float(brighter > 1), 0], abs=1e-6)
