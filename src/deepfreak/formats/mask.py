"""Mask and dark files: which pixels to leave out, and what they count without light."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from deepfreak.errors import DeepFreakError, GeometryError
from deepfreak.formats.by_fabio import read_array
from deepfreak.formats.cbf import MAGIC as CBF_MAGIC
from deepfreak.formats.cbf import read_cbf
from deepfreak.formats.frame import Counts, Valid, require_shape
from deepfreak.formats.hdf5.coverage import Coverage
from deepfreak.formats.hdf5.links import open_to_read
from deepfreak.formats.plain import MAGICS as PICTURE_MAGICS
from deepfreak.formats.plain import read_picture
from deepfreak.formats.tiff import MAGICS as TIFF_MAGICS
from deepfreak.formats.tiff import read_tiff

_NPY = b"\x93NUMPY"
_MAX_DARK_FRAMES = 100


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
        values = _read(path)
        require_shape(values.shape)
    except DeepFreakError as error:
        raise GeometryError(f"{path}: {error}") from error
    # readers raise whatever a damaged file makes them stumble over
    except Exception as error:
        text = " ".join(str(error).split())
        raise GeometryError(
            f"expected a mask image in {path}, found no such: {text:.150}"
        ) from error
    return np.asarray(values != 0)


def read_dark(path: Path, *, channel: str | None = None) -> NDArray[np.float32]:
    """Return the counts of each pixel without light, from a file of dark frames.

    The mean over at most 100 frames, of the shape of the file's own data; NaN where no frame
    measured anything. An npy file holds it as it is.

    Raises
    ------
    GeometryError
        The file cannot be read, or its frames differ in size.
    """
    from deepfreak.formats.files import open_frames

    total = number = np.zeros(0)
    try:
        with path.open("rb") as file:
            if file.read(len(_NPY)) == _NPY:
                dark = np.asarray(_read(path), dtype=np.float32)
                require_shape(dark.shape)
                return dark
        with open_frames(path, channel=channel) as file:
            for index in range(min(file.count, _MAX_DARK_FRAMES)):
                frame = file.read(index)
                if index == 0:
                    total, number = np.zeros(frame.counts.shape), np.zeros(frame.counts.shape)
                if frame.counts.shape != total.shape:
                    raise GeometryError("expected dark frames of one size, found several")
                total += np.where(frame.valid, frame.counts, 0)
                number += frame.valid
    except OSError as error:
        raise GeometryError(f"cannot read {path}: {error.strerror or error}") from error
    except DeepFreakError as error:
        raise GeometryError(f"{path}: {error}") from error
    with np.errstate(invalid="ignore", divide="ignore"):
        mean: NDArray[np.float32] = (total / np.where(number > 0, number, np.nan)).astype(
            np.float32
        )
    return mean


def apply_mask(valid: Valid, mask: Valid) -> Valid:
    """Return `valid` without the masked pixels; `GeometryError` where the sizes differ."""
    if valid.shape != mask.shape:
        raise GeometryError(
            f"expected a mask of the frame's size {_size(valid)}, found one of {_size(mask)}: "
            "make it for this detector and binning"
        )
    return valid & ~mask


def _read(path: Path) -> Counts:
    with path.open("rb") as file:
        start = file.read(512)
    if start.startswith(_NPY):
        values: Counts = np.load(path, mmap_mode="r", allow_pickle=False)
        if values.dtype.kind not in "biuf":
            raise GeometryError(f"expected numbers in the mask, found {values.dtype}")
        return values
    if start.startswith(b"\x89HDF"):
        return read_hdf5_array(path)
    if start.startswith(CBF_MAGIC):
        return read_cbf(path, str(path)).counts
    if start.startswith(PICTURE_MAGICS):
        return read_picture(path)
    if start.startswith(TIFF_MAGICS):
        return read_tiff(path)
    return read_array(path)


def read_hdf5_array(path: Path, place: str | None = None) -> Counts:
    """Return a data set of an HDF5 file: at `place`, else the only mask in it.

    Raises
    ------
    GeometryError
        There is none, or several.
    """
    import h5py
    import hdf5plugin  # noqa: F401 - its import registers the compression filters

    def fits(node: object) -> bool:
        return isinstance(node, h5py.Dataset) and node.ndim >= 2 and node.dtype.kind in "biuf"

    found: list[h5py.Dataset] = []
    with open_to_read(path) as file:
        if place is not None:
            node = file.get(place)
            found = [node] if fits(node) else []
        else:
            file.visititems(lambda _, node: found.append(node) if fits(node) else None)
        named = [node for node in found if "mask" in node.name.lower()] or found
        if len(named) != 1:
            names = ", ".join(node.name for node in named[:4]) or "none"
            where = "" if place is None else f" at {place}"
            raise GeometryError(f"expected one data set with a mask{where}, found {names}")
        require_shape(named[0].shape)
        if not Coverage(named[0], named[0].ndim).holds(0):
            raise GeometryError(
                f"expected values in {named[0].name}, found none: nobody wrote them"
            )
        values: Counts = named[0][()]
    return values


def _size(array: Valid) -> str:
    return " x ".join(str(length) for length in array.shape)
