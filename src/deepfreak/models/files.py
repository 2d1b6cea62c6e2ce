"""A model as one file: a zip archive of arrays and JSON, never of code; a network as ONNX.

What a file of ONNX is, `network` says. In an archive a forest is stored as skops stores it,
an SVM and what an extractor has learned as arrays, and the manifest lies beside them as
`manifest.json`, so any zip tool shows where a model comes from.
`docs/decisions/0003-model-files.md` tells why a file is believed: by what it contains and by what
it answers, not by the versions it names.
"""

import io
import json
import warnings
import zipfile
from collections.abc import Mapping
from dataclasses import fields
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from deepfreak.errors import FrameError, ModelError, OutputError
from deepfreak.features import Extractor, extractor_from
from deepfreak.models.archive import (
    TRUSTED_TREE,
    check_archive,
    check_schema,
    read_arrays,
    write_arrays,
)
from deepfreak.models.evidence_file import KIND, read_evidence_model, write_evidence_model
from deepfreak.models.evidence_model import EvidenceModel
from deepfreak.models.forest import FittedForest
from deepfreak.models.network import OnnxModel, network_from
from deepfreak.models.perceptron_file import arrays_of, perceptrons_from
from deepfreak.models.perceptron_learner import FittedPerceptrons, numbered
from deepfreak.models.shipped import is_shipped, model_file
from deepfreak.models.sound import check_forest, svm_from
from deepfreak.models.svm import FittedSVM
from deepfreak.models.vector_model import FORMAT, VectorModel, probe
from deepfreak.storage.files import check_output, whole_file

if TYPE_CHECKING:
    from deepfreak.models.fitted import Fitted

MAX_FILE_BYTES = 256 * 2**20
MANIFEST = "manifest.json"
EXTRACTOR, SVM_ARRAYS, PERCEPTRONS = "extractor", "svm", "perceptrons"
NETWORK = ".onnx"
PARTS = ("extractor", "classifier", "versions", "check")
ANSWERS = ("vectors", "probabilities", "probe")


def save_model(
    model: VectorModel | EvidenceModel, path: str | Path, *, overwrite: bool = False
) -> None:
    """Write `model` to `path`, beside its final name first.

    Raises
    ------
    OutputError
        The file exists and `overwrite` is false, cannot be written, or would be too large to be
        read again.
    """
    path = Path(path)
    check_output(path, overwrite=overwrite)
    buffer = io.BytesIO()
    if isinstance(model, VectorModel) and isinstance(model.classifier, FittedForest):
        import skops.io

        forest = model.classifier.forest
        skops.io.dump(forest, buffer, compression=zipfile.ZIP_DEFLATED, compresslevel=9)
    with zipfile.ZipFile(buffer, "a", zipfile.ZIP_DEFLATED) as archive:
        if isinstance(model, EvidenceModel):
            manifest = write_evidence_model(archive, model)
        else:
            if isinstance(model.classifier, FittedSVM):
                write_arrays(archive, SVM_ARRAYS, _arrays_of(model.classifier))
            if isinstance(model.classifier, FittedPerceptrons):
                write_arrays(archive, PERCEPTRONS, arrays_of(model.classifier.perceptrons))
            write_arrays(archive, EXTRACTOR, model.extractor.arrays())
            manifest = dict(model.manifest)
        archive.writestr(MANIFEST, json.dumps(manifest, indent=1, allow_nan=False))
    try:
        _check_sizes(buffer)
    except ModelError as error:
        raise OutputError(
            f"{path} would be too large to be read again: {str(error).rpartition(': ')[0]}; use "
            "fewer or shallower trees, or fewer training images"
        ) from error
    with whole_file(path, overwrite=overwrite) as partial:
        partial.write_bytes(buffer.getvalue())


def load_model(path: str | Path | None = None) -> VectorModel | OnnxModel | EvidenceModel:
    """Return the model in the file `path`, or one that ships with the package.

    `default` (None is the same) and `diffranet` name those that ship: see `models.shipped`. A file
    whose name ends in .onnx holds a network. No code from a file is run, its sizes are
    checked before they are believed, and a network, or both the extractor and the classifier, must
    give the answers that the manifest records.

    Raises
    ------
    ModelError
        The file is missing, damaged, not a model, or does not work with these versions.
    """
    source = model_file(path)
    label = f"the shipped model {path or 'default'}" if is_shipped(path) else str(path)
    content = _read(source, label)
    try:
        return network_from(content) if source.name.endswith(NETWORK) else _parse(content)
    except ModelError as error:
        raise ModelError(f"{label}: {error}") from error


