"""Features of data sets in a keyed cache, so that each image is processed once.

One directory for each set of features, named by the hash of its inputs: the images and their valid
pixels, the extractor, the generation. In it one file for each block of images.
"""

import hashlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from deepfreak.errors import DatasetError, FrameError
from deepfreak.features.extraction import Extractor, finite, in_threads
from deepfreak.features.glcm import GLCM
from deepfreak.features.sift import SAMPLE, SIFT, VisualWords, nearest
from deepfreak.storage.cache import KeyedCache, key_of
from deepfreak.storage.files import cache_folder

if TYPE_CHECKING:
    from deepfreak.datasets import Dataset

# Increase it when an extractor gives other numbers or the layout of the files changes.
GENERATION = 2
# Images per file: the most that a killed process loses.
BLOCK = 250
# All offsets that the joint search uses (the paper's Table 8).
FAMILY = GLCM(distances=(1, 2, 4, 5, 8), angles_deg=(0, 45, 90, 135))

T = TypeVar("T")
Advance = Callable[[int], None]
Arrays = dict[str, NDArray[Any]]
Valid = NDArray[np.bool_]


def default_folder() -> Path | None:
    """Return the directory for features in the user's cache, None if there is none."""
    folder = cache_folder()
    return None if folder is None else folder / "features"


@dataclass(frozen=True, slots=True)
class FeatureCache:
    """Features of data sets on disk; those of other generations are not used.

    `folder` is created when something is first stored, and any number of processes may share it;
    with None nothing is stored.
    """

    folder: Path | None = field(default_factory=default_folder)
    generation: int = GENERATION

    def vectors(
        self,
        extractor: Extractor,
        data: "Dataset",
        *,
        workers: int = 1,
        advance: Advance | None = None,
    ) -> NDArray[np.float64]:
        """Return the vectors (n, len(extractor.names)) of all images of `data`.

        The slow equivalent is `extract(extractor, data.images, data.valid)`. For a GLCM within
        `FAMILY` the whole family is computed and stored, for visual words the descriptors, so that
        another choice of offsets or words is fast. `workers` threads process the images; `advance`
        is called with the number of further images that are done. `DatasetError` names an image
        that cannot be read, has too few valid pixels, or a number that is not finite; nothing of
        its block is stored.
        """
        source = _source(data, workers, advance)
        if isinstance(extractor, VisualWords):
            return self._histograms(extractor, source)
        if _within_family(extractor):
            # an image may lack pairs at an offset that was not requested
            with suppress(DatasetError):
                whole = self._rows(FAMILY, source)
                column = {name: index for index, name in enumerate(FAMILY.names)}
                return whole[:, [column[name] for name in extractor.names]]
        return self._rows(extractor, source)

    def descriptors(
        self, sift: SIFT, data: "Dataset", *, workers: int = 1, advance: Advance | None = None
    ) -> Iterator[NDArray[np.uint8]]:
        """Yield the descriptors, uint8 (keypoints, 128), of each image of `data` in order.

        They do not depend on the number of clusters. Errors are those of `vectors`.
        """
        source = _source(data, workers, advance)
        for block in range(source.blocks):
            yield from self._described(sift, source, block)

    def words(
        self,
        sift: SIFT,
        train: "Dataset",
        *,
        seed: int = 0,
        workers: int = 1,
        advance: Advance | None = None,
    ) -> VisualWords:
        """Return `sift` fitted to the images of `train`; its codebook is cached as well.

        The slow equivalent is `sift.fit` on `sift.describe` of each image, and the errors are
        those of `vectors` and `sift.fit`.
        """
        source = _source(train, workers, advance)
        about = {
            "codebook": [sift.settings(), seed, SAMPLE, _opencv_version(), version("scikit-learn")],
            "images": source.identity,
        }
        cache, key = self._place(about, 0)
        stored = cache.load_arrays(key)
        if stored is not None:
            source.done(len(train))
            return VisualWords(sift=sift, codebook=stored["codebook"])
        described = (
            each for block in range(source.blocks) for each in self._described(sift, source, block)
        )
        words = sift.fit(described, seed=seed)
        cache.store_arrays(key, words.arrays())
        return words

    def fitted(
        self, extractor: Extractor | SIFT, train: "Dataset", *, seed: int, workers: int = 1
    ) -> Extractor:
        """Return the extractor, fitted to the images of `train` if it is SIFT."""
        if isinstance(extractor, SIFT):
            return self.words(extractor, train, seed=seed, workers=workers)
        return extractor

    def _rows(self, extractor: Extractor, source: "_Source") -> NDArray[np.float64]:
        """Return the vectors of an extractor, by way of the cache."""
        names = extractor.names
        digests = {name: _digest(array) for name, array in extractor.arrays().items()}
        about = {"vectors": [extractor.settings(), digests]}

        def row(image: NDArray[np.uint8], valid: Valid | None) -> NDArray[np.float64]:
            return finite(extractor(image, valid), names)

        def rows(block: int) -> Arrays:
            return {"vectors": np.stack(list(source.each(row, block)))}

        vectors = np.empty((len(source.data), len(names)))
        for block in range(source.blocks):
            vectors[source.slice(block)] = self._block(about, source, block, rows)["vectors"]
        return vectors

    def _described(self, sift: SIFT, source: "_Source", block: int) -> list[NDArray[np.uint8]]:
        """Return the descriptors of each image of a block."""

        def describe(block: int) -> Arrays:
            return _joined(list(source.each(sift.describe, block)))

        about = {"descriptors": [sift.contrast_threshold, _opencv_version()]}
        return _apart(self._block(about, source, block, describe))

    def _histograms(self, words: VisualWords, source: "_Source") -> NDArray[np.float64]:
        """Return the vectors of visual words; the cache has the word of each keypoint."""
        about = {"words": [words.settings(), _digest(words.codebook), _opencv_version()]}

        def assign(block: int) -> Arrays:
            described = self._described(words.sift, source, block)
            return _joined([nearest(each, words.codebook).astype(np.uint16) for each in described])

        vectors = np.empty((len(source.data), words.sift.clusters))
        for block in range(source.blocks):
            found = _apart(self._block(about, source, block, assign))
            vectors[source.slice(block)] = [words.histogram(each) for each in found]
        return vectors

    def _block(
        self,
        about: Mapping[str, Any],
        source: "_Source",
        block: int,
        compute: Callable[[int], Arrays],
    ) -> Arrays:
        """Return the arrays of a block of images, from the cache or from `compute`."""
        cache, key = self._place({**about, "images": source.identity}, block)
        found = cache.load_arrays(key)
        if found is None:
            found = compute(block)
            cache.store_arrays(key, found)
        else:
            source.done(len(source.indices(block)))
        return found

    def _place(self, about: Mapping[str, Any], block: int) -> tuple[KeyedCache, str]:
        """Return the cache and the key of a block of the features described by `about`."""
        kind = key_of({"generation": self.generation, "block": BLOCK, **about})
        return KeyedCache(self.folder, ".npz"), f"{kind}/{block:05d}"


