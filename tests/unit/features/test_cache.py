import os
import subprocess
import sys
import threading
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest

from deepfreak.datasets import Dataset
from deepfreak.errors import DatasetError
from deepfreak.features import GLCM, LBP, SIFT, FeatureCache, extract
from deepfreak.features.cache import BLOCK, FAMILY

PIXELS = np.random.default_rng(8).integers(0, 9, (BLOCK * 2 + 30, 12, 12), dtype=np.uint8)


@dataclass(frozen=True)
class Sums:
    """Sums of the first row and of all pixels; counts its calls."""

    power: int = 1
    calls: list = field(default_factory=list)
    names = ("first_row", "all")

    def settings(self):
        return {"extractor": "sums", "power": self.power}

    def arrays(self):
        return {}

    def __call__(self, image, valid=None):
        self.calls.append(image)
        chosen = image**self.power * (1.0 if valid is None else valid)
        return np.array([chosen[0].sum(), chosen.sum()])


def dataset(images, *, valid=None, manifest=None):
    return Dataset(
        path=Path("some.h5"),
        images=images,
        labels=np.zeros(len(images), np.uint8),
        classes=("blank", "weak"),
        truth={},
        manifest=manifest or {},
        valid=valid,
    )


def calls_for(cache, data, extractor=None):
    """Return how many images are read for the vectors of `data`, after checking the vectors."""
    extractor = replace(extractor or Sums(), calls=[])
    vectors = cache.vectors(extractor, data)
    calls = len(extractor.calls)
    np.testing.assert_array_equal(vectors, extract(extractor, data.images, data.valid))
    return calls


@pytest.fixture
def cache(tmp_path):
    return FeatureCache(tmp_path / "features")


def files(cache):
    return sorted(cache.folder.rglob("*.npz"))


def test_images_are_looked_at_once(cache):
    data = dataset(PIXELS)
    assert calls_for(cache, data) == len(PIXELS)
    assert calls_for(cache, data) == 0


def test_workers_change_nothing(cache):
    data = dataset(PIXELS)
    expected = extract(Sums(), PIXELS)
    for workers in (3, 1):
        np.testing.assert_array_equal(cache.vectors(Sums(), data, workers=workers), expected)


def test_progress_counts_every_image_once(cache):
    for _ in range(2):
        done = []
        cache.vectors(Sums(), dataset(PIXELS), advance=done.append)
        assert sum(done) == len(PIXELS)


def test_other_settings_images_and_valid_pixels_are_others(cache):
    valid = np.ones(PIXELS.shape, bool)
    valid[:, 3:5] = False
    other = PIXELS.copy()
    other[300, 5, 5] += 1
    total = len(PIXELS)
    calls_for(cache, dataset(PIXELS))
    assert calls_for(cache, dataset(PIXELS), Sums(power=2)) == total
    assert calls_for(cache, dataset(other)) == total
    assert calls_for(cache, dataset(PIXELS, valid=valid)) == total
    valid[7, 7, 7] = False
    assert calls_for(cache, dataset(PIXELS, valid=valid)) == total
    assert calls_for(cache, dataset(PIXELS[:-1])) == total - 1
    assert calls_for(cache, dataset(PIXELS)) == 0


def test_the_hash_in_the_manifest_stands_for_the_images(cache):
    class Counting:
        shape = PIXELS.shape
        read = 0

        def __len__(self):
            return len(PIXELS)

        def __getitem__(self, index):
            Counting.read += 1
            return PIXELS[index]

    data = dataset(Counting(), manifest={"sha256": {"images": "ab"}})
    cache.vectors(Sums(), data)
    Counting.read = 0
    cache.vectors(Sums(), data)
    assert Counting.read <= 3


def test_a_manifest_of_other_images_is_noticed(cache):
    manifest = {"sha256": {"images": "ab"}}
    calls_for(cache, dataset(PIXELS, manifest=manifest))
    assert calls_for(cache, dataset(PIXELS[::-1], manifest=manifest)) == len(PIXELS)
    assert calls_for(cache, dataset(PIXELS[:300], manifest=manifest)) == 300


def test_splits_of_one_file_are_others(cache):
    manifest = {"sha256": {"images": "ab"}}
    same = np.repeat(PIXELS[:1], 40, axis=0)  # the check of a few images cannot tell
    for first in (0, 40):
        split = {"split": {"name": "train", "first": first, "count": 40}}
        assert calls_for(cache, dataset(same, manifest=manifest | split)) == 40


