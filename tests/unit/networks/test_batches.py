from dataclasses import replace
from itertools import islice

import h5py
import numpy as np
import pytest
import torch

from deepfreak.datasets import Dataset
from deepfreak.errors import DatasetError
from deepfreak.networks import Fresh
from deepfreak.networks.batches import StoredImages, source_of
from deepfreak.networks.processes import Processes
from deepfreak.physics.exposure import simulate
from tests.gpu.small import small_experiment
from tests.labelled import CLASSES, write_labelled

CPU = torch.device("cpu")
ALONE = Processes(rank=0, count=1, device=CPU)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    path = write_labelled(tmp_path_factory.mktemp("batches") / "a.h5", np.arange(22) % 5, side=16)
    with Dataset.open(path) as opened:
        yield opened


def take(source, count, *, first=0, seed=0, batch=4):
    return list(islice(source.batches(batch=batch, seed=seed, first=first), count))


def pixels(batches):
    return torch.cat([batch.images for batch in batches])


def test_an_epoch_shows_each_image_once_with_its_label(data):
    source = source_of(data, ALONE)
    assert source.steps(4) == 6
    batches = take(source, 6)
    assert [len(batch.images) for batch in batches] == [4, 4, 4, 4, 4, 2]
    shown = [
        (image.numpy().tobytes(), int(label))
        for batch in batches
        for image, label in zip(batch.images, batch.labels, strict=True)
    ]
    stored = zip(data.images[:], data.labels, strict=True)
    assert sorted(shown) == sorted((image.tobytes(), int(label)) for image, label in stored)


def test_images_bring_their_crystals_volume(data):
    known = replace(data, truth={"crystal_volume_mm3": np.arange(22) * 1e-6})
    source = source_of(known, ALONE)
    source.check_volumes()
    shown = {
        image.numpy().tobytes(): float(volume)
        for batch in take(source, 6)
        for image, volume in zip(batch.images, batch.volumes, strict=True)
    }
    for image, volume in zip(data.images[:], np.arange(22) * 1e-6, strict=True):
        assert shown[image.tobytes()] == pytest.approx(volume)
    with pytest.raises(DatasetError, match="volume_weight=0"):
        source_of(data, ALONE).check_volumes()


def test_the_order_follows_from_the_seed_and_the_epoch(data):
    source = source_of(data, ALONE)
    one, two = take(source, 6), take(source, 6, first=6)
    assert torch.equal(pixels(one), pixels(take(source, 6)))
    assert not torch.equal(pixels(one), pixels(two))
    assert not torch.equal(pixels(one), pixels(take(source, 6, seed=1)))


def test_batches_can_begin_at_any_step(data):
    source = source_of(data, ALONE)
    assert torch.equal(pixels(take(source, 14)[9:]), pixels(take(source, 5, first=9)))


@pytest.mark.parametrize("count", [2, 3])
def test_processes_share_each_batch_equally(data, count):
    group = [Processes(rank=rank, count=count, device=CPU) for rank in range(count)]
    sources = [source_of(data, each) for each in group]
    steps = sources[0].steps(6)
    shares = [take(source, steps, batch=6) for source in sources]
    for parts in zip(*shares, take(source_of(data, ALONE), steps, batch=6), strict=True):
        *mine, whole = parts
        assert len({len(each.images) for each in mine}) == 1
        together = pixels(mine)
        assert torch.equal(together, whole.images[: len(together)])
        assert len(whole.images) - len(together) < count


def test_processes_judge_each_image_once(data):
    seen = []
    for rank in range(3):
        source = StoredImages(data, Processes(rank=rank, count=3, device=CPU))
        seen += [image.numpy().tobytes() for batch in source.in_order(5) for image in batch.images]
    assert sorted(seen) == sorted(image.tobytes() for image in data.images[:])


def test_images_on_the_device_give_the_same_batches(data):
    resident = StoredImages(data, ALONE, resident=True)
    assert torch.equal(pixels(take(resident, 7)), pixels(take(source_of(data, ALONE), 7)))
    np.testing.assert_array_equal(resident.mean(), data.images[:].mean(axis=0))


def test_the_mean_is_that_of_each_pixel(data):
    mean = source_of(data, ALONE).mean()
    np.testing.assert_array_equal(mean, data.images[:].mean(axis=0, dtype=np.float64))


def test_a_missing_class_is_named(tmp_path):
    path = write_labelled(tmp_path / "a.h5", np.array([0, 1, 2, 4]), side=16)
    with (
        Dataset.open(path) as lacking,
        pytest.raises(DatasetError, match="none of good in .*a.h5"),
    ):
        source_of(lacking, ALONE).check_classes()


def test_images_that_are_not_square_are_refused(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["images"] = np.zeros((5, 8, 16), np.uint8)
        file["label"] = np.arange(5, dtype=np.uint8)
        file["label"].attrs["classes"] = list(CLASSES)
    with (
        Dataset.open(tmp_path / "a.h5") as oblong,
        pytest.raises(DatasetError, match="square images, found 8 x 16"),
    ):
        source_of(oblong, ALONE)


def test_fresh_shots_are_those_of_their_series():
    experiment = small_experiment()
    source = source_of(Fresh(experiment=experiment, series=5, images_per_epoch=7), ALONE)
    assert (source.classes, source.side, source.steps(2)) == (experiment.classes.names, 24, 3)
    (batch,) = take(source, 1, first=4, batch=2)
    shots = [experiment.draw(seed=5, index=index) for index in (8, 9)]
    expected = np.stack([simulate(shot)[0] for shot in shots])
    np.testing.assert_array_equal(batch.images.numpy(), expected)
    assert batch.labels.tolist() == [shot.label for shot in shots]
    assert batch.volumes.tolist() == pytest.approx([shot.crystal_volume_mm3 for shot in shots])


def test_each_process_has_a_series_of_fresh_shots():
    fresh = Fresh(experiment=small_experiment(), series=5, images_per_epoch=8)
    second = source_of(fresh, Processes(rank=1, count=2, device=CPU))
    other = source_of(Fresh(experiment=fresh.experiment, series=6, images_per_epoch=8), ALONE)
    (share,), (whole,) = take(second, 1, first=1, batch=4), take(other, 1, first=1, batch=2)
    assert torch.equal(share.images, whole.images)
