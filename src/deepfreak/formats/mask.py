"""Mask files: which pixels to leave out."""

from pathlib import Path

import numpy as np

from deepfreak.errors import DeepFreakError, GeometryError
from deepfreak.formats.frame import Counts, Valid, require_shape
from deepfreak.formats.registry import format_of

_NPY = b"\x93NUMPY"


def read_mask(path: Path) -> Valid:
    """Return the mask in a file: true where a pixel is to be left out.

    A value other than zero masks the pixel, as in pyFAI and in NXmx's `pixel_mask`. Read are npy,
    HDF5 (the data set whose name holds "mask", or the only one), CBF, PGM, PNG, and what fabio
    reads (TIFF, EDF, Fit2D's msk).

    Raises
    ------
    GeometryError
        The file cannot be read as a mask.
    """
    try:
        values = read_npy(path)
        if values is None:
            values = format_of(path).read_image(path)
        require_shape(values.shape)
    except DeepFreakError as error:
        raise GeometryError(f"{path}: {error}") from error
    # readers raise all kinds of errors on damaged files
    except Exception as error:
        text = " ".join(str(error).split())
        raise GeometryError(
            f"expected a mask image in {path}, found no such: {text:.150}"
        ) from error
    return np.asarray(values != 0)


def read_npy(path: Path) -> Counts | None:
    """Return the array of numbers in an npy file, None for any other file."""
    with path.open("rb") as file:
        if file.read(len(_NPY)) != _NPY:
            return None
    values: Counts = np.load(path, mmap_mode="r", allow_pickle=False)
    if values.dtype.kind not in "biuf":
        raise GeometryError(f"expected numbers in the mask, found {values.dtype}")
    require_shape(values.shape)
    return values
