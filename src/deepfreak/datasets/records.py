"""One finished image as bytes: its compressed chunk, label, truth, and where it was made."""

import hashlib
import struct
from dataclasses import fields
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from deepfreak.physics.exposure import simulate
from deepfreak.physics.shot import Shot, Truth
from deepfreak.storage.chunks import Chunks

Image = NDArray[np.uint8]
Array = NDArray[np.float64]

# Those on whose versions the bytes of an image, or of its chunk, may depend.
PACKAGES = ("numpy", "numba", "gemmi", "h5py", "hdf5plugin")

# Of each quantity of `Truth` that is no single number.
SHAPES: dict[str, tuple[int, ...]] = {"orientation": (3, 3), "cell": (6,)}
QUANTITIES = tuple(field.name for field in fields(Truth))
NUMBERS = sum(int(np.prod(SHAPES.get(name, ()))) for name in QUANTITIES)

_HEAD = struct.Struct("<B32s48s")


class Record(NamedTuple):
    """What a data set holds of one image.

    `truth` has `NUMBERS` values, NaN where there is none; `digest` is the SHA-256 of the image;
    `chunk` is the image as HDF5 stores it.
    """

    label: int
    digest: bytes
    processor: str
    truth: Array
    chunk: bytes

    def pack(self) -> bytes:
        """Return it as bytes, `unpack` backwards."""
        head = _HEAD.pack(self.label, self.digest, self.processor.encode())
        return head + self.truth.astype("<f8").tobytes() + self.chunk


def unpack(packed: bytes) -> Record:
    """Return the record that `Record.pack` made bytes of."""
    label, digest, name = _HEAD.unpack_from(packed)
    truth = np.frombuffer(packed, "<f8", count=NUMBERS, offset=_HEAD.size)
    chunk = packed[_HEAD.size + truth.nbytes :]
    return Record(label, digest, name.rstrip(b"\0").decode(), truth, chunk)


def record_of(shot: Shot, chunks: Chunks) -> Record:
    """Simulate a shot into its record; `chunks` compresses its image."""
    image, truth = simulate(shot)
    return Record(
        shot.label, digest_of(image), processor(), flat_truth(truth), chunks.compress(image)
    )


def digest_of(image: Image) -> bytes:
    """Return the SHA-256 of an image's pixels."""
    return hashlib.sha256(image.tobytes()).digest()


def flat_truth(truth: Truth) -> Array:
    """Return all numbers of a truth in the order of `QUANTITIES`, NaN for None."""
    parts: list[Array] = []
    for name in QUANTITIES:
        value = getattr(truth, name)
        shape = SHAPES.get(name, ())
        parts.append(np.full(shape, np.nan if value is None else value, float).ravel())
    return np.concatenate(parts)


def columns_of(truths: Array) -> dict[str, Array]:
    """Return the columns, by quantity, of (n, NUMBERS) flat truths."""
    columns, start = {}, 0
    for name in QUANTITIES:
        shape = SHAPES.get(name, ())
        stop = start + int(np.prod(shape))
        columns[name] = np.ascontiguousarray(truths[:, start:stop]).reshape(-1, *shape)
        start = stop
    return columns


@lru_cache(maxsize=1)
def processor() -> str:
    """Return a name of what numba compiles for here: equal names make equal bytes."""
    from llvmlite import binding
    from numba import config

    name = config.CPU_NAME or binding.get_host_cpu_name()
    features = config.CPU_FEATURES or binding.get_host_cpu_features().flatten()
    return f"{name[:32]}-{hashlib.sha256(features.encode()).hexdigest()[:8]}"
