"""`deepfreak demo`: shots, classes and a page."""

from pathlib import Path

import pytest

from deepfreak.cli import main
from deepfreak.datasets import Dataset


def test_demo_simulates_screens_and_shows(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "demo"
    assert main(["demo", "--out", str(folder), "--count", "12", "--workers", "1"]) == 0
    out = capsys.readouterr().out
    assert sum(line.startswith("shot ") for line in out.splitlines()) == 12
    assert "accuracy (%)" in out
    assert "images/s" in out
    page = (folder / "index.html").read_text()
    assert page.count("data:image/png") == 12
    assert "What the pulse met" in page
    with Dataset.open(folder / "shots.h5") as data:
        assert len(data) == 12


def test_demo_keeps_earlier_results(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "index.html").write_text("mine")
    assert main(["demo", "--out", str(tmp_path), "--count", "1"]) == 1
    assert "exists already" in capsys.readouterr().err
    assert (tmp_path / "index.html").read_text() == "mine"
