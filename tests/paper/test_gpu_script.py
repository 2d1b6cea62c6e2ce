"""`scripts/gpu` on a CPU, on few images of a small crystal."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from paper.__main__ import main

ROOT = Path(__file__).parents[2]
# What `scripts/gpu` must not need: these are not on every machine with a GPU.
NOT_THERE = (
    *("hdf5plugin", "sklearn", "cv2", "optuna", "fabio", "httpx", "rich", "distributed"),
    "onnx",
)
SMALL_CRYSTAL = (
    "crystal.structure.cell=[20, 22, 24, 90, 90, 90]",
    "crystal.structure.atoms_per_asu=60",
    "crystal.mosaic_domains=3",
)
# the first seven shots of the recipe have all classes
SMALL = (
    *(word for change in SMALL_CRYSTAL for word in ("--set", change)),
    *("--images", "10", "--validation-images", "5", "--test-images", "5", "--workers", "1"),
    *("--networks", "ours,B", "--filters", "2", "--epochs", "2", "--our-epochs", "2"),
    *("--runs", "1", "--device", "cpu"),
)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """The record of the script, run without what a bare machine lacks."""
    folder = tmp_path_factory.mktemp("gpu")
    (folder / "sitecustomize.py").write_text(
        f"import sys\nsys.modules.update(dict.fromkeys({NOT_THERE!r}))\n"
    )
    environment = {**os.environ, "PYTHON": sys.executable, "PYTHONPATH": str(folder)}
    # the script changes to the checkout, so that its outputs are named in full
    command = [ROOT / "scripts/gpu", "diffranet", *SMALL]
    command += ["--out", folder / "out", "--work", folder / "work"]
    command += ["--search-minutes", "5", "--search-epochs", "1", "--search-brackets", "1"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return Path(done.stdout.strip()), folder / "work"


@pytest.mark.slow
def test_it_simulates_trains_searches_and_records(made):
    place, work = made
    record = json.loads((place / "record.json").read_text())
    first = record["summary"][0]
    assert first.startswith("REDUCED SCALE")
    assert "10 training, 5 validation and 5 test images" in first
    assert "bf16" in first
    tables = {table["title"]: table["rows"] for table in record["tables"]}
    assert [row[0] for row in tables["Table 5: accuracy on the test images (%)"]] == [
        "DeepFreak (configuration B)", "the same, each image normalised by itself", "our network",
    ]  # fmt: skip
    eleven = tables["Table 11: the best configurations, validation accuracy (%)"]
    assert [row[0] for row in eleven] == ["B, the paper's", "our search, 1"]
    assert [row[0] for row in tables["Training"]] == ["our network", "configuration B"]
    assert tables["The images, simulated in memory"][0][0] == "images simulated a second"
    assert (place / "record.html").read_text().count("<svg") == 3
    for name in ("our-network/0", "configuration-b/0"):
        assert (work / name / "weights.safetensors").exists()
    assert (work / "search/results.json").exists()


@pytest.mark.slow
def test_given_again_it_resumes_and_trains_nothing(made, tmp_path, capsys):
    _, work = made
    arguments = ["networks", "diffranet", "--simulate", "0", "--scale", "full", "--no-baselines"]
    arguments += ["--precision", "bf16", *SMALL, "--work", str(work), "--out", str(tmp_path)]
    assert main(arguments) == 0
    said = capsys.readouterr()
    assert " left" not in said.err
    command = json.loads((Path(said.out.strip()) / "record.json").read_text())["made_by"]["command"]
    assert command.startswith("python -m paper networks diffranet --scale full --simulate 0 --set ")
    assert command.endswith("--no-baselines --epochs 2 --our-epochs 2 --runs 1 --images 10 "
                            "--validation-images 5 --test-images 5 --filters 2 --precision bf16 "
                            "--device cpu")  # fmt: skip
