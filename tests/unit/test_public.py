"""The public surface: names, commands, start-up."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

import deepfreak
from deepfreak.cli import app

README = Path(__file__).parents[2] / "README.md"


def test_public_names_are_these() -> None:
    assert deepfreak.__all__ == [
        "Air",
        "Beam",
        "CCD",
        "Classes",
        "Crystal",
        "Dataset",
        "DeepFreakError",
        "Detector",
        "Diffraction",
        "Experiment",
        "Forest",
        "GLCM",
        "LBP",
        "Model",
        "Reflections",
        "SIFT",
        "SVM",
        "Screener",
        "Shot",
        "ShotClass",
        "Water",
        "Wilson",
        "detect",
        "evaluate",
        "generate",
        "load_model",
        "load_recipe",
        "prepare",
        "read_frames",
        "save_model",
        "scatter",
        "simulate",
        "train",
    ]


@pytest.mark.parametrize("name", deepfreak.__all__)
def test_each_public_name_can_be_imported_and_says_what_it_is(name: str) -> None:
    assert getattr(deepfreak, name).__doc__


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="nonsense"):
        deepfreak.nonsense  # noqa: B018 -- the access is what is tested


def test_importing_the_package_imports_no_heavy_library() -> None:
    program = "import deepfreak, json, sys; print(json.dumps(sorted(sys.modules)))"
    modules = json.loads(subprocess.check_output([sys.executable, "-c", program]))
    heavy = {"numpy", "numba", "scipy", "sklearn", "matplotlib", "torch", "h5py", "fabio", "gemmi"}
    heavy |= {"cv2", "optuna", "onnxruntime"}
    assert not heavy & set(modules)


def test_help_imports_no_heavy_library() -> None:
    program = (
        "import sys, json; from deepfreak.cli import main; main(['--help']);"
        "print(json.dumps(sorted(sys.modules)))"
    )
    output = subprocess.check_output([sys.executable, "-c", program], text=True)
    modules = json.loads(output.splitlines()[-1])
    assert not {"numpy", "numba", "sklearn", "rich", "torch", "h5py"} & set(modules)


@pytest.mark.parametrize("name", [name for name in app.commands if name != "demo"])
def test_each_command_and_group_stands_in_the_readme(name: str) -> None:
    assert f"deepfreak {name}" in README.read_text()
