from concurrent.futures import ThreadPoolExecutor

import h5py
import numpy as np
import pytest

from deepfreak.storage.chunks import compress, compression

SHAPES = [(3, 5), (64, 80), (64, 80), (1, 1), (7, 11), (2, 9), (64, 80)]


@pytest.mark.parametrize("dtype", ["u1", "<u2", "<u4", "<f4", "<i8"])
def test_a_chunk_is_the_one_that_hdf5_writes(tmp_path, dtype):
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 99, shape).astype(dtype) for shape in SHAPES]
    with ThreadPoolExecutor(3) as pool:
        chunks = list(pool.map(compress, images))
    for image, chunk in zip(images, chunks, strict=True):
        with h5py.File(tmp_path / "a.h5", "w") as file:
            shape = (1, *image.shape)
            written = file.create_dataset("a", data=image[None], chunks=shape, **compression())
            assert written.id.read_direct_chunk((0, 0, 0))[1] == chunk
            again = file.create_dataset("b", shape, dtype, chunks=shape, **compression())
            again.id.write_direct_chunk((0, 0, 0), chunk)
            np.testing.assert_array_equal(again[0], image)
