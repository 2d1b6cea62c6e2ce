"""`deepfreak model train`: from a table to a model that decides."""

import json
import shutil

import h5py
import numpy as np
import pytest

from deepfreak.cli import main
from deepfreak.models import load_model
from deepfreak.screening.calibration import calibration_path
from deepfreak.screening.policy import find_policy
from deepfreak.screening.screener import Screener
from tests.evidence_models import hit, made_table, miss
from tests.labelled import write_labelled

FAMILIES = ("ccd", "counter", "pnccd")


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """Return a file of evidence of 100 made frames, of three families in name."""
    path, made = tmp_path_factory.mktemp("table") / "t.h5", made_table()
    with h5py.File(path, "w") as file:
        file["numbers"] = made.numbers
        file["numbers"].attrs["names"] = made.names
        text = h5py.string_dtype()
        # blocks of four have hits and misses of each kind
        families = [FAMILIES[index // 4 % 3] for index in range(len(made))]
        file.create_dataset("family", data=families, dtype=text)
        file.create_dataset("kind", data=made.kind.tolist(), dtype=text)
        for name in ("label", "visible", "zingers"):
            file[name] = getattr(made, name)
        file.attrs["manifest"] = json.dumps({"seed": 9})
    return path


@pytest.fixture(scope="module")
def trained(table, tmp_path_factory):
    out = tmp_path_factory.mktemp("model") / "made.evidence"
    assert main(["model", "train", str(table), "--out", str(out)]) == 0
    return out


def test_the_model_and_its_scores_decide(trained):
    model = load_model(trained)
    policy, scores = find_policy(
        model, model=trained, min_hit_recall=0.9, max_empty_kept=0.1
    )  # the limit that 50 hits and 50 misses can prove
    assert scores.model == model.name
    assert (scores.hits, scores.empties) == (50, 50)
    assert scores.simulated
    screener = Screener(model, policy)
    rng = np.random.default_rng(5)
    crystal, empty = screener(hit(rng)), screener(miss(rng))
    assert crystal.p_crystal > 0.8
    assert empty.p_crystal < 0.2
    assert crystal.label == "diffraction"
    assert empty.label == "no-diffraction"
    assert crystal.decision != "discard"
    assert empty.decision != "keep"


def test_it_tells_transfer_and_where_it_comes_from(table, tmp_path, trained, capsys):
    out = tmp_path / "again.evidence"
    assert main(["model", "train", str(table), "--out", str(out)]) == 0
    said = capsys.readouterr().out
    for family in (*FAMILIES, "all"):
        assert sum(line.startswith(f"{family} ") for line in said.splitlines()) == 1
    model = load_model(out)
    assert f"{out}: {model.name}, 100 frames" in said
    assert model.fingerprint() == load_model(trained).fingerprint()
    assert model.manifest["table"] == {"seed": 9}
    assert "model train t.h5 --seed 0" in model.manifest["command"]


def test_what_is_there_is_replaced_only_when_asked(table, trained, tmp_path, capsys):
    for path in (trained, calibration_path(trained)):
        shutil.copy(path, tmp_path)
    trained = tmp_path / trained.name
    before, scores = trained.read_bytes(), calibration_path(trained).read_bytes()
    assert main(["model", "train", str(table), "--out", str(trained)]) == 1
    assert "--overwrite" in capsys.readouterr().err
    assert trained.read_bytes() == before
    command = ["model", "train", str(table), "--seed", "1", "--out", str(trained), "--overwrite"]
    assert main(command) == 0
    assert load_model(trained).manifest["command"].endswith("--seed 1")
    assert calibration_path(trained).read_bytes() != scores


@pytest.mark.parametrize("name", ["missing.h5", "images.h5", "text.h5"])
def test_what_is_no_table_is_one_line(tmp_path, name, capsys):
    write_labelled(tmp_path / "images.h5", [0, 1])
    (tmp_path / "text.h5").write_text("nothing")
    out = tmp_path / "model.evidence"
    assert main(["model", "train", str(tmp_path / name), "--out", str(out)]) == 2
    line = capsys.readouterr().err.strip().splitlines()[-1]
    assert line.startswith("deepfreak: ")
    assert not out.exists()
    assert not calibration_path(out).exists()


def test_options_of_other_models_are_rejected(table, tmp_path, capsys):
    out = tmp_path / "model.evidence"
    assert main(["model", "train", str(table), "--out", str(out), "--split", "test"]) == 2
    assert "--split does not go with a table of evidence" in capsys.readouterr().err
    assert not out.exists()
