"""Shards: joined they equal the file of one run; shards of different sets are refused."""

import shutil
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from deepfreak.datasets import generate, join, part_of
from deepfreak.errors import DatasetError
from deepfreak.physics.experiment import Experiment
from tests.unit.datasets.conftest import SPLITS


@pytest.fixture(scope="module")
def shards(small: Experiment, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("shards")
    return [shard(small, folder / f"{k}.h5", (k, 3)) for k in (1, 2, 3)]


def shard(small: Experiment, out: Path, which: tuple[int, int], **changes: Any) -> Path:
    generate(small, out=out, shard=which, **({"count": 10, "seed": 3, "splits": SPLITS} | changes))
    return out


def test_joined_shards_are_the_file_of_one_run(
    shards: list[Path], made: Path, tmp_path: Path
) -> None:
    join(shards[::-1], out=tmp_path / "ten.h5")
    assert (tmp_path / "ten.h5").read_bytes() == made.read_bytes()


@pytest.mark.parametrize("n", [1, 3, 7, 10])
def test_parts_cover_the_series_without_overlap(n: int) -> None:
    parts = [part_of(10, (k, n)) for k in range(1, n + 1)]
    assert [i for first, count in parts for i in range(first, first + count)] == list(range(10))


@pytest.mark.parametrize("which", [(0, 3), (4, 3), (1, 11)])
def test_a_part_that_is_none_is_refused(which: tuple[int, int]) -> None:
    with pytest.raises(DatasetError, match="K/N"):
        part_of(10, which)


@pytest.mark.parametrize(
    ("which", "changes", "said"),
    [
        ((2, 3), {"seed": 4}, r"different seeds \(3 and 4\)"),
        ((2, 3), {"count": 11, "splits": SPLITS}, r"different numbers of images \(10 and 11\)"),
        ((2, 3), {"splits": {}}, "different splits"),
        ((1, 2), {}, "overlaps"),
    ],
)
def test_what_does_not_belong_together_is_refused(
    small: Experiment,
    shards: list[Path],
    tmp_path: Path,
    which: tuple[int, int],
    changes: dict,
    said: str,
) -> None:
    other = shard(small, tmp_path / "other.h5", which, **changes)
    with pytest.raises(DatasetError, match=said):
        join([shards[0], other, shards[2]], out=tmp_path / "out.h5")
    assert list(tmp_path.iterdir()) == [other]


@pytest.mark.parametrize(
    ("left", "said"), [([0, 2], "3 to 5"), ([0, 1], "6 to 9"), ([1, 2], "0 to 2")]
)
def test_a_gap_is_said(shards: list[Path], tmp_path: Path, left: list[int], said: str) -> None:
    with pytest.raises(DatasetError, match=f"no shard with images {said}"):
        join([shards[i] for i in left], out=tmp_path / "out.h5")


@pytest.mark.parametrize("name", ["images", "label", "truth/pulse_photons"])
def test_a_changed_shard_is_refused(shards: list[Path], tmp_path: Path, name: str) -> None:
    changed = Path(shutil.copy(shards[1], tmp_path / "changed.h5"))
    with h5py.File(changed, "r+") as file:
        file[name][0] = np.where(file[name][0] == 1, 2, 1)
    with pytest.raises(DatasetError, match="from its manifest"):
        join([shards[0], changed, shards[2]], out=tmp_path / "out.h5")
    assert list(tmp_path.iterdir()) == [changed]


def test_what_is_no_shard_is_refused(made: Path, tmp_path: Path) -> None:
    path = shutil.copy(made, tmp_path / "plain.h5")
    with h5py.File(path, "r+") as file:
        del file.attrs["manifest"]
    with pytest.raises(DatasetError, match="expected a shard"):
        join([path], out=tmp_path / "out.h5")
