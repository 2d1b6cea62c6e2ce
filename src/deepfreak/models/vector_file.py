"""A `VectorModel` as manifest and arrays, those of the classifier and of the extractor."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deepfreak.errors import FrameError, ModelError
from deepfreak.features import Extractor, extractor_from
from deepfreak.models.archive import Arrays, are_classes
from deepfreak.models.fitted import Fitted
from deepfreak.models.forest import FittedForest
from deepfreak.models.perceptron_learner import FittedPerceptrons
from deepfreak.models.svm import FittedSVM
from deepfreak.models.vector_model import VectorModel, probe

KIND = "features"
CLASSIFIERS: dict[str, type[Fitted]] = {
    each.name: each for each in (FittedForest, FittedSVM, FittedPerceptrons)
}
_EXTRACTOR, _CLASSIFIER = "extractor", "classifier"
_PARTS = ("extractor", "classifier", "versions", "check")


def vector_model_parts(model: VectorModel) -> tuple[dict[str, Any], dict[str, Arrays]]:
    """Return manifest and arrays of `model`."""
    arrays = {_CLASSIFIER: model.classifier.arrays(), _EXTRACTOR: model.extractor.arrays()}
    return dict(model.manifest), arrays


def vector_model_from(manifest: Mapping[str, Any], arrays: Mapping[str, Arrays]) -> VectorModel:
    """Return the model of a file.

    Raises
    ------
    ModelError
        A part is missing or does not fit, the extractor finds other features of `probe` than when
        the classifier was trained, or the classifier gives other probabilities.
    """
    _check_manifest(manifest)
    kind = manifest["classifier"].get("classifier")
    if kind not in CLASSIFIERS:
        raise ModelError(
            f"expected the classifier {', '.join(CLASSIFIERS)}, found {kind!r}: use the version of "
            "deepfreak that made it, or train it again"
        )
    extractor = extractor_from(manifest["extractor"], dict(arrays.get(_EXTRACTOR, {})))
    features, classes = len(extractor.names), len(manifest["classes"])
    check = manifest["check"]
    vectors = _recorded(check, "vectors", (classes, features))
    expected = _recorded(check, "probabilities", (classes, classes))
    _check_extractor(extractor, _recorded(check, "probe", (features,)), manifest)
    classifier = CLASSIFIERS[kind].from_arrays(
        arrays.get(_CLASSIFIER, {}), features=features, classes=classes
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
