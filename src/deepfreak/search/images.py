"""The images of a search, those to train on and those to choose by, and their features."""

import hashlib
import json
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from deepfreak.classes import GROUPS, groups
from deepfreak.datasets import Dataset
from deepfreak.errors import DatasetError
from deepfreak.features.cache import FeatureCache
from deepfreak.features.glcm import GLCM
from deepfreak.features.lbp import LBP
from deepfreak.features.sift import SIFT
from deepfreak.models.evaluation import Proportion
from deepfreak.search.trial import Trial

TRAIN, VALIDATION = "train", "validation"


Progress = Callable[[str, int], AbstractContextManager[Callable[[int], None]]]


@contextmanager
def no_progress(_what: str, _total: int) -> Iterator[Callable[[int], None]]:
    """Show nothing: a `Progress` for programs."""
    yield lambda _: None


@dataclass(frozen=True, slots=True, kw_only=True)
class Images:
    """Where a search takes its images from.

    `data` has the split `train` and, unless the real images `real` have it, `validation`;
    classifiers have the two groups of real images where these are given.
    """

    data: Path
    real: Path | None = None

    def absolute(self) -> "Images":
        """Return the same for a process in another directory."""
        return Images(data=self.data.absolute(), real=self.real and self.real.absolute())

    @contextmanager
    def open(self) -> Iterator[tuple[Dataset, Dataset]]:
        """Give the images to train on and to choose by, if their classes fit."""
        with (
            Dataset.open(self.data, split=TRAIN) as train,
            Dataset.open(self.real or self.data, split=VALIDATION) as validation,
        ):
            for images, split in ((train, TRAIN), (validation, VALIDATION)):
                if not len(images):
                    raise DatasetError(
                        f"expected images in the split {split}, found none in {images.path}"
                    )
            _check_classes(train)
            expected = GROUPS if self.real else train.classes
            if self.real is not None:
                groups(train.classes)
            if validation.classes != expected:
                raise DatasetError(
                    f"expected the classes {', '.join(expected)}, found "
                    f"{', '.join(validation.classes)} in {validation.path}: "
                    "`deepfreak data prepare` makes sets of real images"
                )
            yield train, validation


def _check_classes(train: Dataset) -> None:
    """Reject training images on which every trial would fail."""
    counts = np.bincount(train.labels, minlength=len(train.classes))
    absent = [name for name, count in zip(train.classes, counts, strict=True) if not count]
    if absent or len(counts) < 2:
        raise DatasetError(
            "expected training images of at least two classes and of every one, found none of "
            f"{', '.join(absent) or 'a second class'} in {train.path}: generate more images"
        )


def first_images(data: Dataset, count: int | None) -> Dataset:
    """Return the first `count` images of `data`, or all if there are no more or it is None."""
    if count is None or count >= len(data):
        return data
    # where a subset lies is part of its manifest, which tells it from others
    whole = data.manifest.get("split", {"name": "all", "first": 0})
    part = {"name": f"{whole['name']}-{count}", "first": whole["first"], "count": count}
    chosen = replace(data, splits={"part": (0, count)}).split("part")
    return replace(chosen, manifest=data.manifest | {"split": part})


def described(data: Dataset) -> dict[str, Any]:
    """Return what tells images from others: their number, classes and hashes, as JSON values."""
    manifest = json.dumps(data.manifest, sort_keys=True).encode()
    return {
        "name": data.path.name,
        "count": len(data),
        "classes": list(data.classes),
        "manifest_sha256": hashlib.sha256(manifest).hexdigest(),
        "labels_sha256": hashlib.sha256(data.labels.tobytes()).hexdigest(),
    }


def accuracy_of(trial: Trial) -> Proportion:
    """Return how many validation images a trial that succeeded classified correctly."""
    if trial.outcome is None:
        raise AssertionError
    return Proportion(trial.outcome.info["hits"], trial.outcome.info["total"])


class Extraction:
    """Fills the cache with the features of data sets."""

    def __init__(
        self, cache: FeatureCache, parts: tuple[Dataset, ...], *, progress: Progress = no_progress
    ) -> None:
        self.seconds = 0.0  # that it has taken in this process
        self.cache, self._parts, self._progress = cache, parts, progress
        self._cached: set[str] = set()

    def ensure(
        self,
        extractor: GLCM | LBP | SIFT,
        *,
        workers: int,
        meanwhile: Callable[[], None] = lambda: None,
    ) -> None:
        """Compute what `extractor` needs of each image by threads, unless the cache has it.

        For SIFT these are the descriptors; for GLCM they are the same for all distances and angles.
        `meanwhile` is called now and then, from this thread.
        """
        name = "glcm" if isinstance(extractor, GLCM) else "sift"
        if isinstance(extractor, LBP):
            name = f"lbp points {extractor.points} radius {extractor.radius:g}"
        if name in self._cached:
            return
        start = time.perf_counter()
        try:
            with self._progress(f"features {name}", sum(map(len, self._parts))) as show:

                def advance(done: int) -> None:
                    show(done)
                    meanwhile()

                for data in self._parts:
                    if isinstance(extractor, SIFT):
                        found = self.cache.descriptors(
                            extractor, data, workers=workers, advance=advance
                        )
                        deque(found, maxlen=0)
                    else:
                        self.cache.vectors(extractor, data, workers=workers, advance=advance)
        finally:
            self.seconds += time.perf_counter() - start
        self._cached.add(name)
