"""Arrays as they travel: bslz4 and lz4, checked before anything is allocated.

Both come in the framing of their HDF5 filters: the size when decompressed (8 bytes, big-endian),
that of a block (4 bytes), and the blocks, each behind its compressed size (4 bytes). Stream V1 also
has a bare LZ4 block without framing, "lz4-block" here.

The filters believe what the frame says and would read past its end, so that everything it says is
held against what came first.
"""

import ctypes
import functools
import itertools
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from deepfreak.errors import FrameError
from deepfreak.formats.frame import MAX_PIXELS, require_shape

Algorithm = Literal["none", "bslz4", "lz4", "lz4-block"]
ALGORITHMS: tuple[Algorithm, ...] = ("none", "bslz4", "lz4", "lz4-block")

MAX_BYTES = 4 * MAX_PIXELS  # of one decompressed array
MAX_RATIO = 255  # what an LZ4 block can reach: each byte of a length stands for 255
_MIN_BLOCK = 1024  # bytes; filters use 8192
_BITS = 8  # bitshuffle works on so many elements at once and leaves the rest as it is

_HEADER = struct.Struct(">QI")
_LENGTH = struct.Struct(">I")

_names = itertools.count()


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CompressedArray:
    """An array as it came, or as it is sent."""

    # shape, dtype: what it is when decompressed; the byte order is the dtype's
    shape: tuple[int, int]
    dtype: np.dtype[Any]
    column_major: bool = False  # whether the first index runs fastest
    # algorithm, element_size: how it is compressed; bitshuffle's elements in bytes, 0 where it has
    # none
    algorithm: Algorithm = "none"
    element_size: int = 0
    data: bytes | memoryview = field(repr=False)

    @property
    def nbytes(self) -> int:
        """How many bytes it has when decompressed."""
        return self.shape[0] * self.shape[1] * self.dtype.itemsize


def decode(coded: CompressedArray) -> NDArray[Any]:
    """Return the array [slow, fast] in the machine's byte order, in memory of its own."""
    _require_sensible(coded)
    flat = np.empty(coded.nbytes, dtype=np.uint8)
    _decompress(coded, flat)
    values = flat.view(coded.dtype)
    if not coded.dtype.isnative:
        values = values.byteswap(inplace=True).view(coded.dtype.newbyteorder("="))
    if coded.column_major:
        return np.ascontiguousarray(values.reshape(coded.shape, order="F"))
    return values.reshape(coded.shape)


def encode(array: NDArray[Any], algorithm: Algorithm = "bslz4") -> CompressedArray:
    """Return a two-dimensional array of numbers, compressed."""
    array = np.ascontiguousarray(array)
    size = array.dtype.itemsize
    match algorithm:
        case "none":
            data = array.tobytes()
        case "bslz4":
            data = _encoded(array, "bslz4")
        case "lz4":
            data = _encoded(array, "lz4")
        case "lz4-block":
            data = _bare_block(_encoded(array, "lz4"), array.nbytes)
    return CompressedArray(
        shape=(array.shape[0], array.shape[1]),
        dtype=array.dtype,
        algorithm=algorithm,
        element_size=size if algorithm == "bslz4" else 0,
        data=data,
    )


def _require_sensible(coded: CompressedArray) -> None:
    """Raise `FrameError` unless the bytes can decompress to as many as a frame needs."""
    require_shape(coded.shape)
    if coded.nbytes > MAX_BYTES:
        raise FrameError(f"expected an array of at most {MAX_BYTES} bytes, found {coded.nbytes}")
    came = len(coded.data)
    most = came if coded.algorithm == "none" else came * MAX_RATIO
    least = came if coded.algorithm == "none" else 1
    if not least <= coded.nbytes <= most:
        raise FrameError(
            f"expected {coded.nbytes} bytes of pixels, found {came} bytes ({coded.algorithm}), "
            "which cannot hold them: the frame is truncated or its size is wrong"
        )


def _decompress(coded: CompressedArray, out: NDArray[np.uint8]) -> None:
    """Fill `out` with the decompressed bytes."""
    match coded.algorithm:
        case "none":
            out[:] = np.frombuffer(coded.data, dtype=np.uint8)
        case "bslz4":
            _require_bslz4(coded)
            _undo_bslz4(coded, out)
        case "lz4":
            for source, target in _lz4_blocks(coded):
                block, part = coded.data[source], out[target]
                # the filter leaves a block as it is where compression does not make it shorter
                if len(block) == part.size:
                    part[:] = np.frombuffer(block, dtype=np.uint8)
                else:
                    _undo_lz4(block, part)
        case "lz4-block":
            _undo_lz4(coded.data, out)


def _require_bslz4(coded: CompressedArray) -> None:
    """Raise `FrameError` unless each block ends inside the data, and the last one with them."""
    data, element = coded.data, coded.element_size
    if element not in {1, 2, 4, 8} or coded.nbytes % element:
        raise FrameError(f"expected bitshuffle of 1, 2, 4 or 8 bytes an element, found {element}")
    group = _BITS * element
    total, block = _header(coded)
    if block % group or not _MIN_BLOCK <= block <= MAX_BYTES:
        raise FrameError(f"expected bslz4 in blocks of 8192 bytes or so, found {block}")
    rest = total % group
    left = total // block + (total % block >= group)
    place, end, length = _HEADER.size, len(data) - rest, _LENGTH.unpack_from
    while left and place + _LENGTH.size <= end:
        place += _LENGTH.size + length(data, place)[0]
        left -= 1
    if left or place != end:
        raise _damaged("bslz4")


