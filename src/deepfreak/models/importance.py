"""Importance of features: the accuracy that is lost when they are shuffled between images.

Permutation importance (Breiman 2001, section 10) on images that were not trained on. Features that
say the same, as co-occurrence at neighbouring distances does, replace one another: alone none of
them seems to matter. So kinds of features are shuffled together as well, which scikit-learn's
`permutation_importance` does not offer.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from deepfreak.classes import group_probabilities, grouped
from deepfreak.features import Images, extract
from deepfreak.models.evaluation import must_group

if TYPE_CHECKING:
    from deepfreak.datasets import Dataset
    from deepfreak.models import VectorModel

# Enough for an accuracy to a third of a point; all of a test set would take many minutes.
MAX_IMAGES = 2000

Predict = Callable[[NDArray[np.float64]], NDArray[np.intp]]

_GLCM = re.compile(r"glcm_(?P<property>\w+)_d(?P<distance>\d+)_a(?P<angle>.+)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Importance:
    """How much accuracy is lost, at each repetition, without one feature or a kind of several."""

    name: str
    features: int
    drops: tuple[float, ...]

    @property
    def mean(self) -> float:
        """Mean loss, as a part of all images."""
        return float(np.mean(self.drops))

    @property
    def spread(self) -> float:
        """Standard deviation of the losses."""
        return float(np.std(self.drops, ddof=1)) if len(self.drops) > 1 else 0.0

    def to_json(self) -> dict[str, Any]:
        """Return the values as JSON."""
        return {
            "name": self.name,
            "features": self.features,
            "mean": self.mean,
            "spread": self.spread,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Importances:
    """The importance of every feature and of every kind, each from the largest to the smallest.

    `accuracy` is that of the features as they are, over `images` images.
    """

    accuracy: float
    images: int
    features: tuple[Importance, ...]
    kinds: tuple[Importance, ...]

    def to_json(self) -> dict[str, Any]:
        """Return the values as JSON."""
        return {
            "accuracy": self.accuracy,
            "images": self.images,
            "features": [each.to_json() for each in self.features],
            "kinds": [each.to_json() for each in self.kinds],
        }


def importances_of(
    model: "VectorModel",
    data: "Dataset",
    *,
    max_images: int = MAX_IMAGES,
    seed: int = 0,
    repeats: int = 5,
    workers: int = 1,
    advance: Callable[[int], None] | None = None,
) -> Importances:
    """Return the importances of the features of `model` on images of `data`.

    `max_images` of them are drawn with `seed` if there are more. `advance` is called with the
    number of further features and kinds that are done, of `steps(model)`. Classes are grouped as
    `evaluate` does it. Raises `DatasetError` if the classes of `data` are not the model's. Return
    the network, float (n, 1, size, size) to logits (n, classes).

    Convolutions are initialised as in He et al. (2015), by fan-out, the linear layer by torch's
    default; both draw from torch's global generator. Raises `RecipeError` if the second pool is
    larger than its map. Open an HDF5 file for reading, without a lock: some file systems have none.

    A process can open a file twice only with the same locking, so a file that is already open with
    a lock is opened with one. Raises `OSError` as h5py does.
    """
    groups = must_group(model.classes, data)
    rng = np.random.default_rng(seed)
    chosen = np.sort(rng.choice(len(data), min(max_images, len(data)), replace=False))
    valid: Any = None if data.valid is None else _Chosen(data.valid, chosen)
    vectors = extract(model.extractor, _Chosen(data.images, chosen), valid, workers=workers)
    labels = np.asarray(data.labels)[chosen]

    def predict(vectors: NDArray[np.float64]) -> NDArray[np.intp]:
        probabilities = model.classifier.probabilities(vectors)
        if groups:
            probabilities = group_probabilities(probabilities, model.classes)
        predictions: NDArray[np.intp] = probabilities.argmax(axis=1)
        return predictions

    return permutation_importance(
        predict,
        vectors,
        grouped(labels, data.classes) if groups else labels,
        names=model.extractor.names,
        seed=seed,
        repeats=repeats,
        advance=advance,
    )


def steps(model: "VectorModel") -> int:
    """Return how many features and kinds of features `model` has."""
    return len(model.extractor.names) + len(kinds_of(model.extractor.names))


@dataclass(frozen=True, slots=True)
class _Chosen:
    """Some of many images, read when they are indexed."""

    images: Images
    indices: NDArray[np.intp]

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: int) -> NDArray[Any]:
        return self.images[int(self.indices[index])]


def permutation_importance(
    predict: Predict,
    vectors: NDArray[np.float64],
    labels: NDArray[np.integer[Any]],
    *,
    names: Sequence[str],
    seed: int = 0,
    repeats: int = 5,
    advance: Callable[[int], None] | None = None,
) -> Importances:
    """Return what `predict` loses in accuracy when features change places between images.

    `predict` takes vectors (n, k) and returns their classes (n,); `vectors` and `labels` (n,) are
    of images that were not trained on. Kinds are made from the `names` of the k features by
    `kinds_of`. `advance` is called with the number of further features and kinds that are done;
    there are k + len(kinds_of(names)).
    """
    accuracy = float(np.mean(predict(vectors) == labels))

    def losses(name: str, columns: list[int]) -> Importance:
        drops = []
        for repeat in range(repeats):
            # columns that are shuffled together keep their correlation
            order = np.random.default_rng((seed, columns[0], len(columns), repeat)).permutation(
                len(vectors)
            )
            shuffled = vectors.copy()
            shuffled[:, columns] = vectors[order][:, columns]
            drops.append(accuracy - float(np.mean(predict(shuffled) == labels)))
        if advance is not None:
            advance(1)
        return Importance(name=name, features=len(columns), drops=tuple(drops))

    features = [losses(name, [column]) for column, name in enumerate(names)]
    kinds = [losses(name, columns) for name, columns in kinds_of(names).items()]
    return Importances(
        accuracy=accuracy,
        images=len(labels),
        features=tuple(sorted(features, key=lambda each: -each.mean)),
        kinds=tuple(sorted(kinds, key=lambda each: -each.mean)),
    )


def kinds_of(names: Sequence[str]) -> dict[str, list[int]]:
    """Return the columns of each kind of features that has at least two of them, and not all.

    Of co-occurrence features the kinds are the properties, the distances and the angles; of others
    the first word of their names, such as `peaks`.
    """
    found: dict[str, list[int]] = {}
    for column, name in enumerate(names):
        glcm = _GLCM.fullmatch(name)
        kinds = (
            (glcm["property"], f"distance {glcm['distance']}", f"angle {glcm['angle']}")
            if glcm
            else (name.partition("_")[0],)
        )
        for kind in kinds:
            found.setdefault(kind, []).append(column)
    return {kind: columns for kind, columns in found.items() if 2 <= len(columns) < len(names)}
