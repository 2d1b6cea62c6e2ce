"""What classifiers of vectors have in common: settings that learn, and what was learned.

A `Learner` is a frozen dataclass of settings; its `fit` gives a `Fitted`, which takes vectors and
gives classes or probabilities. Neither knows of images: `vector_model` joins them with an
extractor.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from deepfreak.classes import ClassWeight
from deepfreak.errors import DatasetError

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


class Fitted(Protocol):
    """What vectors have taught.

    Attributes
    ----------
    name
        The kind, `forest`, `svm` or `perceptrons`.
    accuracy_held_out
        Part of the training vectors that was judged rightly by what had not seen them; None where
        that was not asked for or could not be found.
    """

    name: ClassVar[str]

    @property
    def accuracy_held_out(self) -> float | None:
        """See the class."""

    def probabilities(self, vectors: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the probabilities (n, classes) of vectors (n, k)."""

    def predict(self, vectors: NDArray[np.float64]) -> NDArray[np.intp]:
        """Return the most probable class (n,) of vectors (n, k)."""

    def fingerprint(self) -> str:
        """Return a SHA-256 over all that decides on the answers."""


class Learner(Protocol):
    """The settings of a classifier of vectors."""

    # Learners are dataclasses: `dataclasses.replace` changes a setting.
    __dataclass_fields__: ClassVar[dict[str, Any]]
    name: ClassVar[str]

    @property
    def class_weight(self) -> ClassWeight:
        """How much each class weighs."""

    def settings(self) -> dict[str, Any]:
        """Return the settings as JSON values, the kind under `classifier`."""

    def fit(
        self,
        vectors: NDArray[np.float64],
        labels: NDArray[np.integer[Any]],
        *,
        classes: int,
        seed: int = 0,
        workers: int = 1,
        held_out: bool = False,
    ) -> Fitted:
        """Return what `vectors` (n, k) with `labels` (n,) from 0 to `classes` - 1 teach.

        `held_out` asks for what is found from vectors held out: the accuracy, and by what margins
        or outputs are divided. A search that compares predictions has no use for either.

        Raises
        ------
        DatasetError
            A class without vectors, fewer than two classes, or a number that is not finite.
        """


def check_training(
    vectors: NDArray[np.float64],
    labels: NDArray[np.integer[Any]],
    *,
    classes: int,
    class_weight: ClassWeight,
) -> None:
    """Raise `DatasetError` unless a classifier of `classes` classes can be learned from these."""
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


def check_finite(vectors: NDArray[np.float64], names: tuple[str, ...] = ()) -> None:
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


def weights_by_image(
    class_weight: ClassWeight, labels: NDArray[np.integer[Any]], classes: int
) -> NDArray[np.float64]:
    """Return `class_weight` as a weight for each of `labels` (n,)."""
    by_class = np.ones(classes)
    if isinstance(class_weight, tuple):
        by_class = np.asarray(class_weight, np.float64)
    elif class_weight == "balanced":
        by_class = len(labels) / classes / np.bincount(labels, minlength=classes)
    weights: NDArray[np.float64] = by_class[labels]
    return weights


def held_out_scores(
    judge: Callable[[NDArray[np.intp], NDArray[np.intp]], NDArray[np.float64]],
    labels: NDArray[np.integer[Any]],
    *,
    seed: int,
    workers: int,
) -> NDArray[np.float64]:
    """Return what each vector scores (n, classes) by a classifier that did not learn from it.

    Parameters
    ----------
    judge
        Takes the indices of vectors to learn from and of vectors to judge, and returns the scores
        of the latter.
    workers
        Threads over the folds.

    Raises
    ------
    DatasetError
        A class has a single vector.
    """
    from sklearn.model_selection import StratifiedKFold

    counts = np.bincount(labels)
    if counts.min() < 2:
        raise DatasetError(
            "expected two images of every class at least, to learn from one what another "
            f"says, found {counts.min()} of class {counts.argmin()}: use more"
        )
    folds = StratifiedKFold(min(FOLDS, int(counts.min())), shuffle=True, random_state=seed)
    pairs = list(folds.split(np.empty((len(labels), 0)), labels))
    scores = np.empty((len(labels), len(counts)))
    with ThreadPoolExecutor(workers) as pool:
        for (_, unseen), found in zip(
            pairs, pool.map(lambda pair: judge(*pair), pairs), strict=True
        ):
            scores[unseen] = found
    return scores
