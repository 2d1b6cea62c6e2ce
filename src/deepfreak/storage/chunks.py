"""HDF5 chunks compressed in memory by HDF5's own filter, to be written unchanged later."""

from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

import h5py
from numpy.typing import NDArray

if TYPE_CHECKING:
    import numpy as np

_MAX_KINDS = 4  # shapes and types of images before all memory is freed


def compression() -> dict[str, object]:
    """Return the options of h5py's `create_dataset` for bitshuffle and LZ4."""
    import hdf5plugin

    return dict(hdf5plugin.Bitshuffle(cname="lz4"))


class Chunks(AbstractContextManager["Chunks"]):
    """Compresses images into the chunks that HDF5 stores of them."""

    def __init__(self) -> None:
        self._file: h5py.File | None = None
        self._stored: dict[tuple[tuple[int, ...], np.dtype[Any]], h5py.Dataset] = {}

    def compress(self, image: NDArray[Any]) -> bytes:
        """Return the chunk of a data set (N, slow, fast) that holds `image` alone."""
        key = image.shape, image.dtype
        if self._file is None or (key not in self._stored and len(self._stored) > _MAX_KINDS):
            self.close()
            self._file = h5py.File(f"chunks-{id(self)}", "w", driver="core", backing_store=False)
        if key not in self._stored:
            shape = (1, *image.shape)
            self._stored[key] = self._file.create_dataset(
                f"{len(self._stored)}", shape, image.dtype, chunks=shape, **compression()
            )
        stored = self._stored[key]
        stored[0] = image
        stored.flush()
        left_out, chunk = stored.id.read_direct_chunk((0, 0, 0))
        if left_out:
            raise RuntimeError(f"the filter bitshuffle-LZ4 was left out: mask {left_out}")
        return bytes(chunk)

    def close(self) -> None:
        """Free the memory."""
        if self._file is not None:
            self._file.close()
        self._file = None
        self._stored.clear()

    def __exit__(self, *_: object) -> None:
        """Free the memory."""
        self.close()
