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
    code = main(["model", "train", *map(str, (folder / "train.h5", "--out", folder / "m.model"))])
    assert code == 0
    return folder


def test_a_trained_model_is_evaluated_with_page_and_summary(folder, tmp_path, capsys):
    page, summary = tmp_path / "r.html", tmp_path / "r.json"
    arguments = [folder / "m.model", folder / "test.h5", "--report", page, "--json", summary]
    assert main(["model", "evaluate", *map(str, arguments)]) == 0
    said = capsys.readouterr()
    assert "Predicted class" in said.out
    assert "crystal against no crystal (%)" in said.out
    assert "diffraction+forest" in said.err
    values = json.loads(summary.read_text())
    assert values["count"] == 25
    assert values["accuracy"]["value"] > 0.7
    assert "<svg" in page.read_text()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["r.html", "r.json"]


def test_the_model_file_records_the_command_and_nothing_of_the_machine(folder):
    manifest = load_model(folder / "m.model").manifest
    assert manifest["command"] == (
        "deepfreak model train train.h5 --out m.model --extractor diffraction --classifier forest "
        "--trees 100 --max-depth 20 --max-features sqrt --class-weight none --seed 0"
    )
    assert str(folder) not in json.dumps(manifest)


def test_every_setting_reaches_the_model(folder, tmp_path):
    out = tmp_path / "m.model"
    options = (
        "--extractor glcm --distances 1,3 --angles 0,22.5 --trees 7 --max-depth none "
        "--max-features 0.5 --class-weight balanced --seed 9 --workers 2"
    )
    assert (
        main(["model", "train", str(folder / "train.h5"), "--out", str(out), *options.split()]) == 0
    )
    manifest = load_model(out).manifest
    assert manifest["extractor"] == {
        "extractor": "glcm",
        "distances": [1, 3],
        "angles_deg": [0.0, 22.5],
    }
    assert manifest["classifier"] == {
        "classifier": "forest",
        "trees": 7,
        "max_depth": None,
        "max_features": 0.5,
        "class_weight": "balanced",
    }
    assert manifest["seed"] == 9


def test_an_svm_on_patterns_is_trained_and_evaluated(folder, tmp_path, capsys):
    out = tmp_path / "m.model"
    options = (
        "--extractor lbp --points 8 --radius 1 --classifier svm --C 0.03125 --gamma 0 "
        "--class-weight 0.35,0.35,0.1,0.1,0.1"
    )
    assert (
        main(["model", "train", str(folder / "train.h5"), "--out", str(out), *options.split()]) == 0
    )
    assert "accuracy cross-validated" in capsys.readouterr().out
    manifest = load_model(out).manifest
    assert manifest["extractor"] == {"extractor": "lbp", "points": 8, "radius": 1.0}
    assert manifest["classifier"] == {
        "classifier": "svm",
        "C": 0.03125,
        "gamma": 0.0,
        "class_weight": [0.35, 0.35, 0.1, 0.1, 0.1],
    }
    assert f" {options} " in manifest["command"]
    assert main(["model", "evaluate", str(out), str(folder / "test.h5")]) == 0
    assert "lbp+svm" in capsys.readouterr().err


def test_visual_words_are_learned_with_the_model(folder, tmp_path):
    out = tmp_path / "m.model"
    options = "--extractor sift --clusters 4 --contrast-threshold 0.005 --trees 5"
    assert (
        main(["model", "train", str(folder / "train.h5"), "--out", str(out), *options.split()]) == 0
    )
    assert load_model(out).extractor.arrays()["codebook"].shape == (4, 128)
    command = ["model", "train", str(folder / "train.h5"), "--out", str(tmp_path / "n.model")]
    assert main([*command, "--extractor", "sift", "--clusters", "5000"]) == 2


def test_the_recorded_command_makes_the_same_model(folder, tmp_path, monkeypatch):
    monkeypatch.chdir(folder)
    options = "--extractor lbp --radius 1.5 --trees 3 --class-weight 0.1,0.2,0.3,0.2,0.2 --groups"
    assert (
        main(["model", "train", "train.h5", "--out", str(tmp_path / "m.model"), *options.split()])
        == 0
    )
    first = load_model(tmp_path / "m.model")
    (tmp_path / "m.model").unlink()
    monkeypatch.chdir(tmp_path)
    (tmp_path / "train.h5").symlink_to(folder / "train.h5")
    assert main(first.manifest["command"].split()[1:]) == 0
    assert load_model(tmp_path / "m.model").name == first.name
    assert first.classes == ("no-diffraction", "diffraction")


