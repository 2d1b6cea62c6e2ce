"""`deepfreak data import` and `deepfreak data export`: what they write and say."""

from pathlib import Path

import pytest

from deepfreak.cli import main
from tests.unit.datasets.diffranet.replica import layout, names, write_zip


def run(*arguments: object) -> int:
    """Run the command line in this process."""
    return main([str(argument) for argument in arguments])


def test_import_says_what_it_wrote_and_what_it_left_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = write_zip(tmp_path / "in.zip", layout() | {"README.md": b"hello"})
    assert run("data", "import", source, "--out", tmp_path / "out") == 0
    captured = capsys.readouterr()
    assert "synthetic.h5: 5 images (2 train, 1 validation, 2 test)" in captured.out
    assert "left out: 1 files" in captured.err
    assert names(tmp_path / "out") == ["real_raw.h5", "synthetic.h5"]


def test_a_bad_archive_is_one_line_and_exit_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = write_zip(tmp_path / "in.zip", {"../synthetic/train/1/a.png": b""})
    assert run("data", "import", source, "--out", tmp_path / "out") == 2
    assert len(capsys.readouterr().err.strip().splitlines()) == 1
    assert names(tmp_path) == ["in.zip"]


def test_an_output_whose_parent_is_missing_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = write_zip(tmp_path / "in.zip", layout())
    assert run("data", "import", source, "--out", tmp_path / "no/out") == 1
    assert "cannot make the folder" in capsys.readouterr().err
