"""A random forest over the numbers of a feature extractor (the paper's section 4.2)."""

import hashlib
import json
import platform
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import metadata
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from deepfreak.errors import DatasetError
from deepfreak.features import Extractor, extract

if TYPE_CHECKING:
    from sklearn.ensemble import RandomForestClassifier

    from deepfreak.dataset import Dataset

FORMAT = 1


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ForestModel:
    """A trained forest, the extractor that feeds it, and where both come from.

    `manifest` holds JSON values only: the settings, the data set, the versions, the accuracy out
    of bag, and a few vectors with their probabilities by which a loaded file is checked.
    """

    extractor: Extractor
    forest: "RandomForestClassifier"
    classes: tuple[str, ...]
    manifest: Mapping[str, Any]

    @property
    def name(self) -> str:
        """Kind and fingerprint, for logs."""
        kind = self.extractor.settings()["extractor"]
        return f"{kind}+forest {self.manifest['forest_sha256'][:8]}"

    def probabilities(
        self,
        images: NDArray[np.uint8],
        valid: NDArray[np.bool_] | None = None,
        *,
        workers: int = 1,
    ) -> NDArray[np.float64]:
        """Return the probabilities (n, classes) of uint8 images (n, slow, fast).

        `valid`, bool of the same shape, is true where a pixel measured something.

        Raises
        ------
        FrameError
            An image is not of that kind or has no valid pixels.
        """
        return vote(self.forest, extract(self.extractor, images, valid, workers=workers))


def vote(forest: "RandomForestClassifier", vectors: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the mean of the trees' class fractions (n, classes) for feature vectors (n, k).

    The slow equivalent is `forest.predict_proba(vectors)`, which spends ten times as long on its
    bookkeeping as on the trees when there is one vector only.
    """
    inputs = np.ascontiguousarray(vectors, dtype=np.float32)
    total = np.zeros((len(vectors), int(forest.n_classes_)))
    for tree in forest.estimators_:
        total += tree.tree_.predict(inputs)
    return total / len(forest.estimators_)


def train_forest(
    data: "Dataset",
    *,
    extractor: Extractor,
    trees: int = 100,
    max_depth: int | None = 20,
    max_features: str | float = "sqrt",
    class_weight: str | None = None,
    seed: int = 0,
    workers: int = 1,
    advance: Callable[[int], None] | None = None,
) -> ForestModel:
    """Return the forest that `data` teaches.

    The settings' own defaults are the paper's best (Table 3). The forest depends on the images,
    the settings and the seed, not on the number of workers. `advance` is called with
    the number of further images whose features are known.

    Raises
    ------
    DatasetError
        A class has no image, or a label no class.
    """
    from sklearn.ensemble import RandomForestClassifier

    labels = np.asarray(data.labels)
    class_counts = _count_classes(labels, data.classes)
    vectors = extract(extractor, data.images, workers=workers, advance=advance)
    settings = {
        "trees": trees,
        "max_depth": max_depth,
        "max_features": max_features,
        "class_weight": class_weight,
        "seed": seed,
    }
    forest = RandomForestClassifier(
        n_estimators=trees,
        max_depth=max_depth,
        max_features=max_features,
        class_weight=class_weight,
        random_state=seed,
        n_jobs=workers,
        oob_score=True,
    )
    with warnings.catch_warnings():
        # With few trees some images are in every bag; the accuracy is then over the others.
        warnings.filterwarnings("ignore", message="Some inputs do not have OOB scores")
        # Its votes over zero trees are 0/0.
        warnings.filterwarnings("ignore", message="invalid value encountered in divide")
        forest.fit(vectors, labels)
    out_of_bag = _accuracy_out_of_bag(forest, labels)
    # One row an image would make up most of the file.
    del forest.oob_decision_function_
    forest.n_jobs = 1
    examples = vectors[
        [int(np.flatnonzero(labels == label)[0]) for label in range(len(class_counts))]
    ]
    manifest = {
        "format": FORMAT,
        "classes": list(data.classes),
        "extractor": extractor.settings(),
        "features": list(extractor.names),
        "forest": settings,
        "data": {
            "count": len(labels),
            "class_counts": class_counts,
            "manifest_sha256": _digest(json.dumps(data.manifest, sort_keys=True).encode()),
            "manifest": dict(data.manifest),
        },
        "accuracy_out_of_bag": out_of_bag,
        "features_sha256": _digest(vectors.tobytes()),
        "forest_sha256": fingerprint(forest),
        "versions": versions(),
        "check": {
            "vectors": examples.tolist(),
            "probabilities": vote(forest, examples).tolist(),
        },
    }
    return ForestModel(
        extractor=extractor, forest=forest, classes=tuple(data.classes), manifest=manifest
    )


def fingerprint(forest: "RandomForestClassifier") -> str:
    """Return a SHA-256 over what the trees decide: features, thresholds, children, fractions."""
    digest = hashlib.sha256()
    for estimator in forest.estimators_:
        tree = estimator.tree_
        for array, kind in (
            (tree.children_left, "<i8"),
            (tree.children_right, "<i8"),
            (tree.feature, "<i8"),
            (tree.threshold, "<f8"),
            (tree.value, "<f8"),
        ):
            digest.update(np.ascontiguousarray(array, dtype=kind).tobytes())
    return digest.hexdigest()


def versions() -> dict[str, str]:
    """Return the versions of what decides on a model's numbers."""
    found = {"python": platform.python_version()}
    for package in ("deepfreak", "numpy", "numba", "scikit-learn", "skops"):
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            # Run from a source tree that was never installed.
            found[package] = "unknown"
    return found


def _count_classes(labels: NDArray[np.uint8], classes: tuple[str, ...]) -> dict[str, int]:
    counts = np.bincount(labels, minlength=len(classes))
    if counts.size > len(classes):
        raise DatasetError(
            f"expected labels below {len(classes)}, the number of classes, found "
            f"{int(labels.max())}: generate the data set again"
        )
    absent = [name for name, count in zip(classes, counts, strict=True) if count == 0]
    if absent or len(classes) < 2:
        raise DatasetError(
            f"expected images of at least two classes and of every one, found none of "
            f"{', '.join(absent) or 'a second class'} among {labels.size}: generate more images"
        )
    return {name: int(count) for name, count in zip(classes, counts, strict=True)}


def _accuracy_out_of_bag(
    forest: "RandomForestClassifier", labels: NDArray[np.uint8]
) -> float | None:
    """Return the accuracy of each image's vote among the trees that did not see it, if any."""
    votes = forest.oob_decision_function_
    judged = np.isfinite(votes).all(axis=1) & (votes.sum(axis=1) > 0)
    if not judged.any():
        return None
    return float(np.mean(votes[judged].argmax(axis=1) == labels[judged]))


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