def _read(source: Traversable, label: str) -> bytes:
    try:
        with source.open("rb") as file:
            content: bytes = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise ModelError(f"cannot read {label}: {error.strerror or error}") from error
    if len(content) > MAX_FILE_BYTES:
        raise ModelError(
            f"expected a model of at most {MAX_FILE_BYTES >> 20} MB, found more: {source} is "
            "not a file that `deepfreak model train` made"
        )
    return content


def _parse(content: bytes) -> VectorModel | EvidenceModel:
    """Return the model that the bytes of a file hold, after every check."""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            check_archive(archive)
            parts = json.loads(archive.read(MANIFEST))
            if isinstance(parts, dict) and parts.get("kind") == KIND:
                return read_evidence_model(archive, parts)
            manifest = _check_manifest(parts)
            kind = manifest["classifier"].get("classifier")
            if kind == FittedForest.name:
                check_schema(archive)
            arrays = {
                name: read_arrays(archive, name) for name in (EXTRACTOR, SVM_ARRAYS, PERCEPTRONS)
            }
    except ModelError:
        raise
    except Exception as error:  # zipfile, json and numpy raise a dozen kinds on bad bytes
        raise ModelError(
            "expected a model file made by `deepfreak model train`, found "
            f"{'an empty file' if not content else f'something else or half of one ({error})'}"
        ) from error
    extractor = extractor_from(manifest["extractor"], arrays[EXTRACTOR])
    sizes = {"features": len(extractor.names), "classes": len(manifest["classes"])}
    answers = _recorded_answers(manifest["check"], **sizes)
    made_with = manifest["versions"]
    _check_extractor(extractor, answers["probe"], made_with)
    accuracy = manifest.get("accuracy_held_out")
    classifier: Fitted
    if kind == FittedForest.name:
        classifier = _forest_from(content, made_with, accuracy=accuracy, **sizes)
    elif kind == FittedSVM.name:
        classifier = svm_from(arrays[SVM_ARRAYS], accuracy=accuracy, **sizes)
    elif kind == FittedPerceptrons.name:
        classifier = _perceptrons_from(arrays[PERCEPTRONS], accuracy=accuracy, **sizes)
    else:
        raise ModelError(
            f"expected the classifier {FittedForest.name}, {FittedSVM.name} or "
            f"{FittedPerceptrons.name}, found {kind!r}: use the version of deepfreak that made it, "
            "or train it again"
        )
    found = classifier.probabilities(answers["vectors"])
    if not np.allclose(found, answers["probabilities"], rtol=0, atol=1e-9):
        package = "scikit-learn" if kind == FittedForest.name else "deepfreak"
        raise _incompatible(package, made_with, "it answers otherwise than when it was trained")
    if classifier.fingerprint() != manifest["classifier_sha256"]:
        raise ModelError(
            f"expected the {kind} that the manifest names, found another: do not use this file"
        )
    return VectorModel(
        extractor=extractor,
        classifier=classifier,
        classes=tuple(manifest["classes"]),
        manifest=manifest,
    )


def _check_sizes(buffer: io.BytesIO) -> None:
    """Raise `ModelError` if these bytes, a model file's, are more than loading would take."""
    size = buffer.getbuffer().nbytes
    if size > MAX_FILE_BYTES:
        raise ModelError(f"expected at most {MAX_FILE_BYTES >> 20} MB, found {size >> 20} MB: none")
    with zipfile.ZipFile(buffer) as archive:
        check_archive(archive)


def _arrays_of(machine: FittedSVM) -> dict[str, NDArray[Any]]:
    """Return the fields of an SVM as arrays."""
    return {
        field.name: np.asarray(getattr(machine, field.name))
        for field in fields(machine)
        if field.name != "accuracy_held_out"
    }


def _perceptrons_from(
    arrays: dict[str, NDArray[Any]], *, features: int, classes: int, accuracy: float | None
) -> FittedPerceptrons:
    """Return the perceptrons that the arrays of a file are."""
    outputs = 1 if classes == 2 else classes
    found = perceptrons_from(
        arrays, names=numbered(features), outputs=outputs, what=f"{classes} classes"
    )
    return FittedPerceptrons(perceptrons=found, accuracy_held_out=accuracy)


