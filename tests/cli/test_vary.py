"""`deepfreak vary`, and a network that learns from what it made."""

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from deepfreak.cli import main
from deepfreak.cli.fit import fit
from deepfreak.cli.vary import vary
from deepfreak.dataset import Dataset
from deepfreak.networks import load_network
from tests.labelled import write_labelled


@pytest.fixture(scope="module")
def varied(tmp_path_factory):
    out = tmp_path_factory.mktemp("vary") / "varied.h5"
    return out, CliRunner().invoke(vary, ["--count", "4", "--seed", "7", "--out", str(out)])


@pytest.fixture
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def test_it_writes_a_data_set_and_says_what_is_in_it(varied):
    out, result = varied
    assert result.exit_code == 0, result.output
    with Dataset.open(out) as data:
        found = np.bincount(data.labels, minlength=2)
        assert data.images.shape == (4, 512, 512)
    assert f"4 images ({found[0]} no-diffraction, {found[1]} diffraction)" in result.output


def test_show_draws_it(varied, tmp_path):
    assert main(["show", str(varied[0]), "--report", str(tmp_path / "page.html")]) == 0
    assert "no-diffraction" in (tmp_path / "page.html").read_text(encoding="utf-8")


def test_a_file_that_is_there_is_not_overwritten(varied, capsys):
    assert main(["vary", "--count", "4", "--out", str(varied[0])]) != 0
    assert "--overwrite" in capsys.readouterr().err


@pytest.mark.usefixtures("one_thread")
def test_a_network_is_fitted_to_both(varied, tmp_path):
    known = write_labelled(tmp_path / "known.h5", np.arange(10) % 5, side=512)
    out = tmp_path / "net"
    options = ["--also", varied[0], "--epochs", 1, "--batch", 4, "--out", out, "--device", "cpu"]
    result = CliRunner().invoke(fit, [str(known), *map(str, options)])
    assert result.exit_code == 0, result.output
    assert "images 14 an epoch" in result.output
    manifest = load_network(out / "weights.safetensors").manifest
    assert [further["count"] for further in manifest["data"]["also"]] == [4]
    assert len(manifest["classes"]) == 5


def test_fresh_shots_are_not_mixed(varied, tmp_path):
    options = ["--fresh", 1, "--also", varied[0], "--out", tmp_path / "net"]
    result = CliRunner().invoke(fit, [str(varied[0]), *map(str, options)])
    assert result.exit_code == 2
    assert "leave --fresh out" in result.output