class _Source(NamedTuple):
    """Images, their identity, and how they are processed."""

    data: "Dataset"
    identity: Mapping[str, Any]
    workers: int
    done: Advance

    @property
    def blocks(self) -> int:
        return -(-len(self.data) // BLOCK)

    def slice(self, block: int) -> slice:
        return slice(block * BLOCK, (block + 1) * BLOCK)

    def indices(self, block: int) -> range:
        return range(len(self.data))[self.slice(block)]

    def each(self, work: Callable[[NDArray[np.uint8], Valid | None], T], block: int) -> Iterator[T]:
        """Yield `work(image, valid)` for each image of a block; an error names the image."""

        def one(index: int) -> T:
            data = self.data
            try:
                return work(data.images[index], None if data.valid is None else data.valid[index])
            except (FrameError, OSError) as error:
                part = data.manifest.get("split", {}).get("name")
                where = f"image {index}" + (f" of split {part}" if part else "")
                raise DatasetError(f"{data.path}, {where}: {error}") from error

        for result in in_threads(one, self.indices(block), workers=self.workers):
            yield result
            self.done(1)


def _source(data: "Dataset", workers: int, advance: Advance | None) -> _Source:
    return _Source(data, _identity(data), workers, advance or (lambda _: None))


def _identity(data: "Dataset") -> dict[str, Any]:
    """Return hashes that identify the images of `data` and their valid pixels.

    The manifest's hash identifies the images, and the pixels of a few images check it; without a
    hash all images are hashed. Valid pixels, which no manifest covers, are always hashed.
    """
    total = len(data)
    identity: dict[str, Any] = {"shape": list(data.images.shape)}
    hashes = data.manifest.get("sha256")
    known = hashes.get("images") if isinstance(hashes, dict) else None
    if isinstance(known, str):
        identity |= {"images": known, "split": data.manifest.get("split")}
        looked_at = sorted({0, total // 2, total - 1}) if total else []
    else:
        looked_at = list(range(total))
    pixels = hashlib.sha256()
    for index in looked_at:
        pixels.update(np.asarray(data.images[index]).tobytes())
    identity["pixels"] = pixels.hexdigest()
    if data.valid is not None:
        valid = hashlib.sha256()
        for index in range(total):
            valid.update(np.packbits(data.valid[index]).tobytes())
        identity["valid"] = valid.hexdigest()
    return identity


def _within_family(extractor: Extractor) -> bool:
    return (
        isinstance(extractor, GLCM)
        and set(extractor.distances) <= set(FAMILY.distances)
        and set(extractor.angles_deg) <= set(FAMILY.angles_deg)
    )


def _joined(rows: list[NDArray[Any]]) -> Arrays:
    """Return arrays of different lengths as one array and their lengths."""
    return {"joined": np.concatenate(rows), "lengths": np.array([len(each) for each in rows])}


def _apart(arrays: Arrays) -> list[NDArray[Any]]:
    """Return the arrays that `_joined` joined."""
    return np.split(arrays["joined"], np.cumsum(arrays["lengths"])[:-1])


def _digest(array: NDArray[Any]) -> str:
    about = f"{array.dtype.str} {array.shape} ".encode()
    return hashlib.sha256(about + np.ascontiguousarray(array).tobytes()).hexdigest()


def _opencv_version() -> str:
    import cv2

    return str(cv2.__version__)
