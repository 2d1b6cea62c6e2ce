"""The formats that are read, in the order in which files are tried."""

from pathlib import Path

from deepfreak.formats.by_fabio import FABIO
from deepfreak.formats.cbf import CBF
from deepfreak.formats.format import Format
from deepfreak.formats.hdf5.reader import HDF5
from deepfreak.formats.pictures import PGM, PNG
from deepfreak.formats.smv import SMV
from deepfreak.formats.tiff import TIFF

FORMATS = (HDF5, CBF, SMV, TIFF, PGM, PNG, FABIO)


def format_of(path: Path) -> Format:
    """Return the format of a file by its first bytes; fabio tries what no other recognises."""
    with path.open("rb") as file:
        start = file.read(512)
    return next(each for each in FORMATS if each.recognises(path, start))
