import csv
import io
import json
import os
import subprocess
import sys
from html import escape
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from deepfreak.cli import main
from deepfreak.text import unspelled
from tests.evidence_models import hit, miss, save_made_model
from tests.unit.formats import made
from tests.unit.screening.test_screening import Brightness

KEYS = ["file", "frame", "label", "decision", "probabilities", "p_crystal", "ms", "reasons"]
SAID = "model: default, brightness; no decisions, for no thresholds are known: "


@pytest.fixture(autouse=True)
def model(monkeypatch):
    """A small forest that stands in for the default model."""
    monkeypatch.setattr("deepfreak.models.load_model", lambda _path=None: Brightness())


@pytest.fixture
def image(tmp_path):
    path = tmp_path / "in" / "a.cbf"
    path.parent.mkdir()
    path.write_bytes(made.cbf(made.photons()))
    return path


def run(*arguments):
    return main(["classify", *map(str, arguments)])


def test_jsonl_has_one_record_a_frame_and_nothing_else_on_stdout(tmp_path, image, capsys):
    made.eiger(image.parent, np.stack([made.photons()] * 3).astype(np.uint16))
    assert run(image.parent, "--format", "jsonl") == 0
    said = capsys.readouterr()
    records = [json.loads(line) for line in said.out.splitlines()]
    assert [list(record) for record in records] == [KEYS] * 4
    assert [record["frame"] for record in records] == [0, 0, 1, 2]
    assert records[0]["file"] == str(image)
    assert list(records[0]["probabilities"]) == list(Brightness.classes)
    assert sum(records[0]["probabilities"].values()) == pytest.approx(1)
    crystal = [records[0]["probabilities"][name] for name in ("weak", "good", "strong")]
    assert records[0]["p_crystal"] == pytest.approx(sum(crystal))
    assert said.err.startswith(SAID)
    assert len(said.err.splitlines()) == 1
    assert (records[0]["decision"], records[0]["reasons"]) == (None, [])


def test_an_unreadable_file_gets_its_record_and_exit_code_3(image, capsys):
    (image.parent / "b.cbf").write_bytes(image.read_bytes()[:-3000])
    (image.parent / "c.h5").write_bytes(b"")
    assert run(image.parent, "--format", "jsonl") == 3
    records = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [list(record) for record in records] == [KEYS, *[["file", "frame", "error"]] * 2]
    assert records[1]["frame"] == 0
    assert records[2]["frame"] is None


@pytest.mark.parametrize("kind", ["cut", "text", "empty", "folder", "nothing", "pixel", "nan"])
def test_bad_input_is_one_record_of_one_line_and_exit_code_2(tmp_path, capsys, kind):
    path = tmp_path / "a.cbf"
    match kind:
        case "cut":
            path.write_bytes(made.cbf(made.photons())[:3000])
        case "text":
            path.write_text("this is no image\n" * 9)
        case "empty":
            path.write_bytes(b"")
        case "folder":
            path.mkdir()
            (path / "notes.txt").write_text("no images here")
        case "pixel":
            path.write_bytes(made.cbf(np.ones((1, 1))))
        case "nan":
            path = tmp_path / "a.npy"
            np.save(path, np.full((600, 600), np.nan, np.float32))
    assert run(path) == 2
    said = capsys.readouterr()
    assert len(said.out.splitlines()) == 2  # header and record
    assert "error: " in said.out
    assert "1 of 1 records" in said.err.splitlines()[-1]
    assert run(path, "--format", "jsonl") == 2
    (record,) = map(json.loads, capsys.readouterr().out.splitlines())
    assert list(record) == ["file", "frame", "error"]


