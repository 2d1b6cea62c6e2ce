"""A model of images: an extractor, and a classifier of its vectors; and its file."""

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from deepfreak.classes import GROUPS, group_weights, grouped
from deepfreak.datasets.verifying import identity
from deepfreak.encoding import SIZE
from deepfreak.errors import DatasetError, FrameError, ModelError
from deepfreak.features import extractor_from
from deepfreak.features.extraction import Extractor, extract, in_threads
from deepfreak.features.sift import SIFT, VisualWords
from deepfreak.models.archive import Arrays, are_classes
from deepfreak.models.classifier import (
    Fitted,
    Learner,
    check_finite,
    check_weights,
    require_scikit_learn,
)
from deepfreak.models.forest import FittedForest
from deepfreak.models.perceptrons import FittedPerceptrons
from deepfreak.models.svm import FittedSVM
from deepfreak.storage.files import versions

if TYPE_CHECKING:
    from deepfreak.datasets import Dataset
    from deepfreak.features.cache import FeatureCache


CLASSIFIERS: dict[str, type[Fitted]] = {
    each.name: each for each in (FittedForest, FittedSVM, FittedPerceptrons)
}
_PARTS = ("extractor", "classifier", "versions", "check")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class VectorModel:
    """An extractor and a trained classifier.

    `manifest` holds JSON values only: the settings, the data set, the versions, the accuracy held
    out, and the outputs by which a loaded file is checked.
    """

    kind: ClassVar[str] = "features"

    extractor: Extractor
    classifier: Fitted
    classes: tuple[str, ...]
    manifest: Mapping[str, Any]

    @property
    def name(self) -> str:
        """Kinds and fingerprint, for logs."""
        return (
            f"{self.extractor.name}+{self.classifier.name} {self.manifest['classifier_sha256'][:8]}"
        )

    def probabilities(
        self, images: NDArray[np.uint8], valid: NDArray[np.bool_] | None = None, *, workers: int = 1
    ) -> NDArray[np.float64]:
        """Return the probabilities (n, classes) of images; see `Classifier`."""
        return self.classifier.probabilities(
            extract(self.extractor, images, valid, workers=workers)
        )

    def parts(self) -> tuple[dict[str, Any], dict[str, Arrays]]:
        """Return manifest and arrays of a model file."""
        arrays = {"classifier": self.classifier.arrays(), "extractor": self.extractor.arrays()}
        return dict(self.manifest), arrays


def train(
    data: "Dataset",
    *,
    extractor: Extractor | SIFT,
    classifier: Learner,
    groups: bool = False,
    seed: int = 0,
    workers: int = 1,
    advance: Callable[[int], None] | None = None,
    cache: "FeatureCache | None" = None,
) -> VectorModel:
    """Return a model trained on `data`; it does not depend on the number of workers.

    As `extractor`, settings of `SIFT` find their visual words in these images first. With `groups`
    it is trained on two classes, with and without diffraction, and weights of the classes are
    summed. `advance` is called with the number of further images whose features are computed;
    `cache` keeps vectors, without it they are computed. Raises `DatasetError` if a class has no
    image, a label no class, or a feature is not finite; `ModelError` if scikit-learn is not
    installed.
    """
    require_scikit_learn()
    labels, classes = np.asarray(data.labels), tuple(data.classes)
    counts = _count_classes(labels, classes)
    if groups:
        classifier = replace(
            classifier, class_weight=group_weights(classifier.class_weight, classes)
        )
        labels, classes = grouped(labels, classes), GROUPS
        counts = _count_classes(labels, classes)
    check_weights(classifier.class_weight, len(classes))
    if isinstance(extractor, SIFT):
        extractor = _words(extractor, data, seed=seed, workers=workers, cache=cache)
    if cache is None:
        vectors = extract(extractor, data.images, data.valid, workers=workers, advance=advance)
    else:
        vectors = cache.vectors(extractor, data, workers=workers, advance=advance)
    check_finite(vectors, extractor.names)
    fitted = classifier.fit(
        vectors, labels, classes=len(classes), seed=seed, workers=workers, held_out=True
    )
    examples = vectors[[int(np.flatnonzero(labels == label)[0]) for label in range(len(classes))]]
    manifest = {
        "classes": list(classes),
        "extractor": extractor.settings(),
        "features": list(extractor.names),
        "classifier": classifier.settings(),
        "seed": seed,
        "data": {
            "count": len(labels),
            "class_counts": counts,
            "data_set": identity(data.manifest),
            "manifest_sha256": _digest(json.dumps(data.manifest, sort_keys=True).encode()),
            "manifest": dict(data.manifest),
        },
        "accuracy_held_out": fitted.accuracy_held_out,
        "features_sha256": _digest(np.ascontiguousarray(vectors).tobytes()),
        "classifier_sha256": fitted.fingerprint(),
        "versions": versions("numpy", "numba", "opencv-python-headless", "scikit-learn"),
        "check": {
            "vectors": examples.tolist(),
            "probabilities": fitted.probabilities(examples).tolist(),
            "probe": extractor(probe()).tolist(),
        },
    }
    return VectorModel(extractor=extractor, classifier=fitted, classes=classes, manifest=manifest)


def _words(
    sift: SIFT, data: "Dataset", *, seed: int, workers: int, cache: "FeatureCache | None"
) -> VisualWords:
    """Return the visual words of the images of `data`."""
    if cache is not None:
        return cache.words(sift, data, seed=seed, workers=workers)

    def describe(index: int) -> NDArray[np.uint8]:
        valid = None if data.valid is None else data.valid[index]
        return sift.describe(np.asarray(data.images[index]), valid)

    return sift.fit(in_threads(describe, range(len(data)), workers=workers), seed=seed)


