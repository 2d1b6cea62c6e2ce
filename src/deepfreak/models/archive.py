"""The zip archive of a model file: `manifest.json` and NumPy arrays, FOLDER/NAME.npy, no code.

Sizes are checked before they are believed, and what a file holds before it is used.
"""

import hashlib
import io
import json
import math
import zipfile
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from deepfreak.errors import ModelError

FORMAT, VERSION = "deepfreak-model", 1
MANIFEST = "manifest.json"

# Enough for the largest forests of the paper's search, 1,000 trees over 10,000 images: without any
# pattern to learn, 6,000 nodes a tree of 16 bytes each, and the leaves' probabilities.
MAX_TOTAL_BYTES = 1024 * 2**20
MAX_MANIFEST_BYTES = 32 * 2**20
MAX_MEMBERS = 64
MAX_CLASSES = 256

Arrays = Mapping[str, NDArray[Any]]


def pack(kind: str, manifest: Mapping[str, Any], arrays: Mapping[str, Arrays]) -> bytes:
    """Return the bytes of a model file; `ModelError` if `unpack` would refuse them as too large."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for folder, members in arrays.items():
            for name, array in members.items():
                with archive.open(f"{folder}/{name}.npy", "w") as member:
                    np.lib.format.write_array(member, np.asarray(array), allow_pickle=False)
        whole = {"format": FORMAT, "version": VERSION, "kind": kind, **manifest}
        archive.writestr(MANIFEST, json.dumps(whole, indent=1, allow_nan=False))
        _check_sizes(archive)
    return buffer.getvalue()


def unpack(content: bytes) -> tuple[dict[str, Any], dict[str, dict[str, NDArray[Any]]]]:
    """Return manifest and arrays of a file; `ModelError` if it is another, damaged or too large."""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            _check_sizes(archive)
            manifest = json.loads(archive.read(MANIFEST))
            check_format(manifest, FORMAT, VERSION)
            arrays: dict[str, dict[str, NDArray[Any]]] = {}
            for member in archive.infolist():
                if member.filename != MANIFEST:
                    folder, _, name = member.filename.removesuffix(".npy").rpartition("/")
                    arrays.setdefault(folder, {})[name] = _read_array(archive, member)
    except ModelError:
        raise
    except Exception as error:  # zipfile, json and numpy raise a dozen kinds on bad bytes
        raise ModelError(
            "expected a model file made by `deepfreak model train`, found "
            f"{'an empty file' if not content else f'something else or half of one ({error})'}"
        ) from error
    return manifest, arrays


def check_format(manifest: object, name: str, version: int) -> None:
    """Raise `ModelError` unless `manifest` is a table of this format."""
    found = manifest if isinstance(manifest, dict) else {}
    if (found.get("format"), found.get("version")) != (name, version):
        raise ModelError(
            f"expected the format {name} version {version}, found {found.get('format')!r} version "
            f"{found.get('version')!r}: use the version of deepfreak that made it, or train again"
        )


def are_classes(value: object) -> bool:
    """Return whether a value of a manifest is a list of at least two classes."""
    return (
        isinstance(value, list)
        and all(isinstance(name, str) for name in value)
        and 2 <= len(set(value)) == len(value) <= MAX_CLASSES
    )


def matches(arrays: Arrays, expected: Mapping[str, tuple[DTypeLike, tuple[int, ...]]]) -> bool:
    """Return whether `arrays` are those `expected`: names, types and shapes; all of them finite."""
    return {name: (array.dtype, array.shape) for name, array in arrays.items()} == {
        name: (np.dtype(dtype), shape) for name, (dtype, shape) in expected.items()
    } and all(bool(np.isfinite(array).all()) for array in arrays.values())


def unfit(kind: str, *, features: int, classes: int) -> ModelError:
    """Return the error of a classifier whose arrays do not fit."""
    return ModelError(
        f"expected the arrays of the classifier {kind} for {features} features and {classes} "
        "classes, found arrays that do not fit one another or the manifest: do not use this file"
    )


def fingerprint(arrays: Arrays, start: str = "") -> str:
    """Return a SHA-256 over `start` and the values of `arrays`, in their order."""
    digest = hashlib.sha256(start.encode())
    for array in arrays.values():
        digest.update(np.ascontiguousarray(array, dtype="<f8").tobytes())
    return digest.hexdigest()


def _check_sizes(archive: zipfile.ZipFile) -> None:
    members = archive.infolist()
    total = sum(member.file_size for member in members)
    if len(members) > MAX_MEMBERS or total > MAX_TOTAL_BYTES:
        raise ModelError(
            f"expected at most {MAX_MEMBERS} members and {MAX_TOTAL_BYTES >> 20} MB unpacked, "
            f"found {len(members)} members and {total >> 20} MB: do not use this file"
        )
    for member in members:
        if member.filename == MANIFEST and member.file_size > MAX_MANIFEST_BYTES:
            raise ModelError(
                f"expected a manifest of at most {MAX_MANIFEST_BYTES >> 20} MB, found "
                f"{member.file_size >> 20} MB: do not use this file"
            )
        if member.filename != MANIFEST and not member.filename.endswith(".npy"):
            raise ModelError(
                f"expected a manifest and arrays only, found {member.filename!r}: do not use this "
                "file"
            )


def _read_array(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> NDArray[Any]:
    """Return an array whose header describes as many bytes as there are."""
    with archive.open(member) as file:
        version = np.lib.format.read_magic(file)
        read_header = (
            np.lib.format.read_array_header_1_0
            if version == (1, 0)
            else np.lib.format.read_array_header_2_0
        )
        shape, _, dtype = read_header(file)
        header = file.tell()
    if dtype.hasobject or header + math.prod(shape) * dtype.itemsize != member.file_size:
        raise ModelError(
            f"expected an array of {dtype} {shape} in {member.filename!r}, found "
            f"{member.file_size} bytes: do not use this file"
        )
    with archive.open(member) as file:
        array: NDArray[Any] = np.lib.format.read_array(file, allow_pickle=False)
    return array