def _forest_from(
    content: bytes,
    made_with: Mapping[str, Any],
    *,
    features: int,
    classes: int,
    accuracy: float | None,
) -> FittedForest:
    """Return the forest that skops finds in the bytes of a file whose schema was checked."""
    import skops.io
    from sklearn.exceptions import InconsistentVersionWarning

    try:
        with warnings.catch_warnings():
            # Whether another version matters is decided by what the forest answers.
            warnings.simplefilter("ignore", InconsistentVersionWarning)
            forest = skops.io.loads(content, trusted=[TRUSTED_TREE])
    except Exception as error:  # skops and scikit-learn raise whatever they meet
        raise _incompatible("scikit-learn", made_with, f"it cannot be rebuilt ({error})") from error
    check_forest(forest, features=features, classes=classes)
    forest.n_jobs = 1
    return FittedForest(forest=forest, accuracy_held_out=accuracy)


def _check_manifest(manifest: object) -> Mapping[str, Any]:
    """Return `manifest` if it has the parts that loading relies on."""
    if isinstance(manifest, dict) and manifest.get("format") == 1:
        manifest = _from_format_1(manifest)
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        found = manifest.get("format") if isinstance(manifest, dict) else None
        raise ModelError(
            f"expected a model file of format {FORMAT}, found {found!r}: use the version of "
            "deepfreak that made it, or train it again"
        )
    classes = manifest.get("classes")
    accuracy = manifest.get("accuracy_held_out")
    if (
        not isinstance(classes, list)
        or not 2 <= len(set(map(str, classes))) == len(classes) <= 256
        or not all(isinstance(name, str) for name in classes)
        or not all(isinstance(manifest.get(part), dict) for part in PARTS)
        or not set(ANSWERS) <= manifest["check"].keys()
        or not isinstance(manifest.get("classifier_sha256"), str)
        or not (accuracy is None or isinstance(accuracy, float))
    ):
        raise ModelError("expected a complete manifest, found one without its parts: train again")
    return manifest


def _from_format_1(manifest: dict[str, Any]) -> dict[str, Any]:
    """Return the manifest of version 0.1, which knew only forests, in today's words.

    It recorded no vector of the probe, so today's stands in: its extractor is not checked.
    """
    try:
        kept = dict(manifest)
        forest = dict(kept.pop("forest"))
        seed = forest.pop("seed")
        extractor = extractor_from(manifest["extractor"])
        return {
            "accuracy_held_out": kept.pop("accuracy_out_of_bag"),
            "classifier_sha256": kept.pop("forest_sha256"),
            **kept,
            "format": FORMAT,
            "classifier": {"classifier": FittedForest.name, **forest},
            "seed": seed,
            "check": {**manifest["check"], "probe": extractor(probe()).tolist()},
        }
    except (KeyError, TypeError, ValueError) as error:
        raise ModelError(
            "expected a complete manifest, found one without its parts: train again"
        ) from error


def _recorded_answers(
    check: Mapping[str, Any], *, features: int, classes: int
) -> dict[str, NDArray[np.float64]]:
    """Return a vector of each class, its probabilities, and the vector of the probe."""
    shapes = {"vectors": (classes, features), "probabilities": (classes, classes)}
    try:
        return {
            name: np.asarray(check[name], np.float64).reshape(shapes.get(name, (features,)))
            for name in ANSWERS
        }
    except (TypeError, ValueError) as error:
        raise ModelError(
            f"expected answers for {classes} recorded vectors of {features} features, found "
            "others: train it again"
        ) from error


def _check_extractor(
    extractor: Extractor, expected: NDArray[np.float64], made_with: Mapping[str, Any]
) -> None:
    """Raise `ModelError` unless the probe's vector is `expected`, the one recorded."""
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
        raise _incompatible(
            "deepfreak", made_with, "its extractor finds other numbers than when it was trained"
        )


def _incompatible(package: str, made_with: Mapping[str, Any], why: str) -> ModelError:
    from importlib.metadata import version

    return ModelError(
        f"expected a model that works with {package} {version(package)}, found one made with "
        f"{made_with.get(package, 'unknown')}: {' '.join(why.split())[:300]}; train it again or "
        "install that version"
    )