def probe() -> NDArray[np.uint8]:
    """Return an image [slow, fast] whose features a model file records.

    Smooth scattering, spots and grain, so that every feature of every extractor is exercised; drawn
    in whole numbers, so that it is the same everywhere.
    """
    slow, fast = np.indices((SIZE, SIZE), dtype=np.int64)
    level = 12 + 1_440_000 // (36_000 + (slow - 240) ** 2 + (fast - 280) ** 2)
    square = np.arange(-8, 9, dtype=np.int64) ** 2
    distance = square[:, None] + square
    for i in range(60):
        top, left = (11 + 37 * i) % (SIZE - 17), (7 + 153 * i) % (SIZE - 17)
        spot = (20 + 3 * i) * 2 // (2 + distance**2 // (1 + i % 4))
        level[top : top + 17, left : left + 17] += spot
    level += (slow * 7 + fast * 13 + slow * fast) % 5
    image: NDArray[np.uint8] = np.minimum(level, 255).astype(np.uint8)
    return image


def _count_classes(labels: NDArray[np.uint8], classes: tuple[str, ...]) -> dict[str, int]:
    counts = np.bincount(labels, minlength=len(classes))
    if counts.size > len(classes):
        raise DatasetError(
            f"expected labels below {len(classes)}, the number of classes, found "
            f"{int(labels.max())}: generate the data set again"
        )
    by_name = dict(zip(classes, counts.tolist(), strict=True))
    absent = [name for name, count in by_name.items() if count == 0]
    if absent or len(classes) < 2:
        raise DatasetError(
            f"expected images of at least two classes and of every one, found none of "
            f"{', '.join(absent) or 'a second class'} among {labels.size}: generate more images"
        )
    return by_name


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def vector_model_from(manifest: Mapping[str, Any], arrays: Mapping[str, Arrays]) -> VectorModel:
    """Return the model of a file.

    Raises `ModelError` if a part is missing or does not fit, the extractor finds other features
    of `probe` than when the classifier was trained, or the classifier gives other
    probabilities.
    """
    _check_manifest(manifest)
    kind = manifest["classifier"].get("classifier")
    if kind not in CLASSIFIERS:
        raise ModelError(
            f"expected the classifier {', '.join(CLASSIFIERS)}, found {kind!r}: use the version of "
            "deepfreak that made it, or train it again"
        )
    extractor = extractor_from(manifest["extractor"], dict(arrays.get("extractor", {})))
    features, classes = len(extractor.names), len(manifest["classes"])
    check = manifest["check"]
    vectors = _recorded(check, "vectors", (classes, features))
    expected = _recorded(check, "probabilities", (classes, classes))
    _check_extractor(extractor, _recorded(check, "probe", (features,)), manifest)
    classifier = CLASSIFIERS[kind].from_arrays(
        arrays.get("classifier", {}), features=features, classes=classes
    )
    if not np.allclose(classifier.probabilities(vectors), expected, rtol=0, atol=1e-9):
        raise _incompatible(manifest, "it gives other probabilities than when it was trained")
    if classifier.fingerprint() != manifest["classifier_sha256"]:
        raise ModelError(
            f"expected the {kind} that the manifest names, found another: do not use this file"
        )
    return VectorModel(
        extractor=extractor,
        classifier=replace(classifier, accuracy_held_out=manifest.get("accuracy_held_out")),
        classes=tuple(manifest["classes"]),
        manifest=manifest,
    )


def _check_manifest(manifest: Mapping[str, Any]) -> None:
    """Raise `ModelError` unless `manifest` has the parts that loading relies on."""
    accuracy = manifest.get("accuracy_held_out")
    if (
        not are_classes(manifest.get("classes"))
        or not all(isinstance(manifest.get(part), dict) for part in _PARTS)
        or not isinstance(manifest.get("classifier_sha256"), str)
        or not (accuracy is None or isinstance(accuracy, float))
    ):
        raise ModelError("expected a complete manifest, found one without its parts: train again")


def _recorded(check: Mapping[str, Any], name: str, shape: tuple[int, ...]) -> NDArray[np.float64]:
    """Return the array of this `name` and `shape` that the manifest records."""
    try:
        return np.asarray(check[name], np.float64).reshape(shape)
    except (KeyError, TypeError, ValueError) as error:
        raise ModelError(
            f"expected {name} of shape {shape} in the manifest, found others: train it again"
        ) from error


def _check_extractor(
    extractor: Extractor, expected: NDArray[np.float64], manifest: Mapping[str, Any]
) -> None:
    """Raise `ModelError` unless the vector of `probe` is `expected`, the one recorded."""
    try:
        found = extractor(probe())
    except FrameError as error:
        raise ModelError(f"its extractor cannot be used: {error}") from error
    if not extractor.arrays():
        alike = np.allclose(found, expected, rtol=1e-6, atol=1e-6)
    else:
        # Key points are OpenCV's, whose code differs from processor to processor: a few may go to
        # another word.
        alike = bool(np.abs(found - expected).sum() <= 0.2 * np.abs(expected).sum())
    if not alike:
        raise _incompatible(manifest, "its extractor finds other features than when it was trained")


def _incompatible(manifest: Mapping[str, Any], why: str) -> ModelError:
    from deepfreak import __version__

    return ModelError(
        f"expected a model that works with deepfreak {__version__}, found one made with "
        f"{manifest['versions'].get('deepfreak', 'unknown')}: {why}; train it again or install "
        "that version"
    )