def test_csv_is_flat_and_its_columns_fit_failures_too(image, capsys):
    (image.parent / "b,\n.cbf").write_bytes(b"")
    assert run(image.parent, "--format", "csv") == 3
    rows = list(csv.reader(io.StringIO(capsys.readouterr().out)))
    classes = Brightness.classes
    head = ["file", "frame", "label", "decision", *classes, "p_crystal", "ms", "reason", "error"]
    assert rows[0] == head
    assert {len(row) for row in rows} == {13}
    assert rows[1][2:4] == ["no-crystal", ""]
    assert rows[2][0].endswith("b,\\n.cbf")
    assert "empty file" in rows[2][12]


def test_control_characters_in_names_do_not_reach_the_terminal(image, capsys):
    image.rename(image.parent / "a\x1b[2J\n\udcff.cbf")
    assert run(image.parent) == 0
    out = capsys.readouterr().out
    assert len(out.splitlines()) == 2
    assert "\x1b" not in out
    assert run(image.parent, "--format", "jsonl") == 0
    line = capsys.readouterr().out
    assert line.isascii()
    assert Path(os.fsdecode(os.fsencode(json.loads(line)["file"]))).is_file()
    assert run(image.parent, "--format", "csv") == 0
    _, row = csv.reader(io.StringIO(capsys.readouterr().out))
    assert Path(unspelled(row[0])).is_file()


def test_records_go_to_the_file_when_it_is_whole(tmp_path, image, capsys):
    out = tmp_path / "verdicts.jsonl"
    assert run(image, "--format", "jsonl", "--out", out) == 0
    assert capsys.readouterr().out == ""
    assert json.loads(out.read_text())["label"] == "no-crystal"
    before = out.read_text()
    assert run(image, "--format", "csv", "--out", out) == 1
    assert "--overwrite" in capsys.readouterr().err
    assert out.read_text() == before
    assert run(image, "--format", "csv", "--out", out, "--overwrite") == 0
    assert out.read_text().startswith("file,frame,label")