def damage(path, how):
    content = bytearray(path.read_bytes())
    if how == "emptied":
        content.clear()
    elif how == "truncated":
        del content[len(content) // 2 :]
    elif how == "longer":
        content += b"0"
    else:
        content[how] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("how", ["emptied", "truncated", "longer", 0, 9, 700, -40, -1])
def test_a_damaged_file_costs_its_block_only(cache, how):
    data = dataset(PIXELS)
    calls_for(cache, data)
    damage(files(cache)[1], how)
    assert calls_for(cache, data) == BLOCK
    assert calls_for(cache, data) == 0


def test_files_in_each_others_place_are_noticed(cache):
    data = dataset(PIXELS)
    calls_for(cache, data)
    first, second, _ = files(cache)
    content = first.read_bytes()
    first.write_bytes(second.read_bytes())
    second.write_bytes(content)
    assert calls_for(cache, data) == 2 * BLOCK


def test_a_folder_in_a_files_place_is_no_error(cache):
    data = dataset(PIXELS)
    calls_for(cache, data)
    path = files(cache)[0]
    path.unlink()
    path.mkdir()
    assert calls_for(cache, data) == BLOCK


def test_a_new_generation_computes_again(cache):
    data = dataset(PIXELS)
    calls_for(cache, data)
    assert calls_for(replace(cache, generation=99), data) == len(PIXELS)


def test_a_folder_that_cannot_be_made_only_costs_the_time(tmp_path):
    (tmp_path / "file").write_text("not a folder")
    cache = FeatureCache(tmp_path / "file" / "features")
    for _ in range(2):
        assert calls_for(cache, dataset(PIXELS)) == len(PIXELS)


def test_a_full_disk_only_costs_the_time(cache, monkeypatch):
    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    assert calls_for(cache, dataset(PIXELS)) == len(PIXELS)
    assert [path for path in cache.folder.rglob("*") if path.is_file()] == []


def test_two_at_once_agree(cache):
    data, found = dataset(PIXELS), []
    threads = [
        threading.Thread(target=lambda: found.append(cache.vectors(Sums(), data))) for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    expected = extract(Sums(), PIXELS)
    assert len(found) == 3
    for vectors in found:
        np.testing.assert_array_equal(vectors, expected)
    assert calls_for(cache, data) == 0


KILLED = """
import os, signal, sys
from pathlib import Path
from test_cache import PIXELS, BLOCK, Sums, dataset
from deepfreak.features import FeatureCache

class Deadly(Sums):
    def __call__(self, image, valid=None):
        if len(self.calls) == BLOCK + 9:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().__call__(image, valid)

FeatureCache(Path(sys.argv[1])).vectors(Deadly(), dataset(PIXELS))
"""


def test_kill_9_loses_a_block_at_most(cache):
    here = f"{Path(__file__).parent}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"
    done = subprocess.run(
        [sys.executable, "-c", KILLED, str(cache.folder)],
        env=os.environ | {"PYTHONPATH": here},
        check=False,
    )
    assert done.returncode == -9
    assert calls_for(cache, dataset(PIXELS)) == len(PIXELS) - BLOCK


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_an_image_without_finite_numbers_is_named_and_not_stored(cache, value):
    class Spoiled(Sums):
        def __call__(self, image, valid=None):
            return super().__call__(image, valid) if image.any() else np.array([0, value])

    images = PIXELS.copy()
    images[BLOCK + 3] = 0
    manifest = {"split": {"name": "train"}}
    with pytest.raises(
        DatasetError, match=rf"image {BLOCK + 3} of split train: .*all = "
    ) as caught:
        cache.vectors(Spoiled(), dataset(images, manifest=manifest))
    assert "\n" not in str(caught.value)
    assert len(files(cache)) == 1


def test_an_image_without_valid_pixels_is_named(cache):
    valid = np.ones(PIXELS.shape, bool)
    valid[2] = False
    with pytest.raises(DatasetError, match=r"some.h5, image 2: expected a pair of valid"):
        cache.vectors(GLCM(distances=(1,)), dataset(PIXELS, valid=valid))


def test_an_empty_data_set_has_no_vectors(cache):
    assert cache.vectors(Sums(), dataset(PIXELS[:0])).shape == (0, 2)
    assert list(cache.descriptors(SIFT(), dataset(PIXELS[:0]))) == []


def test_any_glcm_of_the_family_is_a_choice_of_its_columns(cache):
    data = dataset(PIXELS[:8])
    cache.vectors(FAMILY, data)
    before = files(cache)
    for glcm in (
        GLCM(distances=(8, 1), angles_deg=(135, 0.0)),
        GLCM(distances=(4,), angles_deg=(90,)),
        GLCM(),
    ):
        np.testing.assert_array_equal(cache.vectors(glcm, data), extract(glcm, data.images))
    assert files(cache) == before


def test_a_glcm_outside_the_family_is_stored_as_it_is(cache):
    data = dataset(PIXELS[:8])
    for glcm in (GLCM(distances=(3,)), GLCM(distances=(1,), angles_deg=(30,))):
        np.testing.assert_array_equal(cache.vectors(glcm, data), extract(glcm, data.images))
    assert len(files(cache)) == 2


def test_offsets_that_nobody_asked_for_may_be_without_pairs(cache):
    glcm = GLCM(distances=(2,), angles_deg=(0, 90))
    valid = np.zeros((8, 12, 12), bool)
    valid[:, ::2, ::2] = True
    data = dataset(PIXELS[:8], valid=valid)
    np.testing.assert_array_equal(cache.vectors(glcm, data), extract(glcm, data.images, valid))


def test_lbp_is_stored_by_points_and_radius(cache):
    data = dataset(PIXELS[:8])
    for lbp in (LBP(points=8, radius=1), LBP(points=8, radius=2)):
        for _ in range(2):
            np.testing.assert_array_equal(cache.vectors(lbp, data), extract(lbp, data.images))
    assert len(files(cache)) == 2


@pytest.fixture(scope="module")
def spotted():
    """Images of noise blurred to blobs, some blank, with a gap in each."""
    rng = np.random.default_rng(1)
    images = np.kron(rng.integers(0, 256, (9, 12, 12)), np.ones((1, 6, 6))).astype(np.uint8)
    images[4] = 7
    valid = np.ones(images.shape, bool)
    valid[:, 30:34] = False
    return dataset(images, valid=valid)


def test_words_are_those_of_a_fit_without_cache(cache, spotted):
    sift = SIFT(clusters=6)
    expected = sift.fit(map(sift.describe, spotted.images, spotted.valid), seed=2)
    for workers in (1, 2):
        words = cache.words(sift, spotted, seed=2, workers=workers)
        np.testing.assert_array_equal(words.codebook, expected.codebook)
        np.testing.assert_array_equal(
            cache.vectors(words, spotted), extract(words, spotted.images, spotted.valid)
        )


def test_codebooks_of_other_seeds_are_others(cache, spotted):
    one, other = (cache.words(SIFT(clusters=6), spotted, seed=seed) for seed in (0, 1))
    assert not np.array_equal(one.codebook, other.codebook)


def test_descriptors_are_computed_once_for_all_codebooks(cache, spotted, monkeypatch):
    first = cache.words(SIFT(clusters=6), spotted)

    def never(*_):
        raise AssertionError("described again")

    monkeypatch.setattr(SIFT, "describe", never)
    other = cache.words(SIFT(clusters=9), spotted, seed=1)
    for words in (first, other):
        assert cache.vectors(words, spotted).shape == (9, words.sift.clusters)


def test_a_damaged_codebook_is_fitted_again(cache, spotted):
    sift = SIFT(clusters=6)
    before = set(files(cache))
    expected = cache.words(sift, spotted)
    for path in set(files(cache)) - before:
        damage(path, 300)
    np.testing.assert_array_equal(cache.words(sift, spotted).codebook, expected.codebook)


def test_progress_of_words_counts_every_image_once(cache, spotted):
    for _ in range(2):
        done = []
        words = cache.words(SIFT(clusters=6), spotted, advance=done.append)
        assert sum(done) == 9
    for _ in range(2):
        done = []
        cache.vectors(words, spotted, advance=done.append)
        assert sum(done) == 9


def test_the_default_folder_follows_the_environment(tmp_path, monkeypatch):
    monkeypatch.setenv("DEEPFREAK_CACHE", str(tmp_path))
    assert FeatureCache().folder == tmp_path / "features"
