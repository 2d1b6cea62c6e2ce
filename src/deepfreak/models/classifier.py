"""What models have in common, and what classifiers of vectors have.

A `Learner` is a frozen dataclass of settings; its `fit` returns a `Fitted`, which gives
probabilities. Neither knows of images: `vector_model` joins them with an extractor.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields
from importlib.util import find_spec
from typing import Any, ClassVar, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from deepfreak.classes import ClassWeight
from deepfreak.errors import DatasetError, FrameError, ModelError
from deepfreak.models.archive import Arrays, fingerprint
from deepfreak.settings import to_json

Array = NDArray[np.float64]
Labels = NDArray[np.integer[Any]]


class Classifier(Protocol):
    """A model that gives each image a probability for each class."""

    @property
    def name(self) -> str:
        """Kind and fingerprint, for logs."""

    @property
    def classes(self) -> tuple[str, ...]:
        """The classes, in the order of the columns of `probabilities`."""

    def probabilities(
        self, images: NDArray[np.uint8], valid: NDArray[np.bool_] | None = None, *, workers: int = 1
    ) -> Array:
        """Return the probabilities (n, classes) of images (n, slow, fast).

        `valid`, of the same shape, is true where a pixel measured something; `workers` threads
        share the images. Raises `FrameError` if an image is of another kind or size, or has no
        valid pixels.
        """


def check_images(
    images: NDArray[np.uint8], valid: NDArray[np.bool_] | None, *, side: int
) -> NDArray[np.uint8]:
    """Return images (n, side, side) as an array; `FrameError` if kind or size do not fit."""
    images = np.asarray(images)
    if images.dtype != np.uint8 or images.shape[1:] != (side, side):
        raise FrameError(
            f"expected uint8 images of {side} x {side} for this network, found {images.dtype} "
            f"{images.shape[1:]}: prepare them"
        )
    if valid is not None and np.shape(valid) != images.shape:
        raise FrameError(
            f"expected valid pixels for images {images.shape}, found {np.shape(valid)}"
        )
    return images


# Table 8, from blank to strong.
CLASS_WEIGHTS: tuple[ClassWeight, ...] = (
    None,
    "balanced",
    (0.35, 0.35, 0.1, 0.1, 0.1),
    (0.3, 0.3, 0.133, 0.133, 0.133),
    (0.25, 0.25, 0.166, 0.166, 0.166),
)

FOLDS = 5

# The trees compare single-precision numbers.
LARGEST = float(np.finfo(np.float32).max)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Fitted(ABC):
    """A trained classifier of vectors, made of plain arrays.

    `name` is the kind: forest, svm or perceptrons. `accuracy_held_out` is that on training vectors
    that were held out; None where that was not asked for or could not be found.
    """

    name: ClassVar[str]

    accuracy_held_out: float | None = None

    @abstractmethod
    def probabilities(self, vectors: Array) -> Array:
        """Return the probabilities (n, classes) of vectors (n, k)."""

    def predict(self, vectors: Array) -> NDArray[np.intp]:
        """Return the most probable class (n,) of vectors (n, k)."""
        most_probable: NDArray[np.intp] = self.probabilities(vectors).argmax(axis=1)
        return most_probable

    def arrays(self) -> Arrays:
        """Return the arrays of a model file by name."""
        names = [field.name for field in fields(self) if field.name != "accuracy_held_out"]
        return {name: np.asarray(getattr(self, name)) for name in names}

    @classmethod
    @abstractmethod
    def from_arrays(cls, arrays: Arrays, *, features: int, classes: int) -> Self:
        """Return the classifier of these arrays; `ModelError` if one is missing or wrong."""

    def fingerprint(self) -> str:
        """Return a SHA-256 over all that decides on the probabilities."""
        return fingerprint(self.arrays())


class Learner(ABC):
    """The settings of a classifier of vectors."""

    # Learners are dataclasses: `dataclasses.replace` changes a setting.
    __dataclass_fields__: ClassVar[dict[str, Any]]
    __slots__ = ()
    name: ClassVar[str]
    class_weight: ClassWeight

    def settings(self) -> dict[str, Any]:
        """Return the settings as JSON values, the kind under `classifier`."""
        return {"classifier": self.name, **to_json(self)}

    @abstractmethod
    def fit(
        self,
        vectors: Array,
        labels: Labels,
        *,
        classes: int,
        seed: int = 0,
        workers: int = 1,
        held_out: bool = False,
    ) -> Fitted:
        """Return the classifier trained on `vectors` (n, k) with `labels` (n,), 0 to `classes` - 1.

        It does not depend on `workers`, the number of threads. `held_out` asks for what is found
        from vectors held out: the accuracy, and by what margins or outputs are divided. Raises
        `DatasetError` if a class is without vectors, there are fewer than two, or a number is not
        finite; `ModelError` if scikit-learn is not installed.
        """


def require_scikit_learn() -> None:
    """Raise `ModelError` where scikit-learn, which only training needs, is not installed."""
    if find_spec("sklearn") is None:
        raise ModelError("training needs scikit-learn: pip install '.[search]'")


def check_training(
    vectors: Array, labels: Labels, *, classes: int, class_weight: ClassWeight
) -> None:
    """Raise `DatasetError` unless a classifier of `classes` classes can be trained on these."""
    if vectors.ndim != 2 or labels.shape != vectors.shape[:1]:
        raise DatasetError(
            f"expected vectors (n, k) and labels (n,), found {vectors.shape} and {labels.shape}"
        )
    counts = np.bincount(labels, minlength=classes) if labels.size else np.zeros(classes, int)
    if classes < 2 or counts.size > classes or not counts.all():
        raise DatasetError(
            f"expected labels 0 to {classes - 1} of two classes or more, each of them there, found "
            f"{counts.tolist()} images by label: use more images"
        )
    check_weights(class_weight, classes)
    check_finite(vectors)


def check_weights(class_weight: ClassWeight, classes: int) -> None:
    """Raise `DatasetError` if there are weights, but not one for each class."""
    if isinstance(class_weight, tuple) and len(class_weight) != classes:
        raise DatasetError(
            f"expected a class weight for each of {classes} classes, found {len(class_weight)}: "
            "give as many, balanced or none"
        )


def check_finite(vectors: Array, names: tuple[str, ...] = ()) -> None:
    """Raise `DatasetError` naming a number that is nan, infinite or beyond single precision."""
    wrong = ~(np.abs(vectors) <= LARGEST)
    if wrong.any():
        row, column = (int(index) for index in np.argwhere(wrong)[0])
        name = names[column] if names else f"feature {column}"
        raise DatasetError(
            f"expected finite features, found {vectors[row, column]} for {name} of image {row}: "
            "leave that image out or use another extractor"
        )


def weights_by_class(class_weight: ClassWeight) -> dict[int, float] | str | None:
    """Return `class_weight` as scikit-learn takes it."""
    return dict(enumerate(class_weight)) if isinstance(class_weight, tuple) else class_weight


def weights_by_image(class_weight: ClassWeight, labels: Labels, classes: int) -> Array:
    """Return `class_weight` as a weight for each of `labels` (n,)."""
    by_class = np.ones(classes)
    if isinstance(class_weight, tuple):
        by_class = np.asarray(class_weight, np.float64)
    elif class_weight == "balanced":
        by_class = len(labels) / classes / np.bincount(labels, minlength=classes)
    weights: Array = by_class[labels]
    return weights


def held_out_scores(
    score: Callable[[NDArray[np.intp], NDArray[np.intp]], Array],
    labels: Labels,
    *,
    seed: int,
    workers: int,
) -> Array:
    """Return the scores of each vector (n, classes) by a classifier not trained on it.

    `score` takes the indices of vectors to train on and of vectors held out, and returns the scores
    of the latter; `workers` threads share the folds. Raises `DatasetError` if a class has one
    vector.
    """
    require_scikit_learn()
    from sklearn.model_selection import StratifiedKFold

    counts = np.bincount(labels)
    if counts.min() < 2:
        raise DatasetError(
            "expected at least two images of every class, one to train on and one held out, found "
            f"{counts.min()} of class {counts.argmin()}: use more"
        )
    folds = StratifiedKFold(min(FOLDS, int(counts.min())), shuffle=True, random_state=seed)
    pairs = list(folds.split(np.empty((len(labels), 0)), labels))
    scores = np.empty((len(labels), len(counts)))
    with ThreadPoolExecutor(workers) as pool:
        found = pool.map(lambda pair: score(*pair), pairs)
        for (_, unseen), each in zip(pairs, found, strict=True):
            scores[unseen] = each
    return scores