def _lz4_blocks(coded: CompressedArray) -> Iterator[tuple[slice, slice]]:
    """Yield where each block lies in the data and where it goes, all of them inside."""
    data = coded.data
    total, block = _header(coded)
    block = min(block, total)
    if block < min(_MIN_BLOCK, total):
        raise FrameError(f"expected lz4 in blocks of at least {_MIN_BLOCK}, found {block}")
    place = _HEADER.size
    for start in range(0, total, block):
        stop = min(start + block, total)
        if place + _LENGTH.size > len(data):
            raise _damaged("lz4")
        length = _LENGTH.unpack_from(data, place)[0]
        place += _LENGTH.size
        if length > len(data) - place:
            raise _damaged("lz4")
        yield slice(place, place + length), slice(start, stop)
        place += length
    if place != len(data):
        raise _damaged("lz4")


def _header(coded: CompressedArray) -> tuple[int, int]:
    """Return the size when decompressed, which must be the array's, and that of a block."""
    if len(coded.data) < _HEADER.size:
        raise _damaged(coded.algorithm)
    total, block = _HEADER.unpack_from(coded.data)
    if total != coded.nbytes:
        raise FrameError(
            f"expected {coded.nbytes} bytes of pixels, found compressed data that claim {total}"
        )
    return total, block


def _undo_bslz4(coded: CompressedArray, out: NDArray[np.uint8]) -> None:
    library = _library()
    if library is None:
        _by_hdf5(bytes(coded.data), out, "bslz4", coded.element_size)
        return
    source = np.frombuffer(coded.data, dtype=np.uint8)[_HEADER.size :]
    _, block = _header(coded)
    element = coded.element_size
    took = library.bshuf_decompress_lz4(
        source.ctypes.data, out.ctypes.data, out.size // element, element, block // element
    )
    if took != source.size:
        raise _damaged("bslz4")


def _undo_lz4(data: bytes | memoryview, out: NDArray[np.uint8]) -> None:
    """Fill `out` from one LZ4 block."""
    source = np.frombuffer(data, dtype=np.uint8)
    library = _library()
    if library is None:
        framed = _HEADER.pack(out.size, out.size) + _LENGTH.pack(source.size) + source.tobytes()
        _by_hdf5(framed, out, "lz4", 1)
        return
    size = library.LZ4_decompress_safe(source.ctypes.data, out.ctypes.data, source.size, out.size)
    if size != out.size:
        raise _damaged("lz4")


@functools.cache
def _library() -> ctypes.CDLL | None:
    """Return the library of hdf5plugin's bitshuffle filter, None where its functions are hidden.

    Called directly it takes half the time that it takes behind HDF5 (`_by_hdf5`), which is the same
    otherwise: there a chunk is copied twice, and a file is made for each frame.
    """
    import hdf5plugin

    for path in Path(hdf5plugin.PLUGIN_PATH).glob("libh5bshuf.*"):
        try:
            library = ctypes.CDLL(str(path))
            bslz4, lz4 = library.bshuf_decompress_lz4, library.LZ4_decompress_safe
        except (OSError, AttributeError):
            continue
        size = ctypes.c_size_t
        bslz4.restype, bslz4.argtypes = (
            ctypes.c_int64,
            (ctypes.c_void_p, ctypes.c_void_p, size, size, size),
        )
        lz4.restype, lz4.argtypes = (
            ctypes.c_int,
            (ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int, ctypes.c_int),
        )
        return library
    return None


def _by_hdf5(
    data: bytes, out: NDArray[np.uint8], algorithm: Literal["bslz4", "lz4"], element_size: int
) -> None:
    """Fill `out` by way of a chunk of an HDF5 file in memory."""
    values = out.view(f"u{element_size}")
    with _chunk(values.shape, values.dtype, algorithm) as dataset:
        try:
            dataset.id.write_direct_chunk((0,), data)
            dataset.read_direct(values)
        except OSError as error:
            raise _damaged(algorithm) from error


def _encoded(array: NDArray[Any], algorithm: Literal["bslz4", "lz4"]) -> bytes:
    with _chunk((array.size,), array.dtype, algorithm) as dataset:
        dataset[...] = array.reshape(-1)
        dataset.file.flush()
        return bytes(dataset.id.read_direct_chunk((0,))[1])


@contextmanager
def _chunk(
    shape: tuple[int, ...], dtype: np.dtype[Any], algorithm: Literal["bslz4", "lz4"]
) -> Iterator[Any]:
    """Give a data set of one compressed chunk, in a file that is only in memory."""
    import h5py
    import hdf5plugin

    filters = {"bslz4": hdf5plugin.Bitshuffle, "lz4": hdf5plugin.LZ4}
    name = f"deepfreak-{next(_names)}"
    with h5py.File(name, "w", driver="core", backing_store=False) as file:
        yield file.create_dataset("a", shape, dtype, chunks=shape, **filters[algorithm]())


def _bare_block(framed: bytes, total: int) -> bytes:
    """Return the one block of LZ4 data in HDF5's framing, without it."""
    block = framed[_HEADER.size + _LENGTH.size :]
    if len(block) != total:
        return block
    # incompressible: the filter stored the bytes, for which LZ4 has a sequence of only literals
    if total < 15:
        return bytes([total << 4]) + block
    longer, last = divmod(total - 15, 255)
    return b"\xf0" + b"\xff" * longer + bytes([last]) + block


def _damaged(algorithm: str) -> FrameError:
    return FrameError(f"expected pixels compressed with {algorithm}, found damaged data")


def as_algorithm(name: object) -> Algorithm:
    """Return the algorithm of this name in Stream V2, which is "bslz4" or "lz4"."""
    if name == "bslz4":
        return "bslz4"
    if name == "lz4":
        return "lz4"
    found = repr(name[:20]) if isinstance(name, str) else "no name"
    raise FrameError(f"expected pixels compressed with bslz4 or lz4, found {found}")
