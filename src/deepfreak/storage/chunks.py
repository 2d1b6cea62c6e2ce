"""HDF5 chunks compressed in memory by HDF5's own filter, to be written unchanged later."""

import itertools
import threading
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import h5py
from numpy.typing import NDArray

if TYPE_CHECKING:
    import numpy as np

_names = itertools.count()
_one_at_a_time = threading.Lock()  # the data sets in memory are reused


def compression() -> dict[str, object]:
    """Return the options of h5py's `create_dataset` for bitshuffle and LZ4."""
    import hdf5plugin

    return dict(hdf5plugin.Bitshuffle(cname="lz4"))


def compress(array: NDArray[Any]) -> bytes:
    """Return the chunk, by `compression`, that contains `array` alone."""
    with _one_at_a_time:
        stored = _chunk(array.size, array.dtype)
        stored[...] = array.reshape(-1)
        stored.flush()
        left_out, chunk = stored.id.read_direct_chunk((0,))
    if left_out:
        raise RuntimeError(f"the filter bitshuffle-LZ4 was not applied: mask {left_out}")
    return bytes(chunk)


@lru_cache(maxsize=4)
def _chunk(size: int, dtype: "np.dtype[Any]") -> h5py.Dataset:
    """Return a data set of one chunk, in a file that is only in memory."""
    file = h5py.File(f"deepfreak-{next(_names)}", "w", driver="core", backing_store=False)
    return file.create_dataset("chunk", (size,), dtype, chunks=(size,), **compression())
