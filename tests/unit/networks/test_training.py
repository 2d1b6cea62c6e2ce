import json
import math
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from deepfreak.datasets import Dataset
from deepfreak.errors import (
    BackendError,
    DatasetError,
    DeepFreakError,
    ModelError,
    OutputError,
    RecipeError,
)
from deepfreak.networks import (
    Augmentation,
    Compact,
    Fresh,
    Inputs,
    Topology,
    Training,
    load_network,
)
from deepfreak.networks.figures import curve_figure
from deepfreak.networks.state import read_curve
from tests.gpu.small import small_experiment
from tests.labelled import write_labelled
from tests.unit.networks.tiny import SIDE, SMALL, TRAINING, Greedy, Straight, run_program, train

IMAGES = 22


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    folder = tmp_path_factory.mktemp("training")
    return write_labelled(folder / "data.h5", np.arange(IMAGES) % 5, side=SIDE)


@pytest.fixture(scope="module")
def data(path):
    with Dataset.open(path) as opened:
        yield opened


@pytest.fixture(scope="module")
def undisturbed(data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("undisturbed") / "run"
    return folder, train(data, folder, validation=data)


def learnt(trained):
    parameters = trained.model.network.parameters()
    return torch.cat([numbers.detach().flatten() for numbers in parameters])


def weights(folder):
    return (folder / "weights.safetensors").read_bytes()


def test_a_killed_training_goes_on_to_the_same_weights(undisturbed, path, data, tmp_path):
    # 22 images an epoch: killed in the second, three steps after its last checkpoint's place
    killed = run_program(path, tmp_path / "run", 37)
    assert killed.returncode == -9, killed.stderr
    assert not (tmp_path / "run" / "weights.safetensors").exists()
    assert len(read_curve(tmp_path / "run" / "curve.jsonl")) == 1
    trained = train(data, tmp_path / "run", validation=data)
    folder, expected = undisturbed
    assert weights(tmp_path / "run") == weights(folder)
    assert [replace(row, seconds=0) for row in trained.history] == [
        replace(row, seconds=0) for row in expected.history
    ]


def test_a_training_that_is_continued_ends_as_one_without_a_stop(undisturbed, data, tmp_path):
    short = train(data, tmp_path, validation=data, until=1)
    assert len(short.history) == 1
    train(data, tmp_path, validation=data)
    assert weights(tmp_path) == weights(undisturbed[0])


def test_a_shorter_budget_of_a_longer_training_cuts_its_history(undisturbed, data):
    folder, trained = undisturbed
    before = weights(folder)
    again = train(data, folder, validation=data, until=2)
    assert again.history == trained.history[:2]
    assert weights(folder) == before


def test_the_weights_follow_from_the_seed(undisturbed, data, tmp_path):
    train(data, tmp_path / "again", validation=data)
    train(data, tmp_path / "other", validation=data, seed=1)
    assert weights(tmp_path / "again") == weights(undisturbed[0])
    assert weights(tmp_path / "other") != weights(undisturbed[0])


def test_training_leaves_the_callers_random_numbers_alone(data, tmp_path):
    torch.manual_seed(7)
    expected = torch.rand(1)
    torch.manual_seed(7)
    train(data, tmp_path, until=1)
    assert torch.equal(torch.rand(1), expected)


def test_a_curve_and_a_loadable_network_are_written(undisturbed, data):
    folder, trained = undisturbed
    assert read_curve(folder / "curve.jsonl") == trained.history
    assert [row.epoch for row in trained.history] == [1, 2, 3]
    assert all(row.images == IMAGES and 0 <= row.accuracy <= 1 for row in trained.history)
    loaded = load_network(folder / "weights.safetensors")
    np.testing.assert_array_equal(
        loaded.probabilities(data.images[:]), trained.model.probabilities(data.images[:])
    )
    accuracy = np.mean(loaded.probabilities(data.images[:]).argmax(1) == data.labels)
    assert trained.history[-1].validation_accuracy == pytest.approx(accuracy)
    assert curve_figure(trained.history).svg.startswith("<svg")


def test_a_network_learns_what_can_be_learnt(data, tmp_path):
    training = Training(
        epochs=25, batch=4, optimizer="adamw", learning_rate=0.01, momentum=0.9,
        schedule="cosine", warmup_epochs=1, average=0.8, inputs=Inputs(subtract="mean"),
    )  # fmt: skip
    history = train(data, tmp_path, training=training, validation=data).history
    # blank and no-crystal differ in their halo, strong in many bright pixels
    assert history[-1].validation_accuracy > 0.5
    assert history[-1].validation_loss < history[0].validation_loss


def test_the_mean_of_the_training_images_becomes_part_of_the_network(undisturbed, data, tmp_path):
    _, trained = undisturbed
    expected = data.images[:].mean(axis=0) / 255
    np.testing.assert_allclose(trained.model.network.mean.numpy(), expected, rtol=1e-6)
    scalar = replace(TRAINING, inputs=Inputs(subtract="mean"))
    mean = train(data, tmp_path, training=scalar, until=1).model.network.mean
    np.testing.assert_allclose(mean.numpy(), [[expected.mean()]], rtol=1e-6)


def test_averaged_weights_are_kept_and_go_on_too(data, tmp_path):
    averaged = replace(TRAINING, average=0.9)
    train(data, tmp_path / "whole", training=averaged)
    train(data, tmp_path / "parts", training=averaged, until=1, save_every_steps=2)
    train(data, tmp_path / "parts", training=averaged)
    assert weights(tmp_path / "parts") == weights(tmp_path / "whole")
    stored = load_file(tmp_path / "whole" / "checkpoint.safetensors")
    kept = load_file(tmp_path / "whole" / "weights.safetensors")
    for name, value in kept.items():
        assert torch.equal(value, stored[f"average.{name}"])
    assert not torch.equal(kept["body.0.0.weight"], stored["network.body.0.0.weight"])


def test_the_running_mean_is_that_of_the_weights(data, tmp_path):
    training = Training(epochs=1, batch=11, learning_rate=0.1, average=0.5)
    path = {"architecture": Straight(), "training": training}
    train(data, tmp_path / "two", **path)
    stored = load_file(tmp_path / "two" / "checkpoint.safetensors")
    before = load_file_of_first_step(data, tmp_path / "one", path)
    # two steps, after which the mean's decay is still 0.1 and 2 / 11
    first = 0.1 * before["start"] + 0.9 * before["after"]
    expected = 2 / 11 * first + 9 / 11 * stored["network.body.1.weight"]
    torch.testing.assert_close(stored["average.body.1.weight"], expected)


def load_file_of_first_step(data, folder, options):
    """Return weights before and after the first step, from a training that stops there."""
    seen = {}

    class Stop(Exception):  # noqa: N818 -- no error
        pass

    @contextmanager
    def show(_what, _total):
        def advance(_done):
            raise Stop

        yield advance

    class Watched(Straight):
        def build(self, *, classes, size):
            network = super().build(classes=classes, size=size)
            seen["layer"] = network[1]
            seen["start"] = network[1].weight.detach().clone()
            return network

    with pytest.raises(Stop):
        train(data, folder, **(options | {"architecture": Watched()}), show=show)
    return {"start": seen["start"], "after": seen["layer"].weight.detach().clone()}


def test_sgd_is_the_papers_formula(data, tmp_path):
    training = Training(epochs=1, batch=IMAGES, learning_rate=0.1, weight_decay=0.01, average=0)
    options = {"architecture": Straight(), "training": training}
    step = load_file_of_first_step(data, tmp_path, options)
    images = data.images[:].astype(np.float64) / 255
    pixels = (images - images.mean(axis=0)).reshape(IMAGES, -1)
    weights, bias = step["start"].double().numpy(), 0
    # the bias moves all logits of the first step as it was made; take it from a fresh layer
    torch.manual_seed(0)
    bias = Straight().build(classes=5, size=SIDE)[1].bias.detach().double().numpy()
    logits = pixels @ weights.T + bias
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    gradient = (probabilities - np.eye(5)[data.labels]).T @ pixels / IMAGES
    expected = weights - 0.1 * (gradient + 0.01 * weights)
    np.testing.assert_allclose(step["after"].numpy(), expected, atol=1e-6)


def test_two_processes_train_as_one(path, data, tmp_path):
    launcher = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")
    ended = run_program(path, tmp_path / "two", 0, launcher=launcher)
    assert ended.returncode == 0, ended.stderr
    training = Training(epochs=2, batch=4, learning_rate=0.1)
    alone = train(
        data, tmp_path / "one", validation=data, architecture=Straight(), training=training
    )
    one, two = (load_file(tmp_path / name / "weights.safetensors") for name in ("one", "two"))
    for name, value in one.items():
        torch.testing.assert_close(two[name], value, rtol=1e-4, atol=1e-6)
    for ours, theirs in zip(
        alone.history, read_curve(tmp_path / "two" / "curve.jsonl"), strict=True
    ):
        assert theirs.images == IMAGES
        assert theirs.loss == pytest.approx(ours.loss, rel=1e-5)
        assert theirs.validation_accuracy == ours.validation_accuracy


def test_a_batch_that_processes_cannot_share_is_refused(data, tmp_path):
    from deepfreak.networks.processes import Processes
    from deepfreak.networks.training import _check, source_of

    group = Processes(rank=0, count=3, device=torch.device("cpu"))
    with pytest.raises(RecipeError, match="3 processes can share, found 4"):
        _check(source_of(data, group), None, TRAINING, group)


def test_endless_shots_say_how_much_crystal_they_show(tmp_path):
    fresh = Fresh(experiment=small_experiment(), series=3, images_per_epoch=8)
    options = COMPACT | {"architecture": Compact(widths=(2,), hidden=4)}
    history = train(fresh, tmp_path, **options, until=1).history
    assert math.isfinite(history[0].loss)


def test_endless_shots_train_a_network(tmp_path):
    fresh = Fresh(experiment=small_experiment(), series=3, images_per_epoch=4)
    topology = Topology(filters=1, blocks=(1, 1, 1, 1), second_pool_size=1)
    training = Training(epochs=2, batch=2, inputs=Inputs(subtract="nothing"))
    options = {"architecture": topology, "training": training}
    train(fresh, tmp_path / "whole", **options)
    train(fresh, tmp_path / "parts", until=1, **options)
    history = train(fresh, tmp_path / "parts", **options).history
    assert [row.images for row in history] == [4, 4]
    assert history[0].validation_loss is None
    assert weights(tmp_path / "parts") == weights(tmp_path / "whole")


def test_images_are_shrunk_for_a_smaller_network(data, tmp_path):
    training = replace(TRAINING, epochs=1, inputs=Inputs(shrink_to=16), batch=8)
    topology = replace(SMALL, first_conv_stride=1)
    model = train(data, tmp_path, architecture=topology, training=training).model
    assert model.network.mean.shape == (SIDE, SIDE)
    assert model.probabilities(data.images[:2]).shape == (2, 5)


def test_bf16_is_near_float32(data, tmp_path):
    # One step with all images, from the same weights. Later steps tell nothing: normalised over a
    # few pixels, rounding grows until each precision, and each processor's bf16, goes its own way.
    step = replace(TRAINING, epochs=1, batch=IMAGES)
    resting = replace(step, learning_rate=1e-12)
    in_bf16 = replace(step, precision="bf16")
    start, exact, rounded = (
        train(data, tmp_path / str(index), training=training)
        for index, training in enumerate((resting, step, in_bf16))
    )
    assert exact.history[0].loss != rounded.history[0].loss
    assert exact.history[0].loss == pytest.approx(rounded.history[0].loss, rel=0.02)
    moves = [learnt(after) - learnt(start) for after in (exact, rounded)]
    assert torch.cosine_similarity(*moves, dim=0) > 0.8
    assert 0.7 < moves[1].norm() / moves[0].norm() < 1.4


# Learns volumes, with gaps in images.
COMPACT = {
    "architecture": Compact(widths=(3, 4), hidden=16),
    "training": Training(
        epochs=3, batch=8, optimizer="adamw", learning_rate=0.01, momentum=0.9, average=0.8,
        schedule="cosine", volume_weight=2.0, inputs=Inputs(subtract="nothing"),
        augmentation=Augmentation(rotations=True, flips=True, gaps=0.5),
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def with_volumes(tmp_path_factory):
    folder = tmp_path_factory.mktemp("volumes")
    path = write_labelled(folder / "data.h5", np.arange(IMAGES) % 5, side=2 * SIDE)
    with Dataset.open(path) as opened:
        yield knowing_volumes(opened)


def knowing_volumes(data):
    volumes = np.array([0, 0, 1e-6, 4e-6, 2e-5])[data.labels]
    return replace(data, truth={"crystal_volume_mm3": volumes})


def test_our_network_is_trained_loaded_and_continued(with_volumes, tmp_path):
    trained = train(with_volumes, tmp_path / "whole", **COMPACT, validation=with_volumes)
    train(with_volumes, tmp_path / "parts", **COMPACT, validation=with_volumes, until=1)
    train(with_volumes, tmp_path / "parts", **COMPACT, validation=with_volumes)
    assert weights(tmp_path / "parts") == weights(tmp_path / "whole")
    loaded = load_network(tmp_path / "whole" / "weights.safetensors")
    images = with_volumes.images[:]
    np.testing.assert_array_equal(loaded.probabilities(images), trained.model.probabilities(images))


def test_a_network_learns_volumes_if_asked_to(with_volumes, tmp_path):
    volumes = torch.from_numpy(with_volumes.truth["crystal_volume_mm3"] / 1e-5)
    crystal = volumes > 0
    maps = torch.from_numpy(with_volumes.images[:])[:, None].float()
    errors = []
    for weight in (0, 2):
        training = replace(
            COMPACT["training"],
            epochs=30,
            learning_rate=0.03,
            volume_weight=weight,
            augmentation=Augmentation(),
        )
        options = COMPACT | {"training": training}
        body = train(with_volumes, tmp_path / str(weight), **options).model.network.body
        with torch.inference_mode():
            _, found = body.with_volume(maps)
        errors.append(float((found - volumes.log())[crystal].square().mean()))
    assert errors[1] < 0.1 < errors[0]


def test_volumes_that_nobody_knows_are_not_learnt(data, tmp_path):
    with pytest.raises(DatasetError, match="the truth crystal_volume_mm3"):
        train(data, tmp_path, **COMPACT)


def test_volumes_are_learnt_by_networks_that_estimate_them(with_volumes, tmp_path):
    training = replace(TRAINING, volume_weight=1.0)
    with pytest.raises(RecipeError, match="architecture 'bottlenecks': use volume_weight=0"):
        train(with_volumes, tmp_path, training=training)


def test_a_loss_that_is_no_number_stops_in_one_line(data, tmp_path):
    wild = replace(TRAINING, learning_rate=1e30, batch=8)
    with pytest.raises(DeepFreakError, match="a finite loss, found nan in epoch 1") as caught:
        train(data, tmp_path, training=wild)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "checkpoint.safetensors").exists()


def test_too_little_memory_stops_in_one_line(data, tmp_path):
    with pytest.raises(BackendError, match="memory for batches of 4, found too little") as caught:
        train(data, tmp_path, architecture=Greedy())
    assert "\n" not in str(caught.value)


def test_a_missing_class_stops_in_one_line(tmp_path):
    path = write_labelled(tmp_path / "a.h5", np.array([0, 1, 2, 4]), side=SIDE)
    with Dataset.open(path) as data, pytest.raises(DatasetError, match="none of good"):
        train(data, tmp_path / "run")


@pytest.mark.parametrize("normalise", ["batch", "image"])
def test_one_image_of_one_pixel_cannot_be_normalised(data, tmp_path, normalise):
    training = replace(TRAINING, batch=1)
    with pytest.raises(RecipeError, match="more than one pixel or image"):
        train(data, tmp_path, training=training, architecture=replace(SMALL, normalise=normalise))


def test_validation_images_of_other_classes_are_refused(data, tmp_path):
    path = write_labelled(tmp_path / "a.h5", np.array([0, 1]), side=SIDE, classes=("no", "yes"))
    with Dataset.open(path) as other, pytest.raises(DatasetError, match="blank, .* in no, yes"):
        train(data, tmp_path / "run", validation=other)


def test_a_batch_without_enough_images_is_refused(tmp_path):
    fresh = Fresh(experiment=small_experiment(), series=3, images_per_epoch=4)
    with pytest.raises(RecipeError, match="batches of 5"):
        train(fresh, tmp_path, training=replace(TRAINING, batch=5))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"seed": 1}, "seed 0, expected 1"),
        ({"training": replace(TRAINING, batch=8)}, "training.batch 4, expected 8"),
        (
            {"training": replace(TRAINING, augmentation=Augmentation())},
            "training.augmentation.flips True, expected False",
        ),
        ({"architecture": replace(SMALL, filters=3)}, "architecture.filters 2, expected 3"),
    ],
)
def test_a_folder_with_another_training_is_left_alone(undisturbed, data, change, said):
    folder, _ = undisturbed
    before = weights(folder)
    with pytest.raises(OutputError, match=said):
        train(data, folder, **({"validation": data} | change))
    assert weights(folder) == before


