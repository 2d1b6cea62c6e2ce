"""One trial of the search: a configuration learned from training images, judged on others."""

import time
from collections.abc import Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from deepfreak.classes import (
    GROUPS,
    group_weights,
    grouped,
    groups,
)
from deepfreak.errors import DatasetError
from deepfreak.models.evaluation import Proportion
from deepfreak.search.space import Picks, configuration

if TYPE_CHECKING:
    from collections.abc import Iterator

    from deepfreak.datasets import Dataset

TRAIN, VALIDATION = "train", "validation"

State = Literal["done", "bound", "failed"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Images:
    """Whence a search takes its images.

    Attributes
    ----------
    data
        The data set with the split `train` and, unless `real` has it, `validation`.
    real
        A set of real images with the split `validation`; its two classes are then what is learned.
    """

    data: Path
    real: Path | None = None

    @contextmanager
    def open(self) -> "Iterator[tuple[Dataset, Dataset]]":
        """Give the training and the validation images.

        Raises
        ------
        DatasetError
            A file or split is missing or empty, or the classes of the two do not fit.
        """
        from deepfreak.datasets import Dataset

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


def _check_classes(train: "Dataset") -> None:
    """Refuse training images of which no classifier could learn: each trial would fail."""
    counts = np.bincount(train.labels, minlength=len(train.classes))
    absent = [name for name, count in zip(train.classes, counts, strict=True) if not count]
    if absent or len(counts) < 2:
        raise DatasetError(
            "expected training images of at least two classes and of every one, found none of "
            f"{', '.join(absent) or 'a second class'} in {train.path}: generate more images"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How a trial ended.

    Attributes
    ----------
    state
        `done`; `bound` where it took longer than a trial may; `failed` for the `reason`.
    hits, total
        Validation images judged rightly, and all of them; 0 of 0 unless it is done.
    features_s, fit_s, judge_s
        Seconds for reading vectors and making visual words, for learning, for judging.
    total_s
        The three together; of a trial that is not done, from when it was handed out.
    """

    state: State
    hits: int = 0
    total: int = 0
    features_s: float = 0.0
    fit_s: float = 0.0
    judge_s: float = 0.0
    total_s: float = 0.0
    reason: str = ""

    @property
    def accuracy(self) -> Proportion:
        """Validation images judged rightly."""
        return Proportion(self.hits, self.total)


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """A point of the space that is being tried (without an outcome) or has been."""

    number: int
    picks: Picks
    outcome: Outcome | None = None

    @property
    def done(self) -> bool:
        """Whether it has an accuracy."""
        return self.outcome is not None and self.outcome.state == "done"

    @property
    def accuracy(self) -> float:
        """The part of the validation images that it judged rightly; nan unless it is done."""
        return self.outcome.accuracy.value if self.outcome is not None else float("nan")


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """What a worker needs to try a point: `score` of it as JSON values, in another process."""

    picks: Picks
    images: Images
    cache: Path | None
    seed: int

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON values; paths are absolute."""
        real = self.images.real
        return {
            "picks": dict(self.picks),
            "data": str(self.images.data.absolute()),
            "real": None if real is None else str(real.absolute()),
            "cache": None if self.cache is None else str(self.cache.absolute()),
            "seed": self.seed,
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "Task":
        """Return the task that `to_json` wrote."""
        real = values["real"]
        images = Images(data=Path(values["data"]), real=None if real is None else Path(real))
        cache = values["cache"]
        return cls(
            picks=values["picks"],
            images=images,
            cache=None if cache is None else Path(cache),
            seed=values["seed"],
        )


def score(task: Mapping[str, Any]) -> dict[str, Any]:
    """Learn and judge what a `Task`, as JSON values, says; return an `Outcome` as JSON values.

    Vectors that are not in the cache are computed, so that the answer never depends on it.

    Raises
    ------
    DeepFreakError
        The images do not allow it, such as fewer descriptors than visual words.
    """
    from deepfreak.features.cache import FeatureCache
    from deepfreak.features.sift import SIFT

    asked = Task.from_json(task)
    chosen = configuration(asked.picks)
    cache = FeatureCache(asked.cache)
    start = time.perf_counter()
    with asked.images.open() as (train, validation):
        extractor = (
            cache.words(chosen.extractor, train, seed=asked.seed)
            if isinstance(chosen.extractor, SIFT)
            else chosen.extractor
        )
        vectors = cache.vectors(extractor, train)
        unseen = cache.vectors(extractor, validation)
        labels, truth = train.labels, validation.labels
        classifier, classes = chosen.classifier, train.classes
        if asked.images.real is not None:
            weights = group_weights(classifier.class_weight, classes)
            classifier = replace(classifier, class_weight=weights)
            labels, classes = grouped(labels, classes), GROUPS
    extracted = time.perf_counter()
    fitted = classifier.fit(vectors, labels, classes=len(classes), seed=asked.seed)
    learned = time.perf_counter()
    verdicts = fitted.predict(unseen)
    judged = time.perf_counter()
    return asdict(
        Outcome(
            state="done",
            hits=int(np.count_nonzero(verdicts == truth)),
            total=len(truth),
            features_s=extracted - start,
            fit_s=learned - extracted,
            judge_s=judged - learned,
            total_s=judged - start,
        )
    )
