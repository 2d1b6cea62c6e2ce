"""Atomic models from PDB and mmCIF files, and their structure factors in disordered solvent."""

from __future__ import annotations

import gzip
import zlib
from dataclasses import replace
from math import isfinite, prod
from typing import TYPE_CHECKING

import numpy as np

from deepfreak.errors import StructureError
from deepfreak.physics.scattering.atoms import coherent
from deepfreak.physics.structure_factors.factors import (
    MAX_BOX_ENTRIES,
    STOL,
    Composition,
    StructureFactors,
    expand_to_p1,
    unique_reflections,
)
from deepfreak.physics.structure_factors.symmetry import crystal_symmetry

if TYPE_CHECKING:
    from pathlib import Path

    import gemmi
    import numpy.typing as npt

MAX_FILE_BYTES = 512 * 1024**2
GZIP_MAGIC = b"\x1f\x8b"

# The density is sampled at d_min / (2 rate). At gemmi's default of 1.5 what folds back at the
# highest indices is 3e-4 of the RMS amplitude, here a tenth of that.
GRID_RATE = 1.75
# Atomic density below this many electrons/A^3 is cut off. gemmi's default of 1e-5 leaves errors
# of up to 1e-3 of the RMS amplitude, this one of less than 1e-4.
DENSITY_CUTOFF = 1e-7
# The solvent mask is smooth in comparison, but a coarser one would not see its probe of 1.1 A.
MASK_POINTS_PER_D_MIN = 3
MAX_MASK_SPACING_A = 0.8


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


def from_model(
    path: Path, *, d_min_A: float, k_sol: float = 0.35, B_sol_A2: float = 46.0
) -> StructureFactors:
    """Compute |F(hkl)| of a crystal structure with a flat bulk solvent, in electrons per cell.

    F = F_atoms + k_sol exp(-B_sol stol^2) F_mask with stol = sin(theta)/wavelength: the atoms by
    FFT of their density (IT92 form factors, no anomalous scattering), the mask as 1 in the solvent
    and 0 in the molecule. The first model of the file is used. F(0, 0, 0) is left 0: it is the
    direct beam. Raises `StructureError` when the file or its cell cannot be used, or the resolution
    asks for too large a grid. Appendix A of the paper, after Tronrud (1997), computed as
    phenix.fmodel does.

    `path` is a PDB or mmCIF file, plain or gzipped; `k_sol` and `B_sol_A2` are the density of the
    solvent in electrons/A^3 and the smearing of its surface in A^2; `k_sol=0` leaves vacuum.
    """
    if not (0 <= k_sol < np.inf and 0 <= B_sol_A2 < np.inf):
        raise StructureError(
            f"expected k_sol and B_sol_A2 of 0 or more, found {k_sol} and {B_sol_A2}"
        )
    structure = read_coordinates(path)
    cell, group = crystal_symmetry(structure.cell.parameters, structure.spacegroup_hm)
    hkl = unique_reflections(cell, group, d_min_A)
    F = atoms_F(structure, hkl, d_min_A=d_min_A)
    if k_sol > 0:
        stol2 = cell.calculate_1_d2_array(hkl) / 4
        F += k_sol * np.exp(-B_sol_A2 * stol2) * solvent_F(structure, hkl, d_min_A=d_min_A)
    amplitudes = np.abs(F)
    if not np.isfinite(amplitudes).all():
        raise StructureError(
            f"{path}: expected finite structure factors, found NaN; check the B factors"
        )
    factors = expand_to_p1(
        hkl,
        amplitudes,
        cell=cell,
        group=group,
        d_min_A=d_min_A,
        source=f"model {path.name} with bulk solvent k_sol={k_sol:g}, B_sol={B_sol_A2:g} A^2",
        composition=cell_composition(structure, group),
    )
    return replace(factors, lost=atoms_lost(structure, group))


