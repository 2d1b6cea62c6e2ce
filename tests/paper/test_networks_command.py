import json
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

from paper.__main__ import main
from tests.labelled import write_labelled


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
    write_labelled(path, np.arange(30) % 5, seed=1, side=512)
    with h5py.File(path, "a") as file:
        splits = file.create_group("splits").attrs
        splits["train"], splits["validation"], splits["test"] = (0, 20), (20, 5), (25, 5)
    return path


@pytest.mark.slow
def test_the_record_has_tables_and_curves_and_says_its_scale_first(toy, tmp_path, capsys):
    arguments = ["networks", str(toy), "--out", str(tmp_path / "records")]
    arguments += ["--work", str(tmp_path / "work"), "--cache", str(tmp_path / "cache")]
    arguments += ["--filters", "1", "--epochs", "1", "--our-epochs", "1", "--runs", "2"]
    arguments += ["--device", "cpu"]
    assert main(arguments) == 0
    place = Path(capsys.readouterr().out.strip())
    assert place.name.endswith("-networks")
    assert (place / "README.md").read_text().splitlines()[2].startswith("REDUCED SCALE")
    command = json.loads((place / "record.json").read_text())["made_by"]["command"]
    assert command == (
        "python -m paper networks toy.h5 --scale cpu --epochs 1 --our-epochs 1 --runs 2 "
        "--filters 1 --device cpu"
    )
    assert (place / "record.html").read_text().count("<svg") == 3


def test_a_data_set_without_splits_is_refused(tmp_path, capsys):
    path = write_labelled(tmp_path / "toy.h5", np.arange(10) % 5, side=64)
    assert main(["networks", str(path), "--work", str(tmp_path / "work")]) == 2
    assert "has no split train" in capsys.readouterr().err
    assert not (tmp_path / "work").exists()


def test_a_search_that_has_not_ended_is_told_before_any_training(toy, tmp_path, capsys):
    arguments = ["networks", str(toy), "--work", str(tmp_path / "work")]
    assert main([*arguments, "--search", str(tmp_path)]) == 2
    assert "let the search end first" in capsys.readouterr().err
    assert not (tmp_path / "work").exists()


@pytest.mark.parametrize(
    ("option", "said"),
    [
        (("--networks", "B,D"), "networks"),
        (("--set", "x=1", "--simulate", "0"), "recipe"),
    ],
)
def test_a_wrong_option_is_told_before_any_work(toy, tmp_path, capsys, option, said):
    arguments = ["networks", str(toy), "--work", str(tmp_path / "work")]
    assert main([*arguments, *option]) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "work").exists()
