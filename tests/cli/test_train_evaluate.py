import json

import numpy as np
import pytest

from deepfreak.cli import main
from deepfreak.models import load_model
from tests.labelled import write_labelled


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("train")
    write_labelled(folder / "train.h5", np.arange(50) % 5, seed=1)
    write_labelled(folder / "test.h5", np.arange(25) % 5, seed=2)
    code = main(["train", *map(str, (folder / "train.h5", "--out", folder / "m.skops"))])
    assert code == 0
    return folder


def test_a_trained_model_is_evaluated_with_page_and_summary(folder, tmp_path, capsys):
    page, summary = tmp_path / "r.html", tmp_path / "r.json"
    arguments = [folder / "m.skops", folder / "test.h5", "--report", page, "--json", summary]
    assert main(["evaluate", *map(str, arguments)]) == 0
    said = capsys.readouterr()
    assert "Predicted class" in said.out
    assert "crystal against no crystal (%)" in said.out
    assert "glcm+forest" in said.err
    values = json.loads(summary.read_text())
    assert values["count"] == 25
    assert values["accuracy"]["value"] > 0.7
    assert "<svg" in page.read_text()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["r.html", "r.json"]


def test_the_model_file_records_the_command_and_nothing_of_the_machine(folder):
    manifest = load_model(folder / "m.skops").manifest
    assert manifest["command"] == (
        "deepfreak train train.h5 --out m.skops --extractor glcm --distances 1,2,5,8 "
        "--angles 45,135 --trees 100 --max-depth 20 --max-features sqrt --class-weight none "
        "--seed 0"
    )
    assert str(folder) not in json.dumps(manifest)


def test_every_setting_reaches_the_model(folder, tmp_path):
    out = tmp_path / "m.skops"
    options = (
        "--distances 1,3 --angles 0,22.5 --trees 7 --max-depth none --max-features 0.5 "
        "--class-weight balanced --seed 9 --workers 2"
    )
    assert main(["train", str(folder / "train.h5"), "--out", str(out), *options.split()]) == 0
    manifest = load_model(out).manifest
    assert manifest["extractor"] == {
        "extractor": "glcm",
        "distances": [1, 3],
        "angles_deg": [0.0, 22.5],
    }
    assert manifest["forest"] == {
        "trees": 7,
        "max_depth": None,
        "max_features": 0.5,
        "class_weight": "balanced",
        "seed": 9,
    }


def test_existing_outputs_are_refused_before_the_work(folder, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("deepfreak.models.train_forest", None)
    monkeypatch.setattr("deepfreak.evaluation.evaluate", None)
    taken = tmp_path / "taken"
    taken.write_text("mine")
    data = str(folder / "train.h5")
    assert main(["train", data, "--out", str(taken)]) == 1
    assert main(["evaluate", str(folder / "m.skops"), data, "--report", str(taken)]) == 1
    assert main(["evaluate", str(folder / "m.skops"), data, "--json", str(taken)]) == 1
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 3
    assert all("--overwrite" in line for line in lines)
    assert taken.read_text() == "mine"


@pytest.mark.parametrize(
    "options",
    [
        ["--distances", "1,x"],
        ["--distances", "0"],
        ["--distances", "1.5"],
        ["--angles", ""],
        ["--angles", "nan"],
        ["--trees", "0"],
        ["--max-depth", "deep"],
        ["--max-depth", "0"],
        ["--max-features", "2"],
        ["--max-features", "nan"],
        ["--class-weight", "heavy"],
        ["--seed", "-1"],
        ["--workers", "0"],
        ["--extractor", "lbp"],
    ],
)
def test_impossible_settings_are_one_line_and_exit_2(folder, tmp_path, capsys, options):
    arguments = [str(folder / "train.h5"), "--out", str(tmp_path / "m.skops"), *options]
    assert main(["train", *arguments]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1
    assert not list(tmp_path.iterdir())


def test_bad_files_are_one_line_and_exit_2(folder, tmp_path, capsys):
    text = tmp_path / "text.h5"
    text.write_text("no data set")
    few = write_labelled(tmp_path / "few.h5", [0, 1, 2], side=32)
    model, out = str(folder / "m.skops"), str(tmp_path / "m.skops")
    for arguments in (
        ["train", str(text), "--out", out],
        ["train", str(tmp_path / "none.h5"), "--out", out],
        ["train", str(few), "--out", out],
        ["evaluate", str(text), str(few)],
        ["evaluate", str(tmp_path / "none.skops"), str(few)],
    ):
        assert main(arguments) == 2, arguments
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith("deepfreak: ")
    assert main(["evaluate", model, str(text)]) == 2
    _, line = capsys.readouterr().err.splitlines()
    assert "text.h5" in line
    assert not (tmp_path / "m.skops").exists()
