"""Reading: splits, batches, and the copy that is mapped into memory."""

import json
import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest

from deepfreak.datasets import Dataset, generate
from deepfreak.errors import DatasetError
from deepfreak.physics.experiment import Experiment


def test_a_split_has_the_interface_of_the_whole(made: Path) -> None:
    with Dataset.open(made) as data:
        part = data.split("test")
        assert len(part) == len(part.images) == 3
        assert part.images.shape == (3, 64, 64)
        np.testing.assert_array_equal(part.labels, data.labels[6:9])
        np.testing.assert_array_equal(part.truth["orientation"], data.truth["orientation"][6:9])
        np.testing.assert_array_equal(part.images[1], data.images[7])
        np.testing.assert_array_equal(part.images[-1], data.images[8])
        np.testing.assert_array_equal(part.images[:99], data.images[6:9])
        np.testing.assert_array_equal(part.images[::-1], data.images[6:9][::-1])
        assert len(part.images[2:1]) == 0
        assert len(list(part.images)) == 3
        assert part.manifest["split"] == {"name": "test", "first": 6, "count": 3}
        with pytest.raises(IndexError):
            part.images[3]


def test_an_unknown_split_is_said_with_the_known_ones(made: Path) -> None:
    with (
        pytest.raises(DatasetError, match="no split valid, but: train, test"),
        Dataset.open(made, split="valid"),
    ):
        pass


@pytest.mark.parametrize("place", [(5, 6), (-1, 2), (1, 2, 3)])
def test_a_split_beyond_the_images_is_refused(made: Path, tmp_path: Path, place: tuple) -> None:
    path = shutil.copy(made, tmp_path / "bad.h5")
    with h5py.File(path, "r+") as file:
        file["splits"].attrs["test"] = place
    with pytest.raises(DatasetError, match="within 10 images"), Dataset.open(path):
        pass


@pytest.mark.parametrize(
    ("stated", "said"),
    [
        ({"kind": "deepfreak data set", "format": 9}, "expected version 1 .*, found version 9"),
        ({"kind": "deepfreak evidence table"}, "expected the format deepfreak data set"),
    ],
)
def test_another_format_or_version_is_refused(
    made: Path, tmp_path: Path, stated: dict, said: str
) -> None:
    path = shutil.copy(made, tmp_path / "other.h5")
    with h5py.File(path, "r+") as file:
        file.attrs["manifest"] = json.dumps(json.loads(file.attrs["manifest"]) | stated)
    with pytest.raises(DatasetError, match=said), Dataset.open(path):
        pass


@pytest.mark.parametrize("shuffled", [False, True])
def test_batches_give_each_image_once(made: Path, shuffled: bool) -> None:
    rng = np.random.default_rng(1) if shuffled else None
    with Dataset.open(made) as data:
        batches = list(data.batches(4, rng))
        assert [len(batch.labels) for batch in batches] == [4, 4, 2]
        wavelengths = np.concatenate([batch.truth["wavelength_A"] for batch in batches])
        order = [data.truth["wavelength_A"].tolist().index(value) for value in wavelengths]
        assert sorted(order) == list(range(10))
        assert (order == list(range(10))) is not shuffled
        np.testing.assert_array_equal(
            np.concatenate([b.images for b in batches]), data.images[:][order]
        )
        np.testing.assert_array_equal(
            np.concatenate([b.labels for b in batches]), data.labels[order]
        )


def test_mapped_images_are_the_stored_ones(made: Path, tmp_path: Path) -> None:
    with Dataset.open(made) as data:
        mapped = data.memory_map(tmp_path)
        assert isinstance(mapped.images, np.memmap)
        np.testing.assert_array_equal(mapped.images, data.images[:])
        part = mapped.split("test")
        np.testing.assert_array_equal(part.images[:], data.images[6:9])
        np.testing.assert_array_equal(
            data.split("test").memory_map(tmp_path).images, part.images[:]
        )


def test_a_stale_copy_is_made_again(small: Experiment, tmp_path: Path) -> None:
    path = tmp_path / "two.h5"
    for seed in (1, 2):
        generate(small, count=2, seed=seed, out=path, overwrite=True)
        with Dataset.open(path) as data:
            np.testing.assert_array_equal(data.memory_map().images, data.images[:])
        assert len(list(tmp_path.glob("two.h5.all.*.npy"))) == 1


def test_without_a_hash_no_copy_is_made(made: Path, tmp_path: Path) -> None:
    path = shutil.copy(made, tmp_path / "plain.h5")
    with h5py.File(path, "r+") as file:
        del file.attrs["manifest"]
    with Dataset.open(path) as data, pytest.raises(DatasetError, match="hash of the images"):
        data.memory_map()


def test_valid_pixels_are_read_as_booleans_of_each_part(made: Path, tmp_path: Path) -> None:
    path = Path(shutil.copy(made, tmp_path / "masked.h5"))
    with h5py.File(path, "a") as file:
        valid = np.ones(file["images"].shape, np.uint8)
        valid[7, :5] = 0
        file["valid"] = valid
    with Dataset.open(made) as data:
        assert data.valid is None
        assert data.split("test").valid is None
    with Dataset.open(path) as data:
        part = data.split("test")
        assert part.valid.shape == part.images.shape
        for found in (data.valid[7], part.valid[1], part.valid[0:2][1]):
            assert found.dtype == np.bool_
            assert not found[:5].any()
            assert found[5:].all()


def test_valid_pixels_of_another_shape_are_refused(made: Path, tmp_path: Path) -> None:
    path = Path(shutil.copy(made, tmp_path / "masked.h5"))
    with h5py.File(path, "a") as file:
        file["valid"] = np.ones((2, 3, 3), np.uint8)
    with pytest.raises(DatasetError, match="/valid must be"), Dataset.open(path):
        pass
