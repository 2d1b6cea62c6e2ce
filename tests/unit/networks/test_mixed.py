"""Images of known class and further ones of known group, in one order and one training."""

from dataclasses import replace
from itertools import islice

import h5py
import numpy as np
import pytest
import torch

from deepfreak.classes import GROUPS
from deepfreak.datasets import Dataset
from deepfreak.errors import DatasetError, OutputError
from deepfreak.networks import Compact, Fresh, Inputs, Training
from deepfreak.networks.batches import StoredImages, source_of
from deepfreak.networks.checkpoint import read_record
from deepfreak.networks.processes import Processes
from tests.gpu.small import small_experiment
from tests.labelled import CLASSES, write_labelled
from tests.unit.networks.tiny import SIDE, run_program, train

CPU = torch.device("cpu")
ALONE = Processes(rank=0, count=1, device=CPU)
IMAGES, FURTHER = 22, 9


@pytest.fixture(scope="module")
def paths(tmp_path_factory):
    folder = tmp_path_factory.mktemp("mixed")
    labels = np.arange(FURTHER) % 2
    known = write_labelled(folder / "known.h5", np.arange(IMAGES) % 5, side=SIDE)
    # the same kinds of image, labelled by their group only
    further = write_labelled(folder / "further.h5", 3 * labels + 1, seed=1, side=SIDE)
    with h5py.File(further, "a") as file:
        file["label"][:] = labels
        file["label"].attrs["classes"] = list(GROUPS)
    return known, further


@pytest.fixture(scope="module")
def known(paths):
    with Dataset.open(paths[0]) as data:
        yield data


@pytest.fixture(scope="module")
def further(paths):
    with Dataset.open(paths[1]) as data:
        yield data


@pytest.fixture(scope="module")
def undisturbed(known, further, tmp_path_factory):
    folder = tmp_path_factory.mktemp("undisturbed") / "run"
    return folder, train(known, folder, also=[further], validation=known)


def weights(folder):
    return (folder / "weights.safetensors").read_bytes()


def pairs(images, labels):
    return sorted(
        (np.asarray(image).tobytes(), int(label))
        for image, label in zip(images, labels, strict=True)
    )


def test_an_epoch_shows_all_images_of_both_sets_once(known, further):
    source = source_of(known, ALONE, also=[further])
    assert source.steps(4) == 8
    batches = list(islice(source.batches(batch=4, seed=0, first=0), 8))
    shown = pairs(
        torch.cat([batch.images for batch in batches]),
        torch.cat([batch.labels for batch in batches]),
    )
    # groups stand behind the five classes
    stored = pairs(known.images[:], known.labels) + pairs(further.images[:], further.labels + 5)
    assert shown == sorted(stored)
    mixed = [bool((batch.labels < 5).any() and (batch.labels >= 5).any()) for batch in batches]
    assert sum(mixed) > 3


def test_the_order_follows_from_the_seed_and_the_epoch(known, further):
    source = source_of(known, ALONE, also=[further])

    def shown(seed, first):
        batches = islice(source.batches(batch=4, seed=seed, first=first), 8)
        return torch.cat([batch.labels for batch in batches])

    assert torch.equal(shown(0, 0), shown(0, 0))
    assert not torch.equal(shown(0, 0), shown(1, 0))
    assert not torch.equal(shown(0, 0), shown(0, 8))


def test_processes_share_what_one_would_show(known, further):
    def shown(rank, count):
        source = source_of(known, Processes(rank=rank, count=count, device=CPU), also=[further])
        return next(source.batches(batch=4, seed=0, first=0))

    one, parts = shown(0, 1), [shown(rank, 2) for rank in range(2)]
    assert pairs(one.images, one.labels) == pairs(
        torch.cat([part.images for part in parts]), torch.cat([part.labels for part in parts])
    )


def test_five_classes_of_a_further_set_become_two_groups(known):
    source = source_of(known, ALONE, also=[known])
    batch = next(source.batches(batch=2 * IMAGES, seed=0, first=0))
    of_groups = batch.labels[batch.labels >= 5] - 5
    assert of_groups.tolist().count(1) == int((known.labels >= 2).sum())


