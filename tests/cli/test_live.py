"""The commands of live screening: what they refuse, and a run each."""

import json
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
from PIL import Image

from deepfreak.cli import main
from deepfreak.cli.sessions import RateLimitedEcho
from deepfreak.formats import read_frames
from deepfreak.live.results.ledger import open_ledger
from deepfreak.models import load_model
from deepfreak.networks.export import export_onnx
from deepfreak.screening.calibration import (
    calibration_path,
    read_calibration,
    write_calibration,
)
from tests.evidence_models import hit, made_table, save_made_model
from tests.live.sessions import made_scores
from tests.unit.networks.served import SMALL, model_of


@pytest.fixture(scope="module")
def scores(tmp_path_factory):
    return str(made_scores(tmp_path_factory.mktemp("scores") / "scores.json"))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--dashboard", "0.0.0.0:0"], "expected a token for a server on '0.0.0.0'"),
        (["--dashboard", "127.0.0.1"], "expected --dashboard HOST:PORT"),
        (["--dashboard", "127.0.0.1:0", "--raster", "20"], "expected --raster ROWSxCOLUMNS"),
        (["--min-hit-recall", "0.99999"], "takes at least 299572 labelled hits to prove"),
        (["--scores", "none.json"], "no file none.json"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(tmp_path, scores, capsys, options, said):
    command = ["listen", "tcp://127.0.0.1:1", "--out", str(tmp_path / "out"), "--workers", "1"]
    assert main([*command, "--model", "diffranet", "--scores", scores, *options]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1


def test_an_address_that_is_none_is_refused(tmp_path, scores, capsys):
    command = ["listen", "detector", "--out", str(tmp_path / "out"), "--workers", "1"]
    assert main([*command, "--model", "diffranet", "--scores", scores]) == 2
    assert "expected an address such as tcp://HOST:31001" in capsys.readouterr().err


def test_a_folder_that_is_not_there_is_refused(tmp_path, scores, capsys):
    command = ["watch", str(tmp_path / "none"), "--out", str(tmp_path / "out"), "--workers", "1"]
    assert main([*command, "--model", "diffranet", "--scores", scores]) == 2
    assert "none' does not exist" in capsys.readouterr().err


def test_watching_a_folder_judges_what_is_there_and_goes_on(tmp_path, scores, capsys):
    shots = tmp_path / "shots"
    simulate = [
        "data",
        "simulate",
        "diffranet",
        "--count",
        "3",
        "--format",
        "cbf",
        "--out",
        str(shots),
    ]
    assert main(simulate) == 0
    out = tmp_path / "out"
    command = [
        "watch",
        str(shots),
        "--out",
        str(out),
        "--workers",
        "1",
        "--model",
        "diffranet",
        "--scores",
        scores,
    ]
    for _ in range(2):
        assert main([*command, "--until-idle", "1"]) == 0
        assert "recorded 3 " in capsys.readouterr().out
    assert len((out / "verdicts.jsonl").read_text().splitlines()) == 3
    assert main(["live", "missing", str(out), "--json"]) == 0
    account = json.loads(capsys.readouterr().out)
    assert (account["recorded"], account["missed"]) == (3, 0)
    assert len(account["series"]) == 3


@pytest.fixture
def network(tmp_path):
    """An untrained network, unsure about everything, with simulated scores beside it."""
    path = tmp_path / "own.onnx"
    export_onnx(model_of(SMALL, side=512), path)
    made_scores(calibration_path(path), path)
    return path


@pytest.fixture
def hot_pixels(tmp_path):
    """A folder with a dark frame with hot pixels."""
    rng = np.random.default_rng(0)
    counts = np.zeros((1024, 1024), np.uint16)
    counts[tuple(rng.integers(0, 1024, (2, 18)))] = rng.integers(100, 3000, 18)
    folder = tmp_path / "frames"
    folder.mkdir()
    Image.fromarray(counts).save(folder / "dark.tif")
    return folder


def watched(folder, out, *options):
    return main(
        [
            *("watch", str(folder), "--out", str(out), "--workers", "1", "--until-idle", "1"),
            *options,
        ]
    )


def test_without_scores_of_this_detector_a_doubtful_frame_is_unsure_and_saved(
    tmp_path, hot_pixels, network, capsys
):
    out = tmp_path / "out"
    assert watched(hot_pixels, out, "--model", str(network), "--hits", "nxmx") == 0
    said = capsys.readouterr()
    assert "recorded 1 (1 unsure)" in said.out
    summary = json.loads((out / "summary.json").read_text())
    for told in (said.err, summary["policy"]["promise"]):
        assert "not on this detector" in told
        assert "give --scores FILE" in told
    assert json.loads((out / "verdicts.jsonl").read_text())["decision"] == "unsure"
    assert (out / "hits.lst").read_text() == ""
    copy = out / "unsure" / "hits-00001.h5"
    assert (out / "unsure.lst").read_text() == f"{copy} //0\n"
    (frame,) = read_frames(copy)
    assert frame.counts.max() >= 100
    assert list((out / "hits").glob("*.h5")) == []


def test_a_session_of_before_goes_on_with_thresholds_that_discard_less(
    tmp_path, hot_pixels, network, capsys
):
    out = tmp_path / "out"
    model = load_model(network)
    scores = str(made_scores(tmp_path / "own.json", network))
    about = {
        "model": model.name,
        "classes": list(model.classes),
        "discard below": 0.9241418199787564,
        "keep from": 0.9241418199787564,
    }
    out.mkdir()
    with open_ledger(out / "ledger.sqlite", about):
        pass
    for already in (False, True):
        assert watched(hot_pixels, out, "--model", str(network)) == 0
        said = capsys.readouterr()
        assert "recorded 1 (1 unsure)" in said.out
        assert ("discard below 0.924, now 0.0293" in said.err) != already
    # its own thresholds discard more: that is another session
    assert watched(hot_pixels, out, "--model", str(network), "--scores", scores) == 2
    assert "its discard below is 0.029" in capsys.readouterr().err


@pytest.mark.parametrize("simulated", [True, False])
def test_scores_beside_a_model_are_of_the_detector_if_measured(
    tmp_path, hot_pixels, network, capsys, simulated
):
    made = made_scores(calibration_path(network), network)
    beside = read_calibration(made, model=load_model(network).name)
    write_calibration(
        replace(beside, simulated=simulated), calibration_path(network), overwrite=True
    )
    assert watched(hot_pixels, tmp_path / "out", "--model", str(network)) == 0
    said = capsys.readouterr()
    assert ("not on this detector" in said.err) == simulated
    assert ("1 unsure" in said.out) == simulated


@pytest.fixture
def spotted(tmp_path):
    """A folder with frames of 25 spots, of 7, and of none, and a model of evidence."""
    folder, rng = tmp_path / "frames", np.random.default_rng(5)
    folder.mkdir()
    for name, number in (("a-hit", 25), ("b-few", 7)):
        counts = hit(rng, spots_=number, shape=(400, 900)).counts.astype(np.uint16)
        Image.fromarray(counts).save(folder / f"{name}.tif")
    noise = np.random.default_rng(1).poisson(2.0, (400, 900)).astype(np.uint16)
    Image.fromarray(noise).save(folder / "c-none.tif")
    return folder, save_made_model(tmp_path)


def test_watch_decides_by_evidence_as_classify_does_and_says_why(tmp_path, spotted, capsys):
    (folder, model), out = spotted, tmp_path / "out"
    assert watched(folder, out, "--model", str(model), "--hits", "nxmx") == 0
    assert "recorded 3 (1 keep, 1 discard, 1 unsure)" in capsys.readouterr().out
    lines = (out / "verdicts.jsonl").read_text().splitlines()
    rows = {Path(row["series"]).stem: row for row in map(json.loads, lines)}
    assert {name: row["decision"] for name, row in rows.items()} == {
        "a-hit": "keep", "b-few": "unsure", "c-none": "discard",
    }  # fmt: skip
    assert main(["classify", str(folder), "--model", str(model), "--format", "jsonl"]) == 0
    for record in map(json.loads, capsys.readouterr().out.splitlines()):
        row = rows[Path(record["file"]).stem]
        for key in ("decision", "label", "p_crystal", "reasons", "signs"):
            assert record[key] == row[key]
    with h5py.File(out / "hits" / "hits-00001.h5") as file:
        count = int(file["entry/deepfreak/nPeaks"][0])
        fast = file["entry/deepfreak/peakXPosRaw"][0, :count]
    assert count == rows["a-hit"]["signs"]["peaks"]
    assert fast.max() > 800  # in pixels of the frame, over its whole width


def test_a_table_of_evidence_is_scored_in_seconds(tmp_path, spotted, capsys):
    _, model = spotted
    table, path = made_table(seed=2, count=40), tmp_path / "t.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset("numbers", data=table.numbers).attrs["names"] = list(table.names)
        file["label"] = np.where(np.arange(40) < 4, -1, table.label).astype(np.int8)
        file.create_dataset("family", data=["a", "b"] * 20, dtype=h5py.string_dtype())
        file["visible"] = table.visible
        file["zingers"] = table.zingers
        file.create_dataset("kind", data=list(table.kind), dtype=h5py.string_dtype())
    out = tmp_path / "scores.json"
    assert main(["model", "calibrate", str(model), str(path), "--out", str(out)]) == 0
    assert "18 hits, 18 frames without" in capsys.readouterr().out
    found = read_calibration(out, model=load_model(model).name)
    assert (found.simulated, found.kind) == (True, "evidence")
    assert found.data == "t.h5, detectors a, b"
    p_crystal = load_model(model).p_crystal(table.names, table.numbers[4:])
    hits = p_crystal[table.label[4:] == 1]
    assert found.hits_below[len(found.hits_below) // 2] == (hits < 0.5).sum()
    assert (
        main(["model", "calibrate", "diffranet", str(path), "--out", str(tmp_path / "n.json")]) == 2
    )
    assert "expected images" in capsys.readouterr().err


def test_labelled_frames_are_scored_as_they_are_measured(tmp_path, spotted, capsys):
    folder, model = spotted
    (folder / "d-broken.tif").write_bytes(b"II*")
    labels = tmp_path / "labels.csv"
    labels.write_text("file,label\na-hit.tif,1\nb-few.tif,diffraction\nc-none.tif,0\n")
    out = tmp_path / "scores.json"
    command = [
        "model",
        "calibrate",
        str(model),
        str(folder),
        "--labels",
        str(labels),
        "--out",
        str(out),
    ]
    assert main(command) == 0
    said = capsys.readouterr()
    assert "2 hits, 1 frames without" in said.out
    assert "left out" in said.err
    found = read_calibration(out, model=load_model(model).name)
    assert (found.simulated, found.kind, found.data) == (False, "evidence", "labels.csv")
    labels.write_text("file,label\na-hit.tif,1\n")
    assert main([*command, "--overwrite"]) == 2
    assert "expected a label for frame 0" in capsys.readouterr().err


def test_the_beam_of_a_recipe_is_judged(tmp_path, scores, capsys):
    command = ["live", "beam", "diffranet", "--count", "4", "--out", str(tmp_path / "out")]
    assert main([*command, "--workers", "1", "--model", "diffranet", "--scores", scores]) == 0
    assert "received 4, recorded 4" in capsys.readouterr().out
    rows = [json.loads(row) for row in (tmp_path / "out/verdicts.jsonl").read_text().splitlines()]
    assert [row["number"] for row in rows] == [0, 1, 2, 3]
    assert all(row["truth"]["label"] for row in rows)


def test_nobody_listens_to_a_replay(capsys):
    command = ["live", "replay", "diffranet", "--bind", "tcp://127.0.0.1:*", "--count", "1"]
    assert main([*command, "--wait", "0.2", "--workers", "1"]) == 1
    assert "no listener at" in capsys.readouterr().err


def test_scores_are_those_of_the_images(tmp_path, capsys):
    data = tmp_path / "data.h5"
    assert (
        main(["data", "generate", "diffranet", "--count", "12", "--seed", "5", "--out", str(data)])
        == 0
    )
    out = tmp_path / "scores.json"
    assert main(["model", "calibrate", "diffranet", str(data), "--out", str(out)]) == 0
    assert "--min-hit-recall 0.99: not provable" in capsys.readouterr().out
    found = read_calibration(out, model=load_model("diffranet").name)
    assert found.hits + found.empties == 12
    assert found.simulated
    # all hits lie below the highest threshold, and none below the lowest
    assert (np.diff(found.hits_below) >= 0).all()
    assert main(["model", "calibrate", "diffranet", str(data), "--out", str(out)]) == 1
    assert "exists already" in capsys.readouterr().err


def test_an_account_of_something_else_is_refused(tmp_path, capsys):
    assert main(["live", "missing", str(tmp_path)]) == 2
    assert "expected a ledger" in capsys.readouterr().err
    (tmp_path / "ledger.sqlite").write_bytes(b"something else" * 100)
    assert main(["live", "missing", str(tmp_path)]) == 2
    assert "damaged or foreign" in capsys.readouterr().err


def test_a_ledger_without_frames_has_an_account(tmp_path, capsys):
    with open_ledger(tmp_path / "ledger.sqlite", {"model": "m"}):
        pass
    assert main(["live", "missing", str(tmp_path)]) == 0
    assert "recorded 0 (nothing), missed 0" in capsys.readouterr().out


def test_a_flood_of_troubles_is_summed_up(monkeypatch, capsys):
    now = [5.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    say = RateLimitedEcho()
    for number in range(1000):
        say(f"trouble {number}")
    now[0] = 6.5
    say("other")
    lines = capsys.readouterr().err.splitlines()
    assert lines[:10] == [f"deepfreak: trouble {number}" for number in range(10)]
    assert lines[10:] == ["deepfreak: and 990 lines like these", "deepfreak: other"]


def test_a_terminal_that_is_gone_ends_no_run(monkeypatch):
    def gone(*_, **__):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr("click.echo", gone)
    RateLimitedEcho()("a line")
