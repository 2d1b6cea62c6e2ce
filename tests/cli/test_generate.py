"""`deepfreak data generate`: what it writes and what it says."""

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
from deepfreak.datasets import Dataset

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
    assert (
        run("data", "generate", recipe, "--count", 6, "--seed", 1, "--workers", 2, "--out", out)
        == 0
    )
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
        ('label_version = "2"', "", "label_version"),
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
    assert run("data", "generate", recipe, "--count", 1, "--out", out) == 2
    assert expected in said(capsys)
    assert not out.exists()


def test_an_existing_output_is_kept_without_overwrite(
    recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out.h5"
    out.write_text("precious")
    assert run("data", "generate", recipe, "--count", 1, "--out", out) == 1
    assert "exists already" in said(capsys)
    assert out.read_text() == "precious"
    assert run("data", "generate", recipe, "--count", 1, "--out", out, "--overwrite") == 0
    assert h5py.is_hdf5(out)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["data", "generate", "nonsense", "--count", "1", "--out", "x.h5"], "diffranet"),
        (["data", "generate", "diffranet", "--count", "0", "--out", "x.h5"], "--count"),
        (["data", "generate", "diffranet", "--count", "1"], "--out"),
        (
            ["data", "generate", "diffranet", "--count", "1", "--seed", "-1", "--out", "x.h5"],
            "--seed",
        ),
        (["data", "generate", "diffranet", "--cuont", "1", "--out", "x.h5"], "--count"),
        (
            [
                "data",
                "generate",
                "diffranet",
                "--count",
                "1",
                "--out",
                "x.h5",
                "--structure",
                "no.pdb",
            ],
            "no.pdb",
        ),
        (
            [
                "data",
                "generate",
                "diffranet",
                "--count",
                "1",
                "--out",
                "x.h5",
                "--structure",
                "9ZZZ",
            ],
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
    assert run("data", "generate", recipe, "--count", 1, "--out", tmp_path / "no" / "out.h5") == 1
    assert "make it first" in said(capsys)


def test_a_full_disk_is_one_line_and_keeps_what_is_done(recipe: Path, tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(disk)]
    if (
        shutil.which("mount") is None
        or subprocess.run(mount, check=False, capture_output=True).returncode
    ):
        pytest.skip("needs the right to mount a small tmpfs")
    # the estimate of the space needed is made to pass, so that the disk fills up later
    program = (
        "import sys, deepfreak.datasets\n"
        "sys.modules['deepfreak.datasets.generating'].BYTES_PER_PIXEL = 0\n"
        "from deepfreak.cli import main; sys.exit(main(sys.argv[1:]))"
    )
    arguments = ["data", "generate", str(recipe), "--count", "60", "--out", str(disk / "out.h5")]
    try:
        done = subprocess.run(
            [sys.executable, "-c", program, *arguments],
            check=False,
            capture_output=True,
            text=True,
        )
        left = [path.name for path in disk.iterdir()]
    finally:
        subprocess.run(["umount", str(disk)], check=True)
    assert done.returncode == 1
    assert len(done.stderr.strip().splitlines()) == 1
    assert "no space left" in done.stderr
    assert "of 60 images are kept in .out.h5.draft" in done.stderr
    assert left == [".out.h5.draft"]


def test_too_small_a_disk_is_said_before_the_work(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("data", "generate", "diffranet", "--count", 10**9, "--out", tmp_path / "out.h5") == 1
    assert "free" in said(capsys)


def begun(recipe: Path, out: Path, *options: str, count: int = 20_000) -> subprocess.Popen[str]:
    """Start to generate, and return once work is under way."""
    command = [
        sys.executable,
        "-m",
        "deepfreak",
        "data",
        "generate",
        str(recipe),
        "--count",
        str(count),
    ]
    process = subprocess.Popen(
        [*command, "--out", str(out), *options],
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    deadline = time.monotonic() + 60
    while sum(f.stat().st_size for f in out.parent.iterdir()) < 500_000:
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.1)
    return process


@pytest.mark.parametrize("workers", [1, 2])
def test_ctrl_c_is_one_line_and_keeps_what_is_done(
    recipe: Path, tmp_path: Path, workers: int
) -> None:
    folder = tmp_path / "results"
    folder.mkdir()
    process = begun(recipe, folder / "out.h5", "--workers", str(workers))
    os.killpg(process.pid, signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert err.strip() == (
        "deepfreak: interrupted; what is done is kept in .out.h5.draft: give the same command "
        "again to resume"
    )
    assert [path.name for path in folder.iterdir()] == [".out.h5.draft"]


def test_after_kill_9_the_same_command_makes_the_same_file(recipe: Path, tmp_path: Path) -> None:
    folder = tmp_path / "results"
    folder.mkdir()
    out, whole = folder / "out.h5", tmp_path / "whole.h5"
    process = begun(recipe, out, count=25)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate(timeout=60)
    assert [path.name for path in folder.iterdir()] == [".out.h5.draft"]
    assert (
        run("data", "generate", recipe, "--count", 25, "--out", out, "--workers", 2, "--resume")
        == 0
    )
    assert run("data", "generate", recipe, "--count", 25, "--out", whole) == 0
    assert out.read_bytes() == whole.read_bytes()
    assert list(folder.iterdir()) == [out]


def test_a_second_run_on_the_same_output_is_one_line(
    recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "results"
    folder.mkdir()
    process = begun(recipe, folder / "out.h5")
    try:
        assert run("data", "generate", recipe, "--count", 20_000, "--out", folder / "out.h5") == 1
        assert "another process is making" in said(capsys)
    finally:
        process.kill()
        process.communicate()


def test_the_recipes_plan_gives_count_seed_and_splits(recipe: Path, tmp_path: Path) -> None:
    plan = "count = 3\nseed = 7\nsplits = { train = 2, test = 1 }\n"
    papers = "count = 25000\nsplits = { train = 10000, validation = 2400, test = 12600 }\n"
    assert papers in recipe.read_text()
    recipe.write_text(recipe.read_text().replace(papers, plan))
    out = tmp_path / "out.h5"
    assert run("data", "generate", recipe, "--out", out) == 0
    with Dataset.open(out) as data:
        assert (len(data), data.manifest["seed"]) == (3, 7)
        assert data.splits == {"train": (0, 2), "test": (2, 1)}
    assert run("data", "generate", recipe, "--count", 2, "--out", out, "--overwrite") == 0
    with Dataset.open(out) as data:
        assert (len(data), data.splits) == (2, {})


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--splits", "train"], "train=10,test=5"),
        (["--splits", "train=1,train=1"], "train=10,test=5"),
        (["--splits", "train=9"], "do not fit into 2"),
        (["--shard", "3/2"], "K/N"),
        (["--shard", "0/2"], "K/N"),
        (["--shard", "1/3"], "at most the 2 images"),
    ],
)
def test_parts_that_make_no_sense_are_one_line_and_exit_2(
    recipe: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    options: list[str],
    expected: str,
) -> None:
    assert (
        run("data", "generate", recipe, "--count", 2, "--out", tmp_path / "out.h5", *options) == 2
    )
    assert expected in said(capsys)
    assert list(tmp_path.iterdir()) == [recipe]


def test_no_dask_scheduler_is_one_line(
    recipe: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pytest.importorskip("distributed", reason="needs Dask: pip install '.[dask]'")
    monkeypatch.setattr("deepfreak.datasets.executors.SECONDS_TO_CONNECT", 1)
    out = tmp_path / "out.h5"
    assert (
        run("data", "generate", recipe, "--count", 2, "--out", out, "--dask", "tcp://127.0.0.1:1")
        == 1
    )
    assert "no Dask scheduler answers at tcp://127.0.0.1:1" in said(capsys)
    assert list(tmp_path.iterdir()) == [recipe]