def test_further_images_bring_no_volume(known, further):
    volumes = {"crystal_volume_mm3": np.full(IMAGES, 1e-6)}
    source = source_of(replace(known, truth=volumes), ALONE, also=[further])
    source.check_volumes()
    batch = next(source.batches(batch=IMAGES + FURTHER, seed=0, first=0))
    assert bool(((batch.volumes == 0) == (batch.labels >= 5)).all())


def test_the_mean_is_that_of_all_images(known, further):
    everything = np.concatenate([known.images[:], further.images[:]])
    mean = source_of(known, ALONE, also=[further]).mean()
    np.testing.assert_allclose(mean, everything.mean(0))


def test_missing_pixels_of_prepared_frames_are_missing_to_the_network(known, further):
    valid = np.ones((FURTHER, SIDE, SIDE), np.bool_)
    valid[:, :5] = False
    source = source_of(known, ALONE, also=[replace(further, valid=valid)])
    batch = next(source.batches(batch=IMAGES + FURTHER, seed=0, first=0))
    grouped = batch.labels >= 5
    assert bool(batch.valid[~grouped].all())
    assert not bool(batch.valid[grouped][:, :5].any())
    assert bool(batch.valid[grouped][:, 5:].all())
    assert next(StoredImages(known, ALONE).in_order(4)).valid is None


def test_what_does_not_fit_is_refused_in_one_line(known, further, tmp_path):
    odd = write_labelled(tmp_path / "odd.h5", [0, 4], side=16)
    with (
        Dataset.open(odd) as small,
        pytest.raises(DatasetError, match="expected further images of 32 x 32, found 16 x 16"),
    ):
        source_of(known, ALONE, also=[small])
    with pytest.raises(DatasetError, match="cannot be grouped"):
        source_of(known, ALONE, also=[replace(further, classes=("cat", "dog"))])
    fresh = Fresh(experiment=small_experiment(), series=1, images_per_epoch=8)
    with pytest.raises(DatasetError, match="found fresh shots"):
        source_of(fresh, ALONE, also=[further])


def test_a_killed_training_goes_on_to_the_same_weights(
    undisturbed, paths, known, further, tmp_path
):
    killed = run_program(*paths[:1], tmp_path / "run", 40, paths[1])
    assert killed.returncode == -9, killed.stderr
    assert not (tmp_path / "run" / "weights.safetensors").exists()
    assert read_record(tmp_path / "run" / "checkpoint.safetensors")["epoch"] == 1
    train(known, tmp_path / "run", also=[further], validation=known)
    assert weights(tmp_path / "run") == weights(undisturbed[0])


def test_the_plan_names_the_further_sets_and_refuses_to_go_on_without(undisturbed, known, further):
    folder, trained = undisturbed
    (named,) = trained.model.manifest["data"]["also"]
    assert named["count"] == FURTHER
    assert all(row.images == IMAGES + FURTHER for row in trained.history)
    with pytest.raises(OutputError, match=r"holds a training with data\.also"):
        train(known, folder, validation=known)
    relabelled = replace(further, labels=1 - further.labels)
    with pytest.raises(OutputError, match=r"holds a training with data\.also"):
        train(known, folder, also=[relabelled], validation=known)


def test_groups_are_learned_from_further_images(known, further, tmp_path):
    training = Training(
        epochs=40, batch=8, optimizer="adamw", learning_rate=0.01, momentum=0.9,
        schedule="cosine", warmup_epochs=1, inputs=Inputs(subtract="mean"),
    )  # fmt: skip
    # five images with a class are too few to learn from: the groups must do
    few = replace(known, images=known.images[:5], labels=np.arange(5, dtype=np.uint8), truth={})
    trained = train(few, tmp_path, also=[further], training=training)
    found = trained.model.probabilities(further.images[:])[:, 2:].sum(1) > 0.5
    assert (found == further.labels).mean() > 0.85
    assert trained.history[-1].accuracy > 0.8


def test_volumes_are_learned_beside_groups(known, further, tmp_path):
    volumes = {"crystal_volume_mm3": np.where(known.labels >= 2, 1e-6, 0)}
    training = Training(
        epochs=1, batch=8, optimizer="adamw", learning_rate=1e-3, momentum=0.9, volume_weight=1,
        inputs=Inputs(subtract="nothing"),
    )  # fmt: skip
    data = replace(known, truth=volumes)
    trained = train(data, tmp_path, also=[further], training=training, architecture=Compact())
    assert len(trained.model.classes) == len(CLASSES)
