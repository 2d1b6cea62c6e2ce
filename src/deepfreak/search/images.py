"""The images of a search: those to train on, and those to choose by."""

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from deepfreak.classes import GROUPS, groups
from deepfreak.datasets import Dataset
from deepfreak.errors import DatasetError
from deepfreak.models.evaluation import Proportion
from deepfreak.search.trial import Trial

TRAIN, VALIDATION = "train", "validation"


@dataclass(frozen=True, slots=True, kw_only=True)
class Images:
    """Where a search takes its images from.

    Attributes
    ----------
    data
        The data set with the split `train` and, unless `real` has it, `validation`.
    real
        A set of real images with the split `validation`; classifiers then have their two groups.
    """

    data: Path
    real: Path | None = None

    def absolute(self) -> "Images":
        """Return the same for a process in another directory."""
        return Images(data=self.data.absolute(), real=self.real and self.real.absolute())

    @contextmanager
    def open(self) -> Iterator[tuple[Dataset, Dataset]]:
        """Give the training and the validation images.

        Raises
        ------
        DatasetError
            A file or split is missing or empty, or the classes of the two do not fit.
        """
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
