"""A small data set with two splits, and child processes that can import the tests."""

import os
from pathlib import Path

import h5py
import numpy as np
import pytest

from tests.labelled import write_labelled

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="session")
def toy(tmp_path_factory):
    """Return a file of 60 images for training and 40 for validation; tests read it only."""
    path = tmp_path_factory.mktemp("toy") / "toy.h5"
    write_labelled(path, np.arange(100) % 5, seed=1, side=64)
    with h5py.File(path, "a") as file:
        splits = file.create_group("splits")
        splits.attrs["train"], splits.attrs["validation"] = (0, 60), (60, 40)
    return path


@pytest.fixture(scope="session")
def cache_folder(tmp_path_factory):
    return tmp_path_factory.mktemp("features")


@pytest.fixture(autouse=True)
def _children_find_the_tests(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT / "src"), str(ROOT)]))
