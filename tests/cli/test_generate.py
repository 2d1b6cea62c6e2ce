"""`deepfreak generate`: what it writes and what it says."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import h5py
import pytest

from deepfreak.cli import main

RECIPE = Path(__file__).parents[2] / "src/deepfreak/recipes/diffranet.toml"


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    """Return a copy of the diffranet recipe with a small cell, quick to render."""
    text = RECIPE.read_text()
    text = text.replace("[133.25, 226.26, 307.09, 90.0, 90.0, 90.0]", "[40, 50, 60, 90, 90, 90]")
    text = text.replace("mosaic_domains = 300", "mosaic_domains = 5")
    path = tmp_path / "small.toml"
    path.write_text(text)
    return path


def run(*arguments: object) -> int:
    """Run the command line in this process."""
    return main([str(argument) for argument in arguments])


def said(capsys: pytest.CaptureFixture[str]) -> str:
    """Return the one line that was said on stderr."""
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1, lines
    return lines[0]


def test_file_has_the_promised_layout(recipe: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.h5"
    assert run("generate", recipe, "--count", 6, "--seed", 1, "--workers", 2, "--out", out) == 0
    with h5py.File(out) as file:
        assert file["images"].shape == (6, 512, 512)
        assert file["label"].shape == (6,)
        assert set(file["truth"]) >= {
            "pulse_photons",
            "wavelength_A",
            "orientation",
            "crystal_volume_mm3",
            "bragg_photons",
            "background_photons",
        }


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("distance_mm = 80.0", "distnace_mm = 80.0", "did you mean distance_mm?"),
        ("distance_mm = 80.0", "distance_mm = -80.0", "greater than 0, found -80"),
        ("wavelength_A = 1.5", "wavelength_A = 0", "greater than 0, found 0"),
        ("[40, 50, 60, 90, 90, 90]", "[40, 50, 60, 80, 90, 90]", "P 21 21 21"),
        ("[40, 50, 60, 90, 90, 90]", "[40, 50, -60, 90, 90, 90]", "-60"),
        ('"P 21 21 21"', '"P 99"', "P 99"),
        ('label_version = "1"', "", "label_version"),
    ],
)
def test_a_wrong_recipe_is_one_line_and_exit_2(
    recipe: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    old: str,
    new: str,
    expected: str,
) -> None:
    text = recipe.read_text()
    assert old in text
    recipe.write_text(text.replace(old, new))
    out = tmp_path / "out.h5"
    assert run("generate", recipe, "--count", 1, "--out", out) == 2
    assert expected in said(capsys)
    assert not out.exists()


def test_an_existing_output_is_kept_without_overwrite(
    recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out.h5"
    out.write_text("precious")
    assert run("generate", recipe, "--count", 1, "--out", out) == 1
    assert "exists already" in said(capsys)
    assert out.read_text() == "precious"
    assert run("generate", recipe, "--count", 1, "--out", out, "--overwrite") == 0
    assert h5py.is_hdf5(out)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["generate", "nonsense", "--count", "1", "--out", "x.h5"], "diffranet"),
        (["generate", "diffranet", "--count", "0", "--out", "x.h5"], "--count"),
        (["generate", "diffranet", "--count", "1"], "--out"),
        (["generate", "diffranet", "--count", "1", "--seed", "-1", "--out", "x.h5"], "--seed"),
        (["generate", "diffranet", "--cuont", "1", "--out", "x.h5"], "--count"),
        (
            ["generate", "diffranet", "--count", "1", "--out", "x.h5", "--structure", "no.pdb"],
            "no.pdb",
        ),
        (
            ["generate", "diffranet", "--count", "1", "--out", "x.h5", "--structure", "9ZZZ"],
            "fetch",
        ),
        (["frobnicate"], "frobnicate"),
    ],
)
def test_wrong_arguments_are_one_line_and_exit_2(
    arguments: list[str],
    expected: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DEEPFREAK_CACHE", str(tmp_path / "cache"))
    assert main(arguments) == 2
    assert expected in said(capsys)
    assert not (tmp_path / "x.h5").exists()


def test_a_missing_folder_is_said_before_the_work(
    recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("generate", recipe, "--count", 1, "--out", tmp_path / "no" / "out.h5") == 1
    assert "make it first" in said(capsys)


def test_a_full_disk_is_one_line_and_leaves_nothing(recipe: Path, tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(disk)]
    if (
        shutil.which("mount") is None
        or subprocess.run(mount, check=False, capture_output=True).returncode
    ):
        pytest.skip("needs the right to mount a small tmpfs")
    # the guess of the room needed is made to pass, so that the disk fills up on the way
    program = (
        "import sys; import deepfreak.dataset as d; d.BYTES_PER_IMAGE = 0\n"
        "from deepfreak.cli import main; sys.exit(main(sys.argv[1:]))"
    )
    arguments = ["generate", str(recipe), "--count", "60", "--out", str(disk / "out.h5")]
    try:
        done = subprocess.run(
            [sys.executable, "-c", program, *arguments],
            check=False,
            capture_output=True,
            text=True,
        )
        left = list(disk.iterdir())
    finally:
        subprocess.run(["umount", str(disk)], check=True)
    assert done.returncode == 1
    assert len(done.stderr.strip().splitlines()) == 1
    assert "no space left" in done.stderr
    assert left == []


def test_too_small_a_disk_is_said_before_the_work(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("generate", "diffranet", "--count", 10**9, "--out", tmp_path / "out.h5") == 1
    assert "free" in said(capsys)


@pytest.mark.parametrize("workers", [1, 2])
def test_ctrl_c_is_one_line_and_leaves_nothing(recipe: Path, tmp_path: Path, workers: int) -> None:
    folder = tmp_path / "results"
    folder.mkdir()
    command = [sys.executable, "-m", "deepfreak", "generate", str(recipe), "--count", "20000"]
    command += ["--workers", str(workers), "--out", str(folder / "out.h5")]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True)
    deadline = time.monotonic() + 60
    # the draft has grown: work is under way
    while sum(f.stat().st_size for f in folder.iterdir()) < 500_000:
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.1)
    os.killpg(process.pid, signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert err.strip().splitlines() == ["deepfreak: interrupted"]
    assert list(folder.iterdir()) == []
