"""The formats that are read, in the order in which files are tried; and files without others.

An uploaded file must hold all of its data. HDF5 follows links and layouts to any file that the
program may read, and EDF headers name files of pixels: the answer would reveal files that the
sender cannot see.
"""

import re
from pathlib import Path

import h5py

from deepfreak.errors import FrameError
from deepfreak.formats.by_fabio import FABIO
from deepfreak.formats.cbf import CBF
from deepfreak.formats.format import Format
from deepfreak.formats.hdf5.reader import HDF5
from deepfreak.formats.pictures import PGM, PNG
from deepfreak.formats.smv import SMV
from deepfreak.formats.tiff import TIFF
from deepfreak.storage.files import read_hdf5

FORMATS = (HDF5, CBF, SMV, TIFF, PGM, PNG, FABIO)


def format_of(path: Path) -> Format:
    """Return the format of a file by its first bytes; fabio tries what no other recognises."""
    with path.open("rb") as file:
        start = file.read(512)
    return next(each for each in FORMATS if each.recognises(path, start))


_EDF_FILE = re.compile(rb"EDF_BinaryFile", re.IGNORECASE)
_OWN = "."


def require_self_contained(path: Path) -> None:
    """Raise `FrameError` if the file refers to others; the message does not name them.

    Refused are HDF5's external links and links of unknown kinds, external raw storage, virtual
    sources other than ".", and EDF headers that name a file of pixels.
    """
    if format_of(path) is HDF5:
        with read_hdf5(path) as file:
            refers = _refers(file)
    else:
        refers = _EDF_FILE.search(path.read_bytes()) is not None
    if refers:
        raise FrameError(
            "expected a file that holds all of its data, found one that refers to other files: "
            "send one with the images in it"
        )


def _refers(file: h5py.File) -> bool:
    """Return whether anything that is linked in an HDF5 file leads out of it."""

    def visit(name: bytes, link: h5py.h5l.LinkInfo) -> bool | None:
        """Return True, which ends the visit, at what leads out."""
        if link.type == h5py.h5l.TYPE_SOFT:
            return None
        if link.type != h5py.h5l.TYPE_HARD:
            return True
        kind = h5py.h5o.get_info(file.id, name).type
        if kind != h5py.h5o.TYPE_DATASET:
            return None
        return True if _leads_out(h5py.h5d.open(file.id, name)) else None

    return bool(file.id.links.visit(visit, info=True))


def _leads_out(data: h5py.h5d.DatasetID) -> bool:
    layout = data.get_create_plist()
    if layout.get_external_count() > 0:
        return True
    if layout.get_layout() != h5py.h5d.VIRTUAL:
        return False
    return any(
        layout.get_virtual_filename(number) != _OWN for number in range(layout.get_virtual_count())
    )
