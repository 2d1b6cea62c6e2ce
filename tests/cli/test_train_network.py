import json

import h5py
import numpy as np
import pytest
import torch
from click.testing import CliRunner

from deepfreak.cli.model.train import train
from deepfreak.errors import OutputError
from deepfreak.models import load_model
from deepfreak.networks import (
    FOR_PREPROCESSED_IMAGES,
    OURS,
    TOPOLOGIES,
    Compact,
    load_network,
)
from deepfreak.networks.state import read_curve
from tests.labelled import write_labelled

# Table 9's pools need images of 512 x 512; one filter makes these cheap.
CHEAP = ("--filters", 1, "--batch", 4, "--device", "cpu")


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """Small networks are faster on one thread."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def toy(tmp_path_factory):
    path = tmp_path_factory.mktemp("toy") / "toy.h5"
    write_labelled(path, np.arange(20) % 5, seed=1, side=512)
    with h5py.File(path, "a") as file:
        splits = file.create_group("splits").attrs
        splits["train"], splits["validation"], splits["test"] = (0, 10), (10, 5), (15, 5)
    return path


def run(*arguments):
    return CliRunner().invoke(train, [*map(str, arguments)])


def test_a_training_leaves_weights_curve_and_page_and_says_what_came_of_it(toy, tmp_path):
    out = tmp_path / "out"
    options = ("--out", out, "--architecture", 9, "--epochs", 2, *CHEAP)
    result = run(toy, *options)
    assert result.exception is None, result.output
    assert {path.name for path in out.iterdir()} == {
        "checkpoint.safetensors", "weights.safetensors", "curve.jsonl", "report.html",
        "network.onnx",
    }  # fmt: skip
    served = load_model(out / "network.onnx")
    assert served.manifest["calibration"]["split"] == "validation"
    assert "epoch 2 of 2" in result.stderr
    assert "validation accuracy (%)" in result.stdout
    history = read_curve(out / "curve.jsonl")
    # the splits of that name are the default
    assert [row.images for row in history] == [10, 10]
    manifest = load_network(out / "weights.safetensors").manifest
    assert manifest["validation"]["count"] == 5
    assert manifest["training"]["batch"] == 4
    assert "<svg" in (out / "report.html").read_text()
    before = (out / "weights.safetensors").read_bytes()
    again = run(toy, *options)
    assert "epoch" not in again.stderr
    assert (out / "weights.safetensors").read_bytes() == before


def test_each_option_reaches_the_training(toy, tmp_path):
    options = (
        "--architecture", "preprocessed", "--split", "test", "--validation", "train",
        "--epochs", 1, "--batch", 5, "--learning-rate", 0.5, "--precision", "bf16",
        "--seed", 7, "--filters", 1, "--normalise", "image", "--device", "cpu",
    )  # fmt: skip
    result = run(toy, "--out", tmp_path / "out", *options)
    assert result.exception is None, result.output
    manifest = load_network(tmp_path / "out" / "weights.safetensors").manifest
    training = FOR_PREPROCESSED_IMAGES.training.settings()
    changed = {"epochs": 1, "batch": 5, "learning_rate": 0.5, "precision": "bf16"}
    assert manifest["training"] == json.loads(json.dumps(training | changed))
    assert manifest["architecture"] == TOPOLOGIES[10].settings() | {
        "filters": 1,
        "normalise": "image",
    }
    assert load_model(tmp_path / "out" / "network.onnx").side == 512
    assert (manifest["data"]["count"], manifest["validation"]["count"]) == (5, 10)
    assert manifest["seed"] == 7


def test_shrunk_images_are_section_4_3s_plain_resnet(toy, tmp_path):
    options = ("--architecture", 0, "--shrink-to", 224, "--epochs", 1, *CHEAP)
    result = run(toy, "--out", tmp_path / "out", *options)
    assert result.exception is None, result.output
    assert load_network(tmp_path / "out" / "weights.safetensors").network.shrink_to == 224


def test_a_file_without_splits_is_learned_from_whole_and_nothing_is_judged(tmp_path):
    path = write_labelled(tmp_path / "a.h5", np.arange(5), seed=1, side=512)
    options = ("--architecture", 9, "--epochs", 1, *CHEAP)
    result = run(path, "--out", tmp_path / "out", *options)
    assert result.exception is None, result.output
    assert "validation" not in result.stdout


@pytest.mark.slow
def test_fresh_shots_are_of_the_recipe_in_the_file(tmp_path):
    from deepfreak.datasets import generate
    from deepfreak.physics.recipe import load_recipe

    experiment = load_recipe(
        "diffranet",
        changes=[
            "crystal.mosaic_domains=3",
            "crystal.structure.cell=[20,22,24,90,90,90]",
            "crystal.structure.atoms_per_asu=60",
        ],
    )
    generate(experiment, count=4, seed=3, out=tmp_path / "a.h5")
    options = ("--architecture", 9, "--epochs", 1, *CHEAP, "--workers", 1)
    result = run(tmp_path / "a.h5", "--out", tmp_path / "out", "--fresh", 3, *options)
    assert result.exit_code == 2
    assert "a seed of its own, found the series 3" in result.stderr
    result = run(tmp_path / "a.h5", "--out", tmp_path / "out", "--fresh", 4, *options)
    assert result.exception is None, result.output
    data = load_network(tmp_path / "out" / "weights.safetensors").manifest["data"]
    assert (data["series"], data["images_per_epoch"]) == (4, 4)


def test_our_network_needs_no_truth_beside_the_class(toy, tmp_path):
    result = run(
        toy, "--out", tmp_path / "out", "--architecture", "compact",
        "--epochs", 1, "--batch", 5, "--device", "cpu",
    )  # fmt: skip
    assert result.exception is None, result.output
    assert "does not tell the crystals' volumes" in result.stderr
    manifest = load_network(tmp_path / "out" / "weights.safetensors").manifest
    assert manifest["architecture"] == Compact().settings()
    changed = {"epochs": 1, "batch": 5, "warmup_epochs": 0.25, "volume_weight": 0.0}
    assert manifest["training"] == json.loads(json.dumps(OURS.settings() | changed))


def test_a_folder_of_another_training_is_not_touched(toy, tmp_path):
    options = (toy, "--out", tmp_path / "out", "--architecture", 9, "--epochs", 1, *CHEAP)
    assert run(*options).exception is None
    refused = run(*options, "--seed", 1)
    assert isinstance(refused.exception, OutputError)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (("--architecture", "compact", "--split", "validation"), "two splits"),
        (("--architecture", "14"), "14"),
        (("--architecture", "compact", "--filters", 2), "leave it out"),
        (("--architecture", "compact", "--normalise", "image"), "--normalise is for"),
        (("--architecture", "compact", "--fresh", 1), "a file without one"),
        (("--architecture", "compact", "--trees", 9), "--trees does not go with --architecture"),
        (("--epochs", 9), "--epochs does not go with --classifier forest"),
    ],
)
def test_what_makes_no_sense_is_told_before_anything_is_written(toy, tmp_path, wrong, said):
    result = run(toy, "--out", tmp_path / "out", *wrong)
    assert result.exit_code == 2
    assert said in result.stderr
    assert not (tmp_path / "out").exists()
