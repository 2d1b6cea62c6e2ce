"""Orientation matrices as MOSFLM and nanoBragg's `-mat` read them."""

import re
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from deepfreak.errors import StructureError

Array = NDArray[np.float64]

MAX_FILE_BYTES = 65536
_NUMBER = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?"
# MOSFLM writes in fixed columns, in which a minus sign may touch the number before it.
_NINE_NUMBERS = re.compile(
    rf"\s*({_NUMBER})" + rf"(?:\s+|(?=[-+]))({_NUMBER})" * 8 + r"(?=[\s+-]|$)"
)


def read_mosflm_matrix(path: Path, wavelength_A: float) -> Array:
    """Return the rows a*, b*, c* in 1/A of the matrix in `path`, in our laboratory frame.

    The first three lines hold the x, y and z components of a*, b* and c*, in this order, times the
    wavelength. As nanoBragg, this reads no further (missetting angles, U, the cell). MOSFLM's axes,
    x along the beam and z along the spindle, are nanoBragg's and ours.

    Parameters
    ----------
    wavelength_A
        The one that the matrix was made with, by which it is divided; the file does not name it.

    Raises
    ------
    StructureError
        When the file does not begin with nine numbers, or these make no right-handed lattice.
    """
    try:
        with path.open(encoding="utf-8", errors="replace") as file:
            text = file.read(MAX_FILE_BYTES)
    except OSError as error:
        raise StructureError(f"{path}: cannot be read: {error.strerror or error}") from error
    match = _NINE_NUMBERS.match(text)
    if match is None:
        found = " ".join(text.split())[:60]
        raise StructureError(
            f"{path}: expected a MOSFLM matrix, which begins with nine numbers, found {found!r}"
        )
    columns = np.array([float(number) for number in match.groups()]).reshape(3, 3)
    if not _is_lattice(columns.T):
        raise StructureError(
            f"{path}: expected three reciprocal axes that make a right-handed lattice, "
            f"found {columns.T.tolist()}"
        )
    rows: Array = np.ascontiguousarray(columns.T / wavelength_A)
    return rows


def _is_lattice(axes: Array) -> bool:
    """Return whether three rows span space, and right-handedly."""
    lengths = np.linalg.norm(axes, axis=1)
    if not np.isfinite(lengths).all() or lengths.min() == 0:
        return False
    # of unit vectors: 1 where they are perpendicular, 0 where they lie in one plane
    return bool(np.linalg.det(axes / lengths[:, None]) > 1e-3)