def atoms_lost(structure: gemmi.Structure, group: gemmi.SpaceGroup) -> npt.NDArray[np.float64]:
    """Return what the B factors of all atoms of a cell take from the spots, at `STOL`.

    The sum of f^2 (1 - exp(-2 B stol^2)), each atom moving on its own as in Einstein's crystal
    (James, The Optical Principles of the Diffraction of X-rays, 1948, ch. V).
    """
    counts: dict[str, dict[int, float]] = {}
    for site in structure[0].all():
        of_element = counts.setdefault(site.atom.element.name, {})
        B_A2 = round(site.atom.b_iso)
        of_element[B_A2] = of_element.get(B_A2, 0.0) + site.atom.occ
    copies = _copies(group)
    lost = np.zeros_like(STOL)
    for element, of_element in counts.items():
        taken = sum(
            -count * np.expm1(-2 * max(B_A2, 0) * STOL**2) for B_A2, count in of_element.items()
        )
        lost += copies * coherent(element, STOL) ** 2 * taken
    return lost


def _copies(group: gemmi.SpaceGroup) -> int:
    operations = group.operations()
    return len(operations.sym_ops) * len(operations.cen_ops)


def cell_composition(structure: gemmi.Structure, group: gemmi.SpaceGroup) -> Composition:
    """Return the elements of the first model and how many atoms of each the whole cell has.

    Every symmetry copy counts, by its occupancy; on special positions this is, as in `atoms_F`,
    what the file shares out among the copies that coincide.
    """
    counts: dict[str, float] = {}
    for site in structure[0].all():
        element = site.atom.element.name
        counts[element] = counts.get(element, 0.0) + site.atom.occ
    copies = _copies(group)
    return tuple((element, copies * count) for element, count in sorted(counts.items()))


def atoms_F(
    structure: gemmi.Structure, hkl: npt.NDArray[np.int32], *, d_min_A: float
) -> npt.NDArray[np.complex128]:
    """Return the complex structure factors, (n,), of the atoms alone at `hkl` (n, 3).

    Equals the direct sum over atoms and symmetry, sum f(stol) exp(-B stol^2) exp(2 pi i h.x), which
    takes minutes for a large cell. The density is blurred before it is sampled and sharpened after
    the FFT, so that a coarse grid carries it.
    """
    import gemmi

    check_grid(structure.cell, d_min_A / (2 * GRID_RATE))
    density = gemmi.DensityCalculatorX()
    density.d_min = d_min_A
    density.rate = GRID_RATE
    density.cutoff = DENSITY_CUTOFF
    density.set_grid_cell_and_spacegroup(structure)
    density.set_refmac_compatible_blur(structure[0])
    density.put_model_density_on_grid(structure[0])
    transform = gemmi.transform_map_to_f_phi(density.grid, half_l=True)
    F = transform.get_value_by_hkl(hkl, unblur=density.blur)
    return F.astype(np.complex128)


def solvent_F(
    structure: gemmi.Structure, hkl: npt.NDArray[np.int32], *, d_min_A: float
) -> npt.NDArray[np.complex128]:
    """Return the complex structure factors, (n,), of a mask that is 1 in the solvent, in A^3."""
    import gemmi

    spacing = min(d_min_A / MASK_POINTS_PER_D_MIN, MAX_MASK_SPACING_A)
    check_grid(structure.cell, spacing)
    mask = gemmi.FloatGrid()
    mask.setup_from(structure, spacing=spacing)
    gemmi.SolventMasker(gemmi.AtomicRadiiSet.Cctbx).put_mask_on_float_grid(mask, structure[0])
    transform = gemmi.transform_map_to_f_phi(mask, half_l=True)
    return transform.get_value_by_hkl(hkl).astype(np.complex128)


def check_grid(cell: gemmi.UnitCell, spacing_A: float) -> None:
    """Raise `StructureError` when a map of the whole cell would not fit in memory."""
    points = prod(edge / spacing_A for edge in cell.parameters[:3])
    if points > MAX_BOX_ENTRIES:
        raise StructureError(
            f"expected a density map of at most {MAX_BOX_ENTRIES:.0e} points, {points:.1e} are "
            f"needed at {spacing_A:.2g} A; ask for a larger d_min_A"
        )