def test_an_interrupted_run_leaves_no_file(tmp_path, image, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(Brightness, "probabilities", interrupted)
    assert run(image, "--out", tmp_path / "out.txt") == 130
    assert [path.name for path in tmp_path.iterdir()] == ["in"]


def in_a_process(image, **streams):
    """Start `deepfreak classify` on `image` and its directory in a separate process."""
    code = (
        "import sys, deepfreak.models; from deepfreak.cli import main\n"
        "from tests.unit.screening.test_screening import Brightness\n"
        "deepfreak.models.load_model = lambda _path=None: Brightness()\n"
        f"sys.exit(main(['classify', {str(image)!r}, {str(image.parent)!r}]))"
    )
    root = Path(__file__).parents[2]
    return subprocess.Popen([sys.executable, "-c", code], cwd=root, text=True, **streams)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_full_disk_behind_stdout_is_one_line(image):
    with (
        Path("/dev/full").open("w") as full,
        in_a_process(image, stdout=full, stderr=subprocess.PIPE) as process,
    ):
        said = process.stderr.read()
    assert process.returncode == 1
    assert said.splitlines()[-1] == "deepfreak: cannot write to stdout: No space left on device"
    assert len(said.splitlines()) == 2  # and the model


def test_a_reader_that_leaves_early_is_no_error_to_shout_about(image):
    with in_a_process(image, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        process.stdout.close()
        said = process.stderr.read()
    assert process.returncode == 1
    assert [line[: len(SAID)] for line in said.splitlines()] == [SAID]


def test_mask_and_geometry_are_honoured(tmp_path, image, capsys):
    mask = np.zeros((150, 130), np.uint8)
    mask[:, :65] = 1
    np.save(tmp_path / "mask.npy", mask)
    (tmp_path / "a.poni").write_text(
        'Detector: Detector\nDetector_config: {"pixel1": 1e-4, "pixel2": 1e-4}\n'
        "Distance: 0.1\nPoni1: 0.007\nPoni2: 0.006\n"
    )
    options = ["--mask", tmp_path / "mask.npy", "--geometry", tmp_path / "a.poni"]
    assert run(image, *options) == 0
    np.save(tmp_path / "mask.npy", mask[1:])
    assert run(image, *options) == 2
    assert "expected a mask of the frame's size" in capsys.readouterr().out
    assert run(image, "--mask", tmp_path / "none.npy") == 2
    assert run(image, "--geometry", tmp_path / "none.geom") == 2


def test_the_report_shows_every_frame(tmp_path, image, capsys):
    page = tmp_path / "r.html"
    assert run(image, image.parent, "--report", page, "--format", "jsonl") == 0
    assert "a.cbf, frame 0" in page.read_text()
    assert len(capsys.readouterr().out.splitlines()) == 1


@pytest.fixture
def evidence(tmp_path, monkeypatch, image):
    """A model of evidence with scores, and beside `image` a hit, one of few spots and a miss."""
    monkeypatch.undo()
    rng = np.random.default_rng(5)
    image.unlink()
    # without a beam centre, as in a file of bare counts, many spots could be rings
    kinds = {
        "hit": hit(rng, spots_=25),
        "few": hit(rng, spots_=7),
        "zero": miss(rng, hot=0),
    }
    for name, frame in kinds.items():
        Image.fromarray(frame.counts.astype(np.uint16)).save(image.parent / f"{name}.tif")
    return save_made_model(tmp_path)


def test_decisions_have_reasons_in_every_form(tmp_path, image, evidence, capsys):
    assert run(image.parent, "--model", evidence, "--format", "jsonl") == 0
    said = capsys.readouterr()
    records = {Path(r["file"]).stem: r for r in map(json.loads, said.out.splitlines())}
    assert {name: r["decision"] for name, r in records.items()} == {
        "hit": "keep", "few": "unsure", "zero": "discard",
    }  # fmt: skip
    assert records["hit"]["label"] == "diffraction"
    assert records["zero"]["label"] == "no-diffraction"
    assert records["hit"]["signs"]["off_rings"] >= 20
    assert all(record["reasons"] for record in records.values())
    assert "decisions: 1 keep, 1 unsure, 1 discard" in said.err
    assert "not on this detector" in said.err
    assert "p_crystal is for 50% hits" in said.err
    assert run(image.parent, "--model", evidence) == 0
    table = capsys.readouterr().out.splitlines()
    assert table[0].split()[:4] == ["file", "frame", "label", "decision"]
    assert table[1].endswith("; ".join(records["few"]["reasons"]))
    assert run(image.parent, "--model", evidence, "--format", "csv") == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert [row["decision"] for row in rows] == ["unsure", "keep", "discard"]
    assert rows[0]["reason"] == "; ".join(records["few"]["reasons"])


def test_the_report_draws_the_peaks_of_the_evidence_and_says_why(tmp_path, image, evidence, capsys):
    page = tmp_path / "r.html"
    assert run(image.parent, "--model", evidence, "--report", page, "--format", "jsonl") == 0
    records = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    text = page.read_text()
    assert f"{records[0]['signs']['peaks']} peaks over 5 sigma" in text
    assert "1 unsure, 1 keep, 1 discard" in text
    assert all(escape(reason) in text for r in records for reason in r["reasons"])


def test_scores_of_the_detector_and_the_accepted_loss_are_taken(image, evidence, capsys):
    scores = evidence.with_name(evidence.name + ".calibration.json")
    options = ["--model", evidence, "--format", "jsonl"]
    assert run(image.parent, *options, "--scores", scores) == 0
    assert "at most 0.500% of hits are discarded" in capsys.readouterr().err
    assert run(image.parent, *options, "--min-hit-recall", "0.9999") == 2
    assert "labelled hits to prove" in capsys.readouterr().err
    assert run(image.parent, *options, "--scores", image.parent / "none.json") == 2
    scores.unlink()
    assert run(image.parent, *options) == 0
    said = capsys.readouterr()
    assert "no thresholds are known" in said.err
    record = json.loads(said.out.splitlines()[0])
    assert (record["decision"], record["label"]) == (None, "diffraction")
