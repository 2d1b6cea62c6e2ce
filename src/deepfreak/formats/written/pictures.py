"""PGM and PNG: gray pictures, without a word about the shot."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from deepfreak.storage.files import whole_file


def write_pgm(path: Path, image: NDArray[np.uint8], *, overwrite: bool = False) -> None:
    """Write `image` [slow, fast] as a binary portable graymap.

    Raises
    ------
    OutputError
        It exists and may not be replaced, or cannot be written; so do all writers here.
    """
    rows, columns = image.shape
    with whole_file(path, overwrite=overwrite) as partial:
        partial.write_bytes(f"P5\n{columns} {rows}\n255\n".encode() + image.tobytes())


def write_png(
    path: Path, image: NDArray[np.uint8] | NDArray[np.uint16], *, overwrite: bool = False
) -> None:
    """Write `image` [slow, fast] as a gray PNG of its 8 or 16 bits."""
    from PIL import Image

    with whole_file(path, overwrite=overwrite) as partial:
        Image.fromarray(image).save(partial, "PNG")
