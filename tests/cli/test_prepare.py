"""`deepfreak data prepare`: what it writes and says."""

from pathlib import Path

import pytest

from deepfreak.cli import main
from tests.labelled import write_labelled
from tests.unit.datasets.diffranet.replica import names
from tests.unit.datasets.real_images.test_real_set import write_frames


def run(*arguments: object) -> int:
    """Run the command line in this process."""
    return main([str(argument) for argument in arguments])


def test_frames_become_two_files_and_a_preview(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    labels = write_frames(tmp_path / "frames", series=2, side=1100)
    like = write_labelled(tmp_path / "like.h5", [0, 1, 2])
    out, page = tmp_path / "real.h5", tmp_path / "p.html"
    arguments = ["data", "prepare", tmp_path / "frames", "--labels", labels, "--out", out]
    assert run(*arguments, "--mean", like, "--preview", page) == 0
    said = capsys.readouterr()
    assert "preprocessed = raw x" in said.out
    assert [line.count("the gain is unknown") for line in said.err.splitlines()] == [1, 0, 0]
    assert {"real_raw.h5", "real_preprocessed.h5", "p.html"} <= set(names(tmp_path))
    html = page.read_text()
    assert html.count("data:image/png") == 2 + 2 * 4
    assert "http" not in html.split("<body>")[1]
    assert run(*arguments, "--target-mean", 20) == 1
    assert "exists already" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ([], "--mean or --target-mean"),
        (["--target-mean", "20", "--mean", "x.h5"], "--mean and --target-mean"),
        (["--target-mean", "20", "--factor", "2"], "--factor needs --crop"),
        (["--target-mean", "20", "--crop", "1,2,3"], "expected slow,fast in pixels"),
        (["--target-mean", "20", "--beamstop", "1,2,b,4"], "expected x0,y0,x1,y1 in pixels"),
        (["--target-mean", "0"], "--target-mean"),
        (["--target-mean", "20"], "cannot be read as labels"),
    ],
)
def test_wrong_options_are_one_line_and_exit_2(
    options: list[str],
    expected: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("no.csv", "x.h5"):
        Path(name).write_bytes(b"\xff")
    arguments = ["data", "prepare", ".", "--labels", "no.csv", "--out", "r.h5"]
    assert run(*arguments, *options) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1
    assert expected in lines[0]
