"""`deepfreak data export`: what it writes and says."""

from pathlib import Path

import pytest

from deepfreak.cli import main
from tests.labelled import write_labelled
from tests.unit.datasets.diffranet.replica import names


def test_export_says_what_it_wrote(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = write_labelled(tmp_path / "a.h5", [0, 2], side=512)
    assert main(["data", "export", str(data), "--out", str(tmp_path / "out")]) == 0
    assert "out: 2 synthetic" in capsys.readouterr().err
    assert names(tmp_path / "out/synthetic/train") == ["1", "3"]


def test_images_of_another_size_are_one_line_and_exit_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = write_labelled(tmp_path / "a.h5", [0, 2])
    assert main(["data", "export", str(data), "--out", str(tmp_path / "out")]) == 2
    assert "expected images of 512 x 512 pixels, found 128 x 128" in capsys.readouterr().err
    assert names(tmp_path) == ["a.h5"]
