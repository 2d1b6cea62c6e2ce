"""`--split` of train and evaluate: only that part of the data set is used."""

from pathlib import Path

import h5py
import numpy as np
import pytest

from deepfreak.cli import main
from deepfreak.models import load_model
from tests.labelled import write_labelled


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Return 60 images in the splits train and test."""
    path = write_labelled(tmp_path / "data.h5", np.arange(60) % 5, seed=1)
    with h5py.File(path, "r+") as file:
        splits = file.create_group("splits")
        splits.attrs["train"], splits.attrs["test"] = (0, 40), (40, 20)
    return path


def test_a_model_learns_and_is_judged_by_split(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    model = tmp_path / "m.model"
    assert (
        main(["model", "train", str(data), "--split", "train", "--trees", "9", "--out", str(model)])
        == 0
    )
    manifest = load_model(model).manifest
    assert manifest["data"]["count"] == 40
    assert manifest["data"]["manifest"]["split"]["name"] == "train"
    assert manifest["command"].endswith("--split train")
    capsys.readouterr()
    assert main(["model", "evaluate", str(model), str(data), "--split", "test"]) == 0
    assert "20 images" in capsys.readouterr().out


def test_an_unknown_split_is_one_line(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    out = str(tmp_path / "m.model")
    assert main(["model", "train", str(data), "--split", "valid", "--out", out]) == 2
    assert "no split valid, but: train, test" in capsys.readouterr().err
