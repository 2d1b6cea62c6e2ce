"""A model of images: an extractor, and a classifier of its vectors."""

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from deepfreak.classes import GROUPS, group_weights, grouped
from deepfreak.datasets.identity import identity
from deepfreak.encoding import SIZE
from deepfreak.errors import DatasetError
from deepfreak.features.extraction import Extractor, extract, in_threads
from deepfreak.features.sift import SIFT, VisualWords
from deepfreak.models.fitted import (
    Fitted,
    Learner,
    check_finite,
    check_weights,
    require_scikit_learn,
)
from deepfreak.storage.files import versions

if TYPE_CHECKING:
    from deepfreak.datasets import Dataset
    from deepfreak.features.cache import FeatureCache


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class VectorModel:
    """An extractor and a trained classifier.

    `manifest` holds JSON values only: the settings, the data set, the versions, the accuracy held
    out, and the outputs by which a loaded file is checked.
    """

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
        return self.classifier.probabilities(
            extract(self.extractor, images, valid, workers=workers)
        )


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

    Parameters
    ----------
    extractor
        Settings of `SIFT` find their visual words in these images first.
    groups
        Train on two classes, with and without diffraction; weights of the classes are summed.
    advance
        Called with the number of further images whose features are computed.
    cache
        Where vectors are kept; without it they are computed.

    Raises
    ------
    DatasetError
        A class has no image, a label no class, or a feature is not finite.
    ModelError
        scikit-learn is not installed.
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
    absent = [name for name, count in zip(classes, counts, strict=True) if count == 0]
    if absent or len(classes) < 2:
        raise DatasetError(
            f"expected images of at least two classes and of every one, found none of "
            f"{', '.join(absent) or 'a second class'} among {labels.size}: generate more images"
        )
    return {name: int(count) for name, count in zip(classes, counts, strict=True)}


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
