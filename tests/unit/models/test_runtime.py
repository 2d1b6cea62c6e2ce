"""onnxruntime sends no telemetry from any of our processes."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from deepfreak.networks.export import export_onnx
from deepfreak.screening.calibration import calibration_path
from tests.live.sessions import made_scores
from tests.unit.networks.served import SMALL, model_of

ROOT = Path(__file__).parents[3]
SEAM = ROOT / "src" / "deepfreak" / "models" / "onnx_model.py"

SPAWNED = """
import multiprocessing
from deepfreak.models import load_model

if __name__ == "__main__":
    child = multiprocessing.get_context("spawn").Process(target=load_model, args=("own.onnx",))
    child.start()
    child.join()
    assert child.exitcode == 0
"""
STARTED_AFTERWARDS = """
import subprocess, sys
import deepfreak as df
df.load_model('own.onnx')
subprocess.run([sys.executable, "-c", "import onnxruntime"], check=True)
"""
PROCESSES = {
    "python": ["-c", "import deepfreak as df; df.load_model('own.onnx')"],
    "classify": ["-m", "deepfreak", "classify", "frames", "--model", "own.onnx"],
    # a main process and its worker
    "watch": [
        *("-m", "deepfreak", "watch", "frames", "--out", "out"),
        *("--workers", "1", "--until-idle", "1", "--model", "own.onnx"),
    ],
    "spawned": ["spawned.py"],
    "child that is not ours": ["-c", STARTED_AFTERWARDS],
}


def left_at_home(folder: Path, *command: str) -> list[str]:
    """Run Python in `folder` with an empty home; return the files of Microsoft in it."""
    home = folder / "home"
    home.mkdir()
    env = {name: value for name, value in os.environ.items() if not name.startswith("XDG_")}
    # set to on by a user: ours is off all the same
    env |= {"HOME": str(home), "ORT_DISABLE_TELEMETRY": "0"}
    done = subprocess.run(
        [sys.executable, *command], cwd=folder, env=env, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return [str(one.relative_to(home)) for one in home.rglob("*") if "Microsoft" in one.parts]


@pytest.mark.parametrize("kind", PROCESSES)
def test_no_process_leaves_a_trace_of_telemetry(kind: str, tmp_path: Path) -> None:
    (tmp_path / "frames").mkdir()
    frame = np.random.default_rng(0).poisson(6, (512, 512)).astype(np.uint8)
    Image.fromarray(frame).save(tmp_path / "frames" / "one.png")
    (tmp_path / "spawned.py").write_text(SPAWNED)
    network = tmp_path / "own.onnx"
    export_onnx(model_of(SMALL, side=512), network)
    made_scores(calibration_path(network), network)
    assert left_at_home(tmp_path, *PROCESSES[kind]) == []


def test_without_us_there_would_be_a_trace(tmp_path: Path) -> None:
    """Without this the tests above would prove nothing."""
    if not left_at_home(tmp_path, "-c", "import onnxruntime"):
        pytest.skip("this build of onnxruntime leaves nothing in the home folder by itself")


def _imported(path: Path) -> set[str]:
    """Return the modules that a file imports, by `import` or by name."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {name.name.split(".")[0] for name in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            found.add(node.module.split(".")[0])
        elif isinstance(node, ast.Call) and "import" in ast.unparse(node.func):
            found |= {str(one.value) for one in node.args if isinstance(one, ast.Constant)}
    return found


def test_nothing_else_imports_onnxruntime() -> None:
    folders = ("src", "benchmarks", "examples", "scripts", "docs")
    files = [file for folder in folders for file in (ROOT / folder).rglob("*.py")]
    assert SEAM in files
    assert [file for file in files if "onnxruntime" in _imported(file)] == [SEAM]
