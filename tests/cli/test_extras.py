"""The base installation does the main job; a command that needs an extra says which."""

import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from deepfreak import extras
from tests.labelled import write_labelled

ROOT = Path(__file__).parents[2]
# Read by every Python that starts with this folder on its path, our workers too.
WITHOUT = f"""
from importlib.machinery import PathFinder
hidden = {sorted({m for modules in extras.MODULES.values() for m in modules})}
found = PathFinder.find_spec
PathFinder.find_spec = lambda name, *rest: (
    None if name.partition(".")[0] in hidden else found(name, *rest)
)
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    place = tmp_path_factory.mktemp("base")
    (place / "path").mkdir()
    (place / "path" / "sitecustomize.py").write_text(WITHOUT)
    write_labelled(place / "a.h5", [0, 1, 2, 3, 4] * 2, side=512)
    return place


def run(place, *command):
    path = os.pathsep.join([str(place / "path"), str(ROOT / "src")])
    return subprocess.run(
        [sys.executable, "-m", "deepfreak", *command],
        cwd=place, env=os.environ | {"PYTHONPATH": path},
        capture_output=True, text=True, check=False,
    )  # fmt: skip


def test_the_base_simulates_classifies_and_inspects(place):
    for command in (
        "data simulate diffranet --count 1 --out shots",
        "data generate diffranet --count 2 --workers 2 --out b.h5",
        "data show b.h5",
        "classify shots --report page.html",
        "inspect shots --picture shot.png",
        "model evaluate diffranet a.h5",
        "demo --count 3 --workers 1",
    ):
        done = run(place, *command.split())
        assert done.returncode == 0, (command, done.stderr)


@pytest.mark.parametrize(
    ("command", "extra"),
    [
        ("watch . --out out", "live"),
        ("listen tcp://127.0.0.1:1 --out out", "live"),
        ("live replay diffranet", "live"),
        ("live beam diffranet --out out", "live"),
        ("live bench", "live"),
        ("model train a.h5 --out out.model", "search"),
        ("model search classical a.h5 --out out", "search"),
        ("model train a.h5 --out out --architecture compact", "networks"),
        ("model search cnn a.h5 --out out", "networks"),
        ("data generate diffranet --count 1 --dask tcp://127.0.0.1:1 --out out.h5", "dask"),
        ("data simulate diffranet --count 1 --backend gpu --out out", "gpu"),
    ],
)
def test_what_needs_an_extra_says_so_in_one_line(place, command, extra):
    done = run(place, *command.split())
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.endswith(f"pip install '.[{extra}]'")
    assert not list(place.glob("out*"))


def test_the_extras_are_those_of_the_project():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert set(project["optional-dependencies"]) - {"dev"} == set(extras.MODULES)
    distributions = {"cv2": "opencv-python-headless", "sklearn": "scikit-learn", "zmq": "pyzmq"}
    for extra, modules in extras.MODULES.items():
        named = {line.partition(">")[0] for line in project["optional-dependencies"][extra]}
        assert named == {distributions.get(m, m.replace("_", "-")) for m in modules}
        assert not named & {line.partition(">")[0] for line in project["dependencies"]}
