"""A small experiment, and a file of ten of its images."""

from pathlib import Path

import pytest

from deepfreak.datasets import generate
from deepfreak.physics.experiment import Experiment
from deepfreak.physics.recipe import experiment_from, load_recipe, settings_of

SPLITS = {"train": 6, "test": 3}


@pytest.fixture(scope="session")
def small() -> Experiment:
    """Return the diffranet recipe with a small cell and detector."""
    table = settings_of(load_recipe("diffranet"))
    table["crystal"]["structure"] |= {"cell": [40, 50, 60, 90, 90, 90], "atoms_per_asu": 1000}
    table["crystal"]["mosaic_domains"] = 10
    table["detector"] |= {"image_size": [64, 64], "pixel_size_mm": 1.0}
    table["dataset"] = None
    return experiment_from(table)


@pytest.fixture(scope="session")
def made(small: Experiment, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a file of ten images; tests read it only."""
    path = tmp_path_factory.mktemp("made") / "ten.h5"
    generate(small, count=10, seed=3, out=path, splits=SPLITS)
    return path
