"""`deepfreak data show`: the summary and the page."""

from pathlib import Path

import numpy as np
import pytest

from deepfreak.cli import main
from deepfreak.datasets import Dataset
from tests.labelled import write_labelled
from tests.unit.datasets.conftest import made, small

__all__ = ["made", "small"]  # fixtures


def test_the_summary_counts_classes_in_all_splits(
    made: Path, capsys: pytest.CaptureFixture
) -> None:
    assert main(["data", "show", str(made)]) == 0
    lines = capsys.readouterr().out.splitlines()
    rows = {line.split()[0]: line.split()[1:] for line in lines if line.strip()}
    assert rows["train"][-1] == "6"
    assert rows["test"][-1] == "3"
    counts = [int(number) for number in rows["all"]]
    assert sum(counts[:-1]) == counts[-1] == 10
    assert "pulse_photons" in rows
    with Dataset.open(made) as data:
        for part, digest in data.manifest["sha256"].items():
            assert f"  {part:<8}{digest}" in lines
    assert any(line.startswith("not DiffraNet 2: of its recipe ") for line in lines)
    assert "d_min_A" in rows


def test_the_page_is_complete_in_itself(made: Path, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    assert main(["data", "show", str(made), "--report", str(page)]) == 0
    text = page.read_text()
    assert text.count("<svg") >= 5
    assert text.count("data:image/png") == 10
    assert "strong" in text
    assert 'src="http' not in text
    assert 'href="http' not in text
    assert main(["data", "show", str(made), "--report", str(page)]) == 1


def test_images_that_nobody_simulated_are_shown_too(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    path = write_labelled(tmp_path / "real.h5", np.arange(8) % 2, classes=("hit", "miss"))
    assert main(["data", "show", str(path), "--report", str(tmp_path / "page.html")]) == 0
    assert "made by deepfreak unknown" in capsys.readouterr().out
