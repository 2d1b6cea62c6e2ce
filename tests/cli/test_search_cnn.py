import json
from importlib import resources

import h5py
import numpy as np
import pytest
import torch
from click.testing import CliRunner

from deepfreak.cli.model.search import search
from tests.labelled import write_labelled

CHEAP = ("--filters", 1, "--iterations", 1, "--max-epochs", 1, "--device", "cpu")


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """Small sums are quicker on one thread."""
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
        splits["train"], splits["validation"] = (0, 12), (12, 8)
    return path


def run(*arguments):
    return CliRunner().invoke(search, ["cnn", *map(str, arguments)])


def test_a_search_leaves_its_journal_results_page_and_networks(toy, tmp_path):
    out = tmp_path / "out"
    options = ("--out", out, *CHEAP, "--images", 6, "--seed", 4, "--normalise", "image")
    cut = run(toy, *options, "--time-limit", 0)
    assert cut.exception is None, cut.output
    assert "broken off" in cut.stdout
    result = run(toy, *options)
    assert result.exception is None, result.output
    assert "1 of 1: " in result.stderr
    assert f"{out}: all 1 of 1 trainings, 0 failed; 1 epochs" in result.stdout
    found = json.loads((out / "results.json").read_text())
    assert found["plan"]["normalise"] == "image"
    assert found["purpose"]["train"]["count"] == found["purpose"]["judged"]["count"] == 6
    assert found["best"][0]["accuracy"]["total"] == 6
    assert (out / "journal.log").exists()
    assert (out / "report.html").exists()
    assert len(list((out / "networks").iterdir())) == 1


def test_a_recipes_images_are_simulated_in_memory(tmp_path):
    # few reflections and domains, so that an image takes some milliseconds
    recipe = resources.files("deepfreak.recipes").joinpath("diffranet.toml").read_text()
    for usual, small in (
        ("[133.25, 226.26, 307.09,", "[20, 22, 24,"),
        ("atoms_per_asu = 50000", "atoms_per_asu = 60"),
        ("mosaic_domains = 300", "mosaic_domains = 3"),
    ):
        assert usual in recipe
        recipe = recipe.replace(usual, small)
    (tmp_path / "tiny.toml").write_text(recipe)
    options = ("--out", tmp_path / "out", *CHEAP, "--simulate", 2, "--workers", 1)
    result = run(tmp_path / "tiny.toml", *options, "--images", 12)
    assert result.exception is None, result.output
    found = json.loads((tmp_path / "out" / "results.json").read_text())
    assert found["purpose"]["train"]["name"] == "diffranet in memory"
    assert found["purpose"]["train"]["count"] == found["purpose"]["judged"]["count"] == 12


@pytest.mark.parametrize(
    "wrong", [("--iterations", "0"), ("--eta", "1.5"), ("--space", "table 8"), ("--images", "0")]
)
def test_options_out_of_range_are_refused(tmp_path, wrong):
    result = run("a.h5", "--out", tmp_path / "out", *wrong)
    assert result.exit_code == 2
    assert wrong[0] in result.stderr
