import json
import os
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from deepfreak.networks import CONFIGURATION_B, load_network
from deepfreak.physics.recipe import load_recipe
from paper.on_gpu import TINY, TINY_CRYSTAL, Plan, configuration_b, run
from paper.on_gpu_record import make_record
from paper.parts import join_parts

ROOT = Path(__file__).parents[2]

# What `scripts/gpu-*` must not need: these are not on every machine with a GPU.
NOT_THERE = (
    "hdf5plugin",
    "sklearn",
    "skops",
    "cv2",
    "optuna",
    "fabio",
    "httpx",
    "rich",
    "distributed",
    "onnx",
)


@contextmanager
def silent(_what, _total):
    yield lambda _done: None


def do(folder, plan=TINY, **options):
    experiment = load_recipe("diffranet", changes=TINY_CRYSTAL)
    said = []
    options |= {"device": "cpu", "progress": silent, "say": said.append}
    return run(experiment, plan, out=folder / "out", work=folder / "work", **options), said


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """The result of a tiny plan, its directory, and the printed lines."""
    folder = tmp_path_factory.mktemp("made")
    return *do(folder), folder


def test_b_is_the_papers_but_for_its_epochs_and_its_precision():
    candidate = configuration_b(Plan())
    assert candidate.architecture == CONFIGURATION_B.topology
    back = replace(candidate.training, epochs=180, precision="float32")
    assert back == CONFIGURATION_B.training


def test_the_rate_of_b_grows_with_its_batch_and_each_image_is_normalised_by_itself():
    training = configuration_b(Plan(batch=32)).training
    assert training.learning_rate == pytest.approx(32 * CONFIGURATION_B.training.learning_rate)
    architecture = configuration_b(Plan(batch=32)).architecture
    assert architecture.normalise == "image"
    assert replace(architecture, normalise="batch") == CONFIGURATION_B.topology
    back = replace(
        training,
        epochs=180,
        batch=1,
        learning_rate=CONFIGURATION_B.training.learning_rate,
        precision="float32",
    )
    assert back == CONFIGURATION_B.training


def test_the_weights_that_are_written_are_those_that_were_judged(made):
    outcome, _, folder = made
    parts = sorted((folder / "out").glob("configuration-b-*"))
    join_parts(parts, folder / "b.safetensors")
    for path, learnt in (
        (folder / "b.safetensors", outcome.b),
        (folder / "out" / "our-network.safetensors", outcome.ours),
    ):
        found = load_network(path).manifest["weights_sha256"]
        assert found == learnt.model.manifest["weights_sha256"]
        assert learnt.evaluation.truth.size == TINY.test


def test_the_record_says_first_how_it_differs_from_the_papers(made):
    record, figures = make_record(made[0], command="python -m paper on-gpu")
    first = record.summary[0]
    assert first.startswith("REDUCED SCALE")
    for part in ("10 training", "bf16", "2 times"):
        assert part in first
    assert "batches" not in first
    assert len(figures) == 2
    json.dumps(record.facts, allow_nan=False)
    titles = [table.title for table in record.tables]
    assert titles[0].startswith("Table 5")
    assert [row[0] for row in record.tables[-1].rows[1:3]] == [
        "a step of B at the paper's batch of 1, float32",
        "a step of B at the paper's batch of 1, bf16, with the judging",
    ]


def test_steps_are_timed_without_leaving_anything(made):
    outcome, _, folder = made
    assert 0 < outcome.step_s < 10
    assert {path.name for path in (folder / "work").iterdir()} == {"our-network", "configuration-b"}


def test_b_is_judged_by_running_statistics_and_as_it_learned(made):
    outcome, said, _ = made
    by_image = outcome.b.by_image
    assert by_image.truth.tolist() == outcome.b.evaluation.truth.tolist()
    assert not np.allclose(by_image.probabilities, outcome.b.evaluation.probabilities)
    assert outcome.ours.by_image is None
    record, _ = make_record(outcome, command="python -m paper on-gpu")
    names = [row[0] for row in record.tables[0].rows]
    assert names[1:] == ["configuration B", "configuration B, each image normalised by itself"]
    assert len(record.facts["evaluations"]) == 3
    assert any(line.startswith("configuration B by image: ") for line in said)


def test_larger_batches_have_one_line_and_say_so(tmp_path):
    outcome, _ = do(tmp_path, replace(TINY, batch=5, epochs=1, our_epochs=1))
    assert outcome.b.by_image is None
    record, _ = make_record(outcome, command="python -m paper on-gpu")
    for part in ("batches of 5", "multiplied by 5", "each image normalised by itself"):
        assert part in record.summary[0]
    assert len(record.tables[0].rows) == 2


def test_a_plan_that_runs_out_of_time_ends_after_the_epoch_under_way(tmp_path):
    outcome, said = do(tmp_path, replace(TINY, epochs=9, our_epochs=9, minutes=0.01))
    assert len(outcome.b.history) == len(outcome.ours.history) == 1
    assert outcome.b.model.manifest["training"]["epochs"] == 9
    assert not any("epoch 2" in line for line in said)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("script", "options", "left"),
    [
        (
            "gpu-networks",
            ("--tiny", "--weights", "weights", "--work", "work"),
            {"weights", "work"},
        ),
        (
            "gpu-bohb",
            ("--images", "12", "--filters", "1", "--max-epochs", "1", "--iterations", "1"),
            {"out/results.json", "out/report.html", "out/journal.jsonl"},
        ),
    ],
)
def test_the_scripts_run_without_what_a_bare_machine_lacks(tmp_path, script, options, left):
    (tmp_path / "sitecustomize.py").write_text(
        f"import sys\nsys.modules.update(dict.fromkeys({NOT_THERE!r}))\n"
    )
    environment = {**os.environ, "PYTHON": sys.executable, "PYTHONPATH": str(tmp_path)}
    # a script changes to the checkout, so its outputs are named in full
    named = [str(tmp_path / each) if each in {"weights", "work"} else each for each in options]
    command = [ROOT / "scripts" / script, *named, "--device", "cpu", "--out", tmp_path / "out"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert all((tmp_path / each).exists() for each in left)
