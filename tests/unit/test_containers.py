"""The container examples and their page agree with the code."""

import os
import re
import sys
from pathlib import Path

import pytest

from deepfreak import compiled
from deepfreak.datasets import worker_processes
from deepfreak.processors import MAX_WORKERS
from deepfreak.storage.files import cache_folder

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "examples" / "container"
PAGE = (ROOT / "docs" / "containers.md").read_text()


@pytest.mark.parametrize("name", ["Dockerfile", "deepfreak.def"])
def test_the_examples_move_the_cache_into_the_data_folder(name, monkeypatch):
    variables = dict(re.findall(r"\b([A-Z_]+)=(/data\S+)", (FOLDER / name).read_text()))
    assert set(variables) == {"DEEPFREAK_CACHE", "MPLCONFIGDIR"}
    monkeypatch.setenv("DEEPFREAK_CACHE", variables["DEEPFREAK_CACHE"])
    monkeypatch.setattr("numba.config.CACHE_DIR", "")
    assert cache_folder() == Path("/data/.cache/deepfreak")
    assert compiled.folder() == Path("/data/.cache/deepfreak/compiled")
    assert f"examples/container/{name}" in PAGE


def test_the_page_gives_the_numbers_of_the_code():
    assert f"at most {MAX_WORKERS}" in PAGE
    assert "for 30 days" in PAGE
    assert compiled._DAYS_UNUSED == 30


def test_the_examples_take_a_python_that_we_take():
    wanted = re.search(r'requires-python = ">=3\.(\d+)"', (ROOT / "pyproject.toml").read_text())[1]
    for name in ("Dockerfile", "deepfreak.def"):
        assert int(re.search(r"python:3\.(\d+)", (FOLDER / name).read_text())[1]) >= int(wanted)


def test_without_shared_memory_one_process_works_and_says_so(monkeypatch, capsys):
    def none(*_, **__):
        raise OSError(30, os.strerror(30))

    monkeypatch.setattr("deepfreak.datasets.executors.ProcessPoolExecutor", none)
    with worker_processes(4) as executor:
        assert executor is None
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.skipif(sys.platform != "linux", reason="the home of a user id is Linux's")
def test_a_user_without_a_name_or_a_home_has_no_cache_folder(monkeypatch):
    for name in ("HOME", "XDG_CACHE_HOME", "DEEPFREAK_CACHE"):
        monkeypatch.delenv(name, raising=False)

    def unknown(uid):
        raise KeyError(uid)

    monkeypatch.setattr("pwd.getpwuid", unknown)
    assert cache_folder() is None