def test_images_of_two_classes_are_judged_by_a_model_of_five(folder, tmp_path, capsys):
    classes = ("no-diffraction", "diffraction")
    path = write_labelled(tmp_path / "real.h5", [0, 1, 1, 0], classes=classes)
    summary = tmp_path / "r.json"
    assert (
        main(["model", "evaluate", str(folder / "m.model"), str(path), "--json", str(summary)]) == 0
    )
    assert "grouped from: blank, no-crystal, weak, good, strong" in capsys.readouterr().out
    assert json.loads(summary.read_text())["classes"] == list(classes)


def test_importance_is_shown_on_the_page_and_stands_in_the_summary(folder, tmp_path, capsys):
    page, summary = tmp_path / "r.html", tmp_path / "r.json"
    arguments = [folder / "m.model", folder / "test.h5", "--report", page, "--json", summary]
    assert main(["model", "evaluate", *map(str, arguments), "--importance"]) == 0
    importance = json.loads(summary.read_text())["importance"]
    assert importance["images"] == 25
    assert len(importance["features"]) == 42
    assert {"excess", "pixels", "peaks"} <= {kind["name"] for kind in importance["kinds"]}
    text = page.read_text()
    assert "Which kinds of features" in text
    assert importance["features"][0]["name"] in text
    assert (
        main(
            ["model", "evaluate", str(folder / "m.model"), str(folder / "test.h5"), "--importance"]
        )
        == 2
    )
    assert "add --report or --json" in capsys.readouterr().err


def test_existing_outputs_are_refused_before_the_work(folder, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("deepfreak.models.train", None)
    monkeypatch.setattr("deepfreak.models.evaluation.evaluate", None)
    taken = tmp_path / "taken"
    taken.write_text("mine")
    data = str(folder / "train.h5")
    assert main(["model", "train", data, "--out", str(taken)]) == 1
    assert main(["model", "evaluate", str(folder / "m.model"), data, "--report", str(taken)]) == 1
    assert main(["model", "evaluate", str(folder / "m.model"), data, "--json", str(taken)]) == 1
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
        ["--extractor", "fourier"],
        ["--classifier", "net"],
        ["--extractor", "lbp", "--points", "0"],
        ["--extractor", "lbp", "--radius", "nan"],
        ["--extractor", "sift", "--clusters", "1"],
        ["--classifier", "svm", "--C", "0"],
        ["--classifier", "svm", "--gamma", "inf"],
        ["--class-weight", "0.1,-0.2,0.3,0.2,0.2"],
        ["--class-weight", "0.5,0.5"],
        # an option of another classifier is refused
        ["--points", "8"],
        ["--clusters", "100"],
        ["--C", "32"],
        ["--extractor", "lbp", "--distances", "1"],
        ["--classifier", "svm", "--trees", "100"],
    ],
)
def test_impossible_settings_are_one_line_and_exit_2(folder, tmp_path, capsys, options):
    arguments = [str(folder / "train.h5"), "--out", str(tmp_path / "m.model"), *options]
    assert main(["model", "train", *arguments]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1
    assert not list(tmp_path.iterdir())


def test_bad_files_are_one_line_and_exit_2(folder, tmp_path, capsys):
    text = tmp_path / "text.h5"
    text.write_text("no data set")
    few = write_labelled(tmp_path / "few.h5", [0, 1, 2], side=32)
    model, out = str(folder / "m.model"), str(tmp_path / "m.model")
    for arguments in (
        ["model", "train", str(text), "--out", out],
        ["model", "train", str(tmp_path / "none.h5"), "--out", out],
        ["model", "train", str(few), "--out", out],
        ["model", "evaluate", str(text), str(few)],
        ["model", "evaluate", str(tmp_path / "none.model"), str(few)],
    ):
        assert main(arguments) == 2, arguments
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith("deepfreak: ")
    assert main(["model", "evaluate", model, str(text)]) == 2
    _, line = capsys.readouterr().err.splitlines()
    assert "text.h5" in line
    assert not (tmp_path / "m.model").exists()
