"""An uncompressed copy of a data set's images, mapped into memory for training."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from deepfreak.errors import DatasetError
from deepfreak.storage.cache import key_of
from deepfreak.storage.files import check_output, whole_file

if TYPE_CHECKING:
    from deepfreak.datasets.file import Dataset

IMAGES_AT_ONCE = 64


def mapped_images(data: "Dataset", folder: str | Path | None = None) -> NDArray[np.uint8]:
    """Return the images of `data`, (N, slow, fast) uint8, read-only, mapped from a `.npy` file.

    The file is beside the data set or in `folder`, with the hash of the manifest in its name:
    another data set of the same name gets another copy, and the stale one is removed.

    Raises `DatasetError`: the manifest has no hash of the images, so a changed file could not be
    detected; `OutputError`: the copy cannot be written.
    """
    if "sha256" not in data.manifest:
        raise DatasetError(
            f"{data.path}: expected a manifest with the hash of the images, as "
            "`deepfreak data generate` writes it, to recognise a copy of them"
        )
    key = key_of(data.manifest)[:16]
    place = data.path.parent if folder is None else Path(folder)
    split = data.manifest["split"]["name"] if "split" in data.manifest else "all"
    stem = f"{data.path.name}.{split}."
    path = place / f"{stem}{key}.npy"
    shape = tuple(data.images.shape)
    if not path.exists():
        for stale in place.glob(f"{stem}{'[0-9a-f]' * len(key)}.npy"):
            stale.unlink()
        check_output(path, overwrite=False, expected_bytes=int(np.prod(shape)))
        # another process may make the same copy meanwhile; either may be renamed last
        with whole_file(path, overwrite=True) as partial, partial.open("wb") as file:
            header = {"descr": "|u1", "fortran_order": False, "shape": shape}
            np.lib.format.write_array_header_1_0(file, header)
            for first in range(0, len(data), IMAGES_AT_ONCE):
                file.write(data.images[first : first + IMAGES_AT_ONCE].tobytes())
    images: NDArray[np.uint8] = np.load(path, mmap_mode="r")
    if images.shape != shape:
        raise DatasetError(f"{path}: expected images {shape}, found {images.shape}; remove it")
    return images
