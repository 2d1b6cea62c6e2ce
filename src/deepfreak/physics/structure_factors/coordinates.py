"""Atomic coordinates from PDB and mmCIF files, checked before use."""

from __future__ import annotations

import gzip
import zlib
from math import isfinite
from typing import TYPE_CHECKING

from deepfreak.errors import StructureError
from deepfreak.physics.structure_factors.symmetry import crystal_symmetry

if TYPE_CHECKING:
    from pathlib import Path

    import gemmi

MAX_FILE_BYTES = 512 * 1024**2
GZIP_MAGIC = b"\x1f\x8b"


def read_coordinates(path: Path, *, max_bytes: int = MAX_FILE_BYTES) -> gemmi.Structure:
    """Read the atoms of a crystal from a PDB or mmCIF file, plain or gzipped.

    Strict non-crystallographic symmetry is expanded. `max_bytes` limits the text after
    decompression. Raises `StructureError` for a file that cannot be read, holds no atoms, or
    whose cell is missing or contradicts its space group.
    """
    import gemmi

    text = _read_text(path, max_bytes)
    kind = gemmi.CoorFormat.Mmcif if _looks_like_cif(text) else gemmi.CoorFormat.Pdb
    try:
        structure = gemmi.read_structure_string(text, format=kind)
    except (RuntimeError, ValueError) as error:
        raise StructureError(f"{path}: expected a PDB or mmCIF file, but {error}") from error
    if not len(structure) or not structure[0].count_atom_sites():
        raise StructureError(f"{path}: expected a PDB or mmCIF file with atoms, found none")
    _check_symmetry(structure, path)
    for site in structure[0].all():
        atom = site.atom
        if not all(isfinite(x) for x in (*atom.pos.tolist(), atom.occ, atom.b_iso)):
            raise StructureError(f"{path}: expected numbers, atom {site} has none; repair the file")
    if any(not op.given for op in structure.ncs):
        structure.expand_ncs(gemmi.HowToNameCopiedChain.Short)
    return structure


def _check_symmetry(structure: gemmi.Structure, path: Path) -> None:
    """Raise `StructureError` unless cell and space group are there and agree."""
    if not structure.cell.is_crystal():
        raise StructureError(
            f"{path}: expected the unit cell of a crystal (CRYST1 or _cell), found none; "
            "add it to the file"
        )
    if not structure.spacegroup_hm:
        raise StructureError(
            f"{path}: expected a space group beside the cell, found none; add it to the file"
        )
    try:
        crystal_symmetry(structure.cell.parameters, structure.spacegroup_hm)
    except StructureError as error:
        raise StructureError(f"{path}: {error}") from None


def _looks_like_cif(text: bytes) -> bool:
    """Tell whether the first line that is not a comment opens a CIF data block."""
    for line in text[:65536].splitlines():
        word = line.strip()
        if word and not word.startswith(b"#"):
            return word[:5].lower() == b"data_"
    return False


def _read_text(path: Path, max_bytes: int) -> bytes:
    """Return the file's content, decompressed, of at most `max_bytes`."""
    try:
        with path.open("rb") as raw:
            zipped = raw.read(2) == GZIP_MAGIC
            raw.seek(0)
            if zipped:
                with gzip.GzipFile(fileobj=raw) as unzipped:
                    text = unzipped.read(max_bytes + 1)
            else:
                text = raw.read(max_bytes + 1)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise StructureError(f"{path}: expected an intact gzip file, but {error}") from error
    except OSError as error:
        raise StructureError(f"{path}: cannot be read: {error.strerror or error}") from error
    if len(text) > max_bytes:
        raise StructureError(
            f"{path}: expected at most {max_bytes / 1e6:.0f} MB of coordinates, found more; "
            "give a single crystal structure"
        )
    return text
