"""A model as one file: a zip archive of arrays and JSON, never of code.

The forest is stored as skops stores it and the manifest lies beside it as `manifest.json`, so any
zip tool shows where a model comes from. `docs/decisions/0003-model-files.md` tells why a file is
believed: by what it contains and by what its forest answers, not by the versions it names.
"""

import io
import json
import warnings
import zipfile
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deepfreak.errors import ModelError, OutputError
from deepfreak.features import extractor_from
from deepfreak.files import check_output, whole_file
from deepfreak.models.archive import TRUSTED_TREE, check_archive, check_forest
from deepfreak.models.forest import FORMAT, ForestModel, vote

MAX_FILE_BYTES = 64 * 2**20
MANIFEST = "manifest.json"
SHIPPED = "default.skops"


def save_model(model: ForestModel, path: str | Path, *, overwrite: bool = False) -> None:
    """Write `model` to `path`, beside its final name first.

    Raises
    ------
    OutputError
        The file exists and `overwrite` is false, cannot be written, or would be too large to be
        read again.
    """
    import skops.io

    path = Path(path)
    check_output(path, overwrite=overwrite)
    buffer = io.BytesIO()
    skops.io.dump(model.forest, buffer, compression=zipfile.ZIP_DEFLATED, compresslevel=9)
    with zipfile.ZipFile(buffer, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(MANIFEST, json.dumps(model.manifest, indent=1, allow_nan=False))
    if buffer.getbuffer().nbytes > MAX_FILE_BYTES:
        raise OutputError(
            f"expected a model of at most {MAX_FILE_BYTES >> 20} MB, found "
            f"{buffer.getbuffer().nbytes >> 20} MB: use fewer or shallower trees"
        )
    with whole_file(path, overwrite=overwrite) as partial:
        partial.write_bytes(buffer.getvalue())


def load_model(path: str | Path | None = None) -> ForestModel:
    """Return the model in the file `path`, or the one that ships with the package.

    No code from the file is run, its sizes are checked before they are believed, and the forest
    must reproduce the probabilities that its manifest records.

    Raises
    ------
    ModelError
        The file is missing, damaged, not a model, or does not work with this scikit-learn.
    """
    label = "the shipped model" if path is None else str(path)
    content = _read(None if path is None else Path(path))
    try:
        return _parse(content)
    except ModelError as error:
        raise ModelError(f"{label}: {error}") from error


def _read(path: Path | None) -> bytes:
    source = resources.files("deepfreak.models") / "shipped" / SHIPPED if path is None else path
    try:
        with source.open("rb") as file:
            content: bytes = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        name = "the shipped model" if path is None else path
        raise ModelError(f"cannot read {name}: {error.strerror or error}") from error
    if len(content) > MAX_FILE_BYTES:
        raise ModelError(
            f"expected a model of at most {MAX_FILE_BYTES >> 20} MB, found more: {source} is "
            "not a file that `deepfreak train` made"
        )
    return content


def _parse(content: bytes) -> ForestModel:
    """Return the model that the bytes of a file hold, after every check."""
    import skops.io
    from sklearn.exceptions import InconsistentVersionWarning

    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            check_archive(archive)
            manifest = _check_manifest(json.loads(archive.read(MANIFEST)))
    except ModelError:
        raise
    except Exception as error:  # zipfile and json raise a dozen kinds on bad bytes
        raise ModelError(
            "expected a model file made by `deepfreak train`, found "
            f"{'an empty file' if not content else f'something else or half of one ({error})'}"
        ) from error
    extractor = extractor_from(manifest["extractor"])
    made_with = manifest["versions"].get("scikit-learn", "unknown")
    try:
        with warnings.catch_warnings():
            # Whether another version matters is decided below, by what the forest answers.
            warnings.simplefilter("ignore", InconsistentVersionWarning)
            forest = skops.io.loads(content, trusted=[TRUSTED_TREE])
    except Exception as error:  # skops and scikit-learn raise whatever they meet
        raise _incompatible(made_with, f"it cannot be rebuilt ({error})") from error
    check_forest(forest, features=len(extractor.names), classes=len(manifest["classes"]))
    forest.n_jobs = 1
    vectors, expected = _recorded_answers(
        manifest["check"], features=len(extractor.names), classes=len(manifest["classes"])
    )
    if not np.allclose(vote(forest, vectors), expected, rtol=0, atol=1e-9):
        raise _incompatible(made_with, "its forest answers otherwise than when it was trained")
    return ForestModel(
        extractor=extractor,
        forest=forest,
        classes=tuple(manifest["classes"]),
        manifest=manifest,
    )


def _check_manifest(manifest: object) -> Mapping[str, Any]:
    """Return `manifest` if it has the parts that loading relies on."""
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        found = manifest.get("format") if isinstance(manifest, dict) else None
        raise ModelError(
            f"expected a model file of format {FORMAT}, found {found!r}: use the version of "
            "deepfreak that made it, or train it again"
        )
    classes = manifest.get("classes")
    parts = [manifest.get(part) for part in ("extractor", "versions", "check")]
    if (
        not isinstance(classes, list)
        or not 2 <= len(set(classes)) == len(classes) <= 256
        or not all(isinstance(name, str) for name in classes)
        or not all(isinstance(part, dict) for part in parts)
        or not {"vectors", "probabilities"} <= manifest["check"].keys()
        or not isinstance(manifest.get("forest_sha256"), str)
    ):
        raise ModelError("expected a complete manifest, found one without its parts: train again")
    return manifest


def _recorded_answers(
    check: Mapping[str, Any], *, features: int, classes: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return a vector of each class (classes, features) and its probabilities, as recorded."""
    try:
        vectors = np.asarray(check["vectors"], dtype=np.float64).reshape(classes, features)
        answers = np.asarray(check["probabilities"], dtype=np.float64).reshape(classes, classes)
    except (TypeError, ValueError) as error:
        raise ModelError(
            f"expected {classes} recorded answers of the forest, found others: train it again"
        ) from error
    return vectors, answers


def _incompatible(made_with: str, why: str) -> ModelError:
    import sklearn

    return ModelError(
        f"expected a forest that works with scikit-learn {sklearn.__version__}, found one made "
        f"with {made_with}: {' '.join(why.split())[:300]}; train it again or install that version"
    )
