"""Data sets: what is written, that it depends on nothing else, and what is refused."""

import json
import shutil
import subprocess
import sys
import time
from pathlib import Path

import h5py
import numpy as np
import pytest

from deepfreak.dataset import Dataset, generate, worker_processes
from deepfreak.errors import DatasetError, OutputError
from deepfreak.experiment import Experiment
from deepfreak.exposure import simulate
from deepfreak.recipe import experiment_from, load_recipe, settings_of


@pytest.fixture(scope="module")
def small() -> Experiment:
    """Return the diffranet recipe with a small cell and detector."""
    table = settings_of(load_recipe("diffranet"))
    table["crystal"]["structure"] |= {"cell": [40, 50, 60, 90, 90, 90], "atoms_per_asu": 1000}
    table["crystal"]["mosaic_domains"] = 10
    table["detector"] |= {"image_size": [64, 64], "pixel_size_mm": 1.0}
    return experiment_from(table)


@pytest.fixture(scope="module")
def made(small: Experiment, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a file of ten images."""
    path = tmp_path_factory.mktemp("made") / "ten.h5"
    generate(small, count=10, seed=3, out=path)
    return path


def test_file_holds_the_shots_of_the_series(small: Experiment, made: Path) -> None:
    with Dataset.open(made) as data:
        assert len(data) == 10
        assert data.classes == ("blank", "no-crystal", "weak", "good", "strong")
        for index in (0, 7, 9):
            shot = small.draw(seed=3, index=index)
            image, truth = simulate(shot)
            np.testing.assert_array_equal(data.images[index], image)
            assert data.labels[index] == shot.label
            assert data.truth["pulse_photons"][index] == shot.photons
            assert data.truth["wavelength_A"][index] == shot.wavelength_A
            assert data.truth["crystal_volume_mm3"][index] == shot.crystal_volume_mm3
            assert data.truth["bragg_photons"][index] == truth.bragg_photons
            assert data.truth["background_photons"][index] == truth.background_photons
            np.testing.assert_array_equal(data.truth["orientation"][index], shot.orientation)
        assert data.manifest["seed"] == 3
        assert experiment_from(data.manifest["experiment"]) == small


def test_layout_is_plain_hdf5(made: Path) -> None:
    with h5py.File(made) as file:
        assert file["images"].dtype == np.uint8
        assert file["images"].chunks == (1, 64, 64)
        assert file["label"].dtype == np.uint8
        assert list(file["label"].attrs["classes"]) == [
            "blank",
            "no-crystal",
            "weak",
            "good",
            "strong",
        ]
        assert json.loads(file.attrs["manifest"])["count"] == 10


def test_workers_change_no_byte(small: Experiment, made: Path, tmp_path: Path) -> None:
    with worker_processes(2) as executor:
        generate(small, count=10, seed=3, out=tmp_path / "two.h5", executor=executor)
    assert (tmp_path / "two.h5").read_bytes() == made.read_bytes()


def test_a_longer_series_begins_like_a_shorter_one(
    small: Experiment, made: Path, tmp_path: Path
) -> None:
    generate(small, count=3, seed=3, out=tmp_path / "three.h5")
    with Dataset.open(tmp_path / "three.h5") as few, Dataset.open(made) as many:
        np.testing.assert_array_equal(few.images[:], many.images[:3])
        np.testing.assert_array_equal(few.labels, many.labels[:3])


def test_an_existing_file_is_kept(small: Experiment, made: Path) -> None:
    before = made.read_bytes()
    with pytest.raises(OutputError, match="exists already.*--overwrite"):
        generate(small, count=1, seed=0, out=made)
    assert made.read_bytes() == before


def test_a_failure_on_the_way_leaves_nothing(small: Experiment, tmp_path: Path) -> None:
    def fail(_: int) -> None:
        raise RuntimeError("on the way")

    with pytest.raises(RuntimeError):
        generate(small, count=3, seed=0, out=tmp_path / "none.h5", advance=fail)
    assert list(tmp_path.iterdir()) == []


def test_too_little_room_is_said_before_the_work(
    small: Experiment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = type(shutil.disk_usage(tmp_path))(10**9, 10**9 - 1000, 1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    with pytest.raises(OutputError, match="free; make room"):
        generate(small, count=100, seed=0, out=tmp_path / "none.h5")


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda f: f.pop("images"), "/images, found"),
        (lambda f: f["label"].write_direct(np.full(10, 9, np.uint8)), "0 to 4, found 9 to 9"),
        (lambda f: f["label"].attrs.pop("classes"), "lacks the attribute"),
        (lambda f: (f.pop("label"), f.create_dataset("label", data=np.zeros(3, int))), r"\(3,\)"),
    ],
)
def test_a_file_without_the_layout_is_refused(
    made: Path, tmp_path: Path, spoil: object, said: str
) -> None:
    path = shutil.copy(made, tmp_path / "spoilt.h5")
    with h5py.File(path, "r+") as file:
        spoil(file)
    with pytest.raises(DatasetError, match=said), Dataset.open(path):
        pass


@pytest.mark.parametrize("content", [b"", b"no HDF5", b"\x89HDF\r\n\x1a\n" + bytes(40)])
def test_what_is_no_hdf5_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "bad.h5"
    path.write_bytes(content)
    with pytest.raises(DatasetError, match="not an HDF5 file"), Dataset.open(path):
        pass


def test_killed_midway_leaves_no_file_of_that_name(tmp_path: Path) -> None:
    out = tmp_path / "killed.h5"
    command = [sys.executable, "-m", "deepfreak", "generate", "diffranet", "--count", "5000"]
    process = subprocess.Popen([*command, "--out", str(out)], stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while not list(tmp_path.iterdir()) and time.monotonic() < deadline:
        time.sleep(0.1)
    process.kill()
    process.wait()
    assert list(tmp_path.iterdir())  # the draft, under a name that nobody takes for the result
    assert not out.exists()
