"""Data sets: what is written, reproducibility, and what is refused."""

import json
import multiprocessing
import shutil
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from deepfreak.datasets import Dataset, draft_path, generate, worker_processes
from deepfreak.errors import DatasetError, DeepFreakError, OutputError
from deepfreak.physics.experiment import Experiment
from deepfreak.physics.exposure import simulate
from deepfreak.physics.recipe import experiment_from
from deepfreak.splits import DatasetPlan
from tests.unit.datasets.conftest import SPLITS


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
        generate(small, count=10, seed=3, out=tmp_path / "two.h5", splits=SPLITS, executor=executor)
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


def interrupted(small: Experiment, out: Path, *, after: int, **options: Any) -> None:
    """Start to make ten images and stop once `after` are done."""
    done = 0

    def advance(more: int) -> None:
        nonlocal done
        done += more
        if done >= after:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        generate(small, count=10, seed=3, out=out, splits=SPLITS, advance=advance, **options)


def test_a_failure_on_the_way_leaves_the_draft_only(small: Experiment, tmp_path: Path) -> None:
    interrupted(small, tmp_path / "ten.h5", after=4)
    assert [path.name for path in tmp_path.iterdir()] == [".ten.h5.draft"]


def test_resumed_is_what_an_uninterrupted_run_makes(
    small: Experiment, made: Path, tmp_path: Path
) -> None:
    out = tmp_path / "ten.h5"
    interrupted(small, out, after=4)
    counted: list[int] = []
    options = {"splits": SPLITS, "resume": True, "advance": counted.append}
    generate(small, count=10, seed=3, out=out, **options)
    assert counted == [4, 4, 2]  # finished images, then two tasks
    assert out.read_bytes() == made.read_bytes()
    assert list(tmp_path.iterdir()) == [out]


@pytest.mark.parametrize("damage", ["torn", "flipped", "garbage"])
def test_a_damaged_end_of_the_draft_is_made_again(
    small: Experiment, made: Path, tmp_path: Path, damage: str
) -> None:
    out = tmp_path / "ten.h5"
    interrupted(small, out, after=8)
    draft = draft_path(out)
    content = bytearray(draft.read_bytes())
    if damage == "torn":
        del content[-100:]
    elif damage == "flipped":
        content[-100] ^= 1
    else:
        content += b"SHOT" + bytes(100)
    draft.write_bytes(content)
    counted: list[int] = []
    generate(small, count=10, seed=3, out=out, splits=SPLITS, advance=counted.append)
    assert counted[0] == (8 if damage == "garbage" else 7)
    assert out.read_bytes() == made.read_bytes()


def test_a_draft_cut_in_its_first_line_is_begun_anew(
    small: Experiment, made: Path, tmp_path: Path
) -> None:
    out = tmp_path / "ten.h5"
    interrupted(small, out, after=4)
    draft_path(out).write_bytes(draft_path(out).read_bytes()[:100])
    generate(small, count=10, seed=3, out=out, splits=SPLITS)
    assert out.read_bytes() == made.read_bytes()


def test_what_a_run_killed_at_its_end_has_left_is_removed(
    small: Experiment, made: Path, tmp_path: Path
) -> None:
    out = tmp_path / "ten.h5"
    interrupted(small, out, after=10)
    (tmp_path / ".ten.h5.123.partial").write_bytes(b"half a file")
    generate(small, count=10, seed=3, out=out, splits=SPLITS)
    assert out.read_bytes() == made.read_bytes()
    assert list(tmp_path.iterdir()) == [out]


def test_a_draft_of_another_run_is_kept_unless_told(small: Experiment, tmp_path: Path) -> None:
    out = tmp_path / "ten.h5"
    interrupted(small, out, after=4)
    before = draft_path(out).read_bytes()
    with pytest.raises(OutputError, match="its seed is 3, not 4"):
        generate(small, count=10, seed=4, out=out, splits=SPLITS)
    other = replace(small, name="other")
    with pytest.raises(OutputError, match="its experiment differs"):
        generate(other, count=10, seed=3, out=out, splits=SPLITS)
    assert draft_path(out).read_bytes() == before
    generate(small, count=2, seed=4, out=out, overwrite=True)
    assert list(tmp_path.iterdir()) == [out]


def test_what_is_no_draft_is_left_alone(small: Experiment, tmp_path: Path) -> None:
    draft_path(tmp_path / "ten.h5").write_text("precious\n")
    with pytest.raises(
        OutputError, match="expected the format data set draft, found something else"
    ):
        generate(small, count=1, seed=3, out=tmp_path / "ten.h5")
    assert draft_path(tmp_path / "ten.h5").read_text() == "precious\n"


def test_resume_without_a_draft_is_refused(small: Experiment, tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="no draft"):
        generate(small, count=1, seed=3, out=tmp_path / "ten.h5", resume=True)
    assert list(tmp_path.iterdir()) == []


def test_a_second_run_on_the_same_output_is_refused(small: Experiment, tmp_path: Path) -> None:
    out = tmp_path / "two.h5"

    def meanwhile(_: int) -> None:
        with pytest.raises(OutputError, match="another process is making"):
            generate(small, count=2, seed=3, out=out)

    generate(small, count=2, seed=3, out=out, advance=meanwhile)
    assert list(tmp_path.iterdir()) == [out]


def test_splits_are_the_recipes_for_its_own_count_only(small: Experiment, tmp_path: Path) -> None:
    planned = replace(small, dataset=DatasetPlan(count=3, splits={"train": 2, "test": 1}))
    generate(planned, count=3, seed=0, out=tmp_path / "all.h5")
    generate(planned, count=2, seed=0, out=tmp_path / "few.h5")
    with Dataset.open(tmp_path / "all.h5") as data:
        assert data.splits == {"train": (0, 2), "test": (2, 1)}
    with Dataset.open(tmp_path / "few.h5") as data:
        assert data.splits == {}
    with pytest.raises(DatasetError, match="splits of 3 images do not fit into 2"):
        generate(small, count=2, seed=0, out=tmp_path / "x.h5", splits={"a": 1, "b": 2})


def test_a_worker_that_dies_costs_no_finished_image(
    small: Experiment, made: Path, tmp_path: Path
) -> None:
    out = tmp_path / "ten.h5"

    def kill(_: int) -> None:
        for process in multiprocessing.active_children():
            process.kill()

    with (
        pytest.raises(DeepFreakError, match=r"worker process crashed.*4 of 10 images are kept"),
        worker_processes(2) as executor,
    ):
        generate(
            small,
            count=10,
            seed=3,
            out=out,
            splits=SPLITS,
            executor=executor,
            ahead=1,
            advance=kill,
        )
    generate(small, count=10, seed=3, out=out, splits=SPLITS)
    assert out.read_bytes() == made.read_bytes()


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
    command = [
        sys.executable,
        "-m",
        "deepfreak",
        "data",
        "generate",
        "diffranet",
        "--count",
        "5000",
    ]
    process = subprocess.Popen([*command, "--out", str(out)], stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while not list(tmp_path.iterdir()) and time.monotonic() < deadline:
        time.sleep(0.1)
    process.kill()
    process.wait()
    assert list(tmp_path.iterdir())  # the draft, under another name
    assert not out.exists()
