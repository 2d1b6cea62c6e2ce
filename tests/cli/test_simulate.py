"""`deepfreak data simulate`: what it writes and what it says."""

import json
from pathlib import Path

import h5py
import numpy as np
import pytest
from PIL import Image

from deepfreak.cli import main
from deepfreak.cli.data.simulate import simulate
from deepfreak.datasets.shots import FORMATS
from deepfreak.formats import read_frames

QUICK = (
    "crystal.structure.cell=[40, 50, 60, 90, 90, 90]",
    "crystal.mosaic_domains=5",
    "detector.image_size=[96, 128]",
)


def run(command: str, *arguments: object) -> int:
    """Run a command on a quick variant of the diffranet recipe in this process."""
    changes = [word for change in QUICK for word in ("--set", change)]
    return main(
        ["data", command, "diffranet", *changes, *(str(argument) for argument in arguments)]
    )


def said(capsys: pytest.CaptureFixture[str]) -> str:
    """Return the line that was said on stderr, before what to do next."""
    line, *rest = capsys.readouterr().err.strip().splitlines()
    assert all(one.startswith("next: ") for one in rest)
    return line


def test_pictures_are_the_images_that_generate_puts_at_their_index(tmp_path: Path) -> None:
    count = ("--count", 4, "--seed", 6)
    assert run("generate", *count, "--out", tmp_path / "set.h5") == 0
    assert run("simulate", *count, "--format", "pgm", "--out", tmp_path / "pgm") == 0
    part = ("--count", 2, "--seed", 6, "--first", 2, "--format", "png")
    assert run("simulate", *part, "--out", tmp_path / "png", "--workers", 2) == 0
    with h5py.File(tmp_path / "set.h5") as file:
        images = file["images"][:]
    for index, suffix in [(0, "pgm"), (1, "pgm"), (3, "pgm"), (2, "png"), (3, "png")]:
        with Image.open(tmp_path / suffix / f"shot_{index:06d}.{suffix}") as picture:
            np.testing.assert_array_equal(np.asarray(picture), images[index])
    assert not (tmp_path / "png" / "shot_000000.png").exists()


def test_it_says_in_one_line_what_it_wrote(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("simulate", "--count", 2, "--out", tmp_path / "new" / "shots") == 0
    line = said(capsys)
    assert "2 shots as cbf" in line
    assert "shots.json" in line
    names = sorted(path.name for path in (tmp_path / "new" / "shots").iterdir())
    assert names == ["shot_000000.cbf", "shot_000001.cbf", "shots.json"]


def test_class_and_previews_and_hdf5_go_together(tmp_path: Path) -> None:
    arguments = ("--count", 2, "--class", "good", "--png", "--format", "h5")
    assert run("simulate", *arguments, "--out", tmp_path) == 0
    run_of = json.loads((tmp_path / "shots.json").read_text())
    assert {shot["class"] for shot in run_of["shots"]} == {"good"}
    for number, shot in enumerate(run_of["shots"]):
        assert (shot["file"], shot["frame"]) == ("shots.h5", number)
        with Image.open(tmp_path / f"shot_{shot['index']:06d}_rings.png") as picture:
            assert picture.mode == "RGB"
    assert len(list(read_frames(tmp_path / "shots.h5"))) == 2


def test_a_changed_setting_changes_the_files(tmp_path: Path) -> None:
    changes = ("--set", "beam.wavelength_A=1.3", "--set", "beam.wavelength_rms=0")
    assert run("simulate", *changes, "--out", tmp_path) == 0
    (frame,) = read_frames(tmp_path / "shot_000000.cbf")
    assert frame.wavelength_A == pytest.approx(1.3)
    run_of = json.loads((tmp_path / "shots.json").read_text())
    assert run_of["experiment"]["beam"]["wavelength_A"] == 1.3


@pytest.mark.parametrize(
    ("arguments", "code", "expected"),
    [
        (["--set", "beam.wavelenght_A=1.3"], 2, "did you mean wavelength_A?"),
        (["--set", "beam.wavelength_A"], 2, "beam.wavelength_A=1.3"),
        (["--set", "beam.wavelength_A=0"], 2, "greater than 0, found 0"),
        (["--class", "brilliant"], 2, "blank, no-crystal"),
        (["--noiseless"], 2, "take tiff or h5"),
        (["--format", "jpeg"], 2, "'pgm', 'png'"),
        (["--first", "-1"], 2, "--first"),
    ],
)
def test_what_cannot_be_done_is_one_line_and_leaves_nothing(
    arguments: list[str],
    code: int,
    expected: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run("simulate", "--out", tmp_path / "new", *arguments) == code
    assert expected in said(capsys)
    assert not list((tmp_path / "new").glob("*"))


def test_a_structure_that_is_missing_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["data", "simulate", "diffranet", "--structure", "no.pdb", "--out", str(tmp_path)]
    assert main(arguments) == 2
    assert "no.pdb" in said(capsys)
    assert list(tmp_path.iterdir()) == []


def test_files_that_exist_are_refused_without_overwrite(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("simulate", "--out", tmp_path) == 0
    capsys.readouterr()
    assert run("simulate", "--out", tmp_path) == 1
    assert "shots.json exists already" in said(capsys)
    assert run("simulate", "--out", tmp_path, "--overwrite") == 0


def test_a_file_in_the_folders_place_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "shots").write_text("precious")
    assert run("simulate", "--out", tmp_path / "shots") == 1
    assert "is a file; expected the name of a directory" in said(capsys)
    assert (tmp_path / "shots").read_text() == "precious"


def test_the_formats_offered_are_those_there_are() -> None:
    (option,) = (param for param in simulate.params if param.name == "form")
    assert set(option.type.choices) == set(FORMATS)
