"""`deepfreak data verify`: exit codes and lines."""

import shutil
from pathlib import Path

import h5py
import pytest

from deepfreak.cli import main
from deepfreak.datasets import generate
from deepfreak.physics.experiment import Experiment
from tests.unit.datasets.conftest import made, small

__all__ = ["made", "small"]  # fixtures


def test_a_whole_file_is_one_line_and_exit_0(made: Path, capsys: pytest.CaptureFixture) -> None:
    assert main(["data", "verify", str(made), "--sample", "3"]) == 0
    out = capsys.readouterr().out
    assert "10 images are what the manifest says; 3 simulated again" in out
    assert "equal bytes (same versions, backend and processor features)" in out
    assert "this is not DiffraNet 2: of its recipe " in out.splitlines()[-1]


def test_full_simulates_all(made: Path, capsys: pytest.CaptureFixture) -> None:
    assert main(["data", "verify", str(made), "--full"]) == 0
    assert "10 simulated again" in capsys.readouterr().out


def test_problems_are_a_line_each_and_exit_1(
    made: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    path = shutil.copy(made, tmp_path / "changed.h5")
    with h5py.File(path, "r+") as file:
        file["label"][0] = (file["label"][0] + 1) % 5
        file["truth/pulse_photons"][1] = 1.0
    assert main(["data", "verify", str(path), "--sample", "0"]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    lines = captured.err.strip().splitlines()
    assert len(lines) == 2
    assert all("the hash of the" in line for line in lines)


def test_what_is_no_data_set_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    assert main(["data", "verify", str(tmp_path / "none.h5")]) == 2
    assert "does not exist" in capsys.readouterr().err


def test_a_shard_is_proved_like_a_whole(
    small: Experiment, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    generate(small, count=6, seed=1, shard=(2, 2), out=tmp_path / "2.h5")
    assert main(["data", "verify", str(tmp_path / "2.h5")]) == 0
    assert "3 simulated again" in capsys.readouterr().out
