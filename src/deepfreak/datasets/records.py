"""One simulated image as bytes: its compressed chunk, label, truth, and processor."""

import hashlib
import struct
from dataclasses import fields
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from deepfreak.physics.exposure import simulate
from deepfreak.physics.shot import Shot, Truth
from deepfreak.storage.chunks import compress

Image = NDArray[np.uint8]
Array = NDArray[np.float64]

# Packages whose versions may change the bytes of an image or of its chunk.
PACKAGES = ("numpy", "numba", "gemmi", "h5py", "hdf5plugin")

# Shapes of the quantities of `Truth` that are not a single number.
SHAPES: dict[str, tuple[int, ...]] = {"orientation": (3, 3), "cell": (6,)}
QUANTITIES = tuple(field.name for field in fields(Truth))
NUMBERS = sum(int(np.prod(SHAPES.get(name, ()))) for name in QUANTITIES)

_HEAD = struct.Struct("<B32s48s")


class Record(NamedTuple):
    """The content of a data set for one image.

    `truth` has `NUMBERS` values, NaN for None; `digest` is the SHA-256 of the image; `processor`
    identifies the processor it was made on; `chunk` is the image as HDF5 stores it.
    """

    label: int
    digest: bytes
    processor: str
    truth: Array
    chunk: bytes

    def pack(self) -> bytes:
        """Return the record as bytes; `unpack` reverses it."""
        head = _HEAD.pack(self.label, self.digest, self.processor.encode())
        return head + self.truth.astype("<f8").tobytes() + self.chunk


def unpack(packed: bytes) -> Record:
    """Return the record from the bytes of `Record.pack`."""
    label, digest, name = _HEAD.unpack_from(packed)
    truth = np.frombuffer(packed, "<f8", count=NUMBERS, offset=_HEAD.size)
    chunk = packed[_HEAD.size + truth.nbytes :]
    return Record(label, digest, name.rstrip(b"\0").decode(), truth, chunk)


def record_of(shot: Shot) -> Record:
    """Simulate a shot and return its record."""
    image, truth = simulate(shot)
    return Record(shot.label, digest_of(image), processor(), flat_truth(truth), compress(image))


def digest_of(image: Image) -> bytes:
    """Return the SHA-256 of an image's pixels."""
    return hashlib.sha256(image.tobytes()).digest()


def flat_truth(truth: Truth) -> Array:
    """Return all numbers of a truth, (NUMBERS,), in the order of `QUANTITIES`; NaN for None."""
    parts: list[Array] = []
    for name in QUANTITIES:
        value = getattr(truth, name)
        shape = SHAPES.get(name, ())
        parts.append(np.full(shape, np.nan if value is None else value, float).ravel())
    return np.concatenate(parts)


def columns_of(truths: Array) -> dict[str, Array]:
    """Return arrays by quantity from flat truths (n, NUMBERS)."""
    columns, start = {}, 0
    for name in QUANTITIES:
        shape = SHAPES.get(name, ())
        stop = start + int(np.prod(shape))
        columns[name] = np.ascontiguousarray(truths[:, start:stop]).reshape(-1, *shape)
        start = stop
    return columns


@lru_cache(maxsize=1)
def processor() -> str:
    """Return the name of the processor that numba compiles for: equal names give equal bytes."""
    from llvmlite import binding
    from numba import config

    name = config.CPU_NAME or binding.get_host_cpu_name()
    features = config.CPU_FEATURES or binding.get_host_cpu_features().flatten()
    return f"{name[:32]}-{hashlib.sha256(features.encode()).hexdigest()[:8]}"