@pytest.mark.parametrize("part", ["the record", "a weight", "the optimizer", "the last byte"])
def test_a_checkpoint_with_a_changed_bit_is_refused_and_left(data, tmp_path, part):
    train(data, tmp_path, until=1)
    path = tmp_path / "checkpoint.safetensors"
    content = bytearray(path.read_bytes())
    place = {
        "the record": content.index(b"seconds") + 11,
        "a weight": len(content) // 4,
        "the optimizer": 3 * len(content) // 4,
        "the last byte": len(content) - 1,
    }[part]
    content[place] ^= 1
    path.write_bytes(content)
    with pytest.raises(ModelError, match="checkpoint.*(damaged; remove it|expected)"):
        train(data, tmp_path)
    assert path.read_bytes() == content


def test_a_damaged_checkpoint_is_named(data, tmp_path):
    (tmp_path / "checkpoint.safetensors").write_bytes(b"not one")
    with pytest.raises(DeepFreakError, match="checkpoint.safetensors: expected weights"):
        train(data, tmp_path)


def test_more_epochs_than_planned_are_refused(data, tmp_path):
    with pytest.raises(RecipeError, match="1 to 3 epochs, found 4"):
        train(data, tmp_path, until=4)


def test_progress_counts_the_images_that_are_left(data, tmp_path):
    seen = []

    @contextmanager
    def show(what, total):
        seen.append((what, total))
        yield seen.append

    train(data, tmp_path, until=1)
    train(data, tmp_path, until=2, show=show)
    (what, total), *done = seen
    assert (what, sum(done)) == ("training", IMAGES)
    assert total == math.ceil(IMAGES / 4) * 4


def test_curves_are_lines_of_json(undisturbed):
    lines = (undisturbed[0] / "curve.jsonl").read_text().splitlines()
    assert [json.loads(line)["epoch"] for line in lines] == [1, 2, 3]
