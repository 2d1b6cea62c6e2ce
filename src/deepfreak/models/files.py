"""Model files: saving and loading.

A file is a zip archive of a manifest and arrays (`archive`), a network is ONNX (`onnx_model`).
Neither holds code. `docs/decisions/0003-model-files.md` lists the checks of a file.
"""

from pathlib import Path

from deepfreak.errors import ModelError, OutputError
from deepfreak.models.archive import pack, unpack
from deepfreak.models.evidence_model import EvidenceModel, evidence_model_from
from deepfreak.models.onnx_model import OnnxModel, network_from
from deepfreak.models.shipped import is_shipped, model_file
from deepfreak.models.vector_model import VectorModel, vector_model_from
from deepfreak.storage.files import check_output, whole_file

MAX_FILE_BYTES = 256 * 2**20
NETWORK = ".onnx"


def save_model(
    model: VectorModel | EvidenceModel,
    path: str | Path,
    *,
    overwrite: bool = False,
    max_bytes: int = MAX_FILE_BYTES,
) -> None:
    """Write `model` to `path`, beside its final name first.

    Raises `OutputError` if the file exists and `overwrite` is false, cannot be written, or
    would be larger than `load_model` accepts.
    """
    path = Path(path)
    check_output(path, overwrite=overwrite)
    try:
        content = pack(model.kind, *model.parts())
        _check_size(len(content), max_bytes)
    except ModelError as error:
        raise OutputError(
            f"{path} would be too large to be read again ({error}); use fewer or shallower trees, "
            "or fewer training images"
        ) from error
    with whole_file(path, overwrite=overwrite) as partial:
        partial.write_bytes(content)


def load_model(
    path: str | Path | None = None, *, max_bytes: int = MAX_FILE_BYTES
) -> VectorModel | OnnxModel | EvidenceModel:
    """Return the model in the file `path`, or one that ships with the package.

    `default` (None is the same) and `diffranet` name those that ship: see `models.shipped`. A file
    whose name ends in .onnx holds a network. No code from a file is run, its sizes are checked
    before they are believed, and the model must give the probabilities that its manifest records.
    Raises `ModelError` if the file is missing, damaged, not a model, or does not work with this
    version.
    """
    source = model_file(path)
    label = f"the shipped model {path or 'default'}" if is_shipped(path) else str(path)
    try:
        with source.open("rb") as file:
            content: bytes = file.read(max_bytes + 1)
    except OSError as error:
        raise ModelError(f"cannot read {label}: {error.strerror or error}") from error
    try:
        _check_size(len(content), max_bytes)
        return network_from(content) if source.name.endswith(NETWORK) else _parse(content)
    except ModelError as error:
        raise ModelError(f"{label}: {error}") from error


def _parse(content: bytes) -> VectorModel | EvidenceModel:
    """Return the model that the bytes of a file hold, after every check."""
    manifest, arrays = unpack(content)
    kind = manifest.pop("kind", None)
    del manifest["format"], manifest["version"]
    if kind == EvidenceModel.kind:
        return evidence_model_from(manifest, arrays)
    if kind == VectorModel.kind:
        return vector_model_from(manifest, arrays)
    raise ModelError(
        f"expected a model of {EvidenceModel.kind} or {VectorModel.kind}, found {kind!r}: use the "
        "version of deepfreak that made it"
    )


def _check_size(size: int, max_bytes: int) -> None:
    if size > max_bytes:
        raise ModelError(f"expected at most {max_bytes / 2**20:.3g} MB, found more")
