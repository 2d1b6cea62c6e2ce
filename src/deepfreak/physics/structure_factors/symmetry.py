"""A unit cell and the space group that has to allow it."""

from __future__ import annotations

from math import cos, isfinite, radians
from typing import TYPE_CHECKING

import numpy as np

from deepfreak.errors import StructureError

if TYPE_CHECKING:
    from collections.abc import Sequence

    import gemmi

# Relative to the edges: cells are written with two or three digits, and 77.90 may stand for 77.905.
# gemmi's own test takes a difference in A^2, too strict for large cells and too lax for small ones.
CELL_TOLERANCE = 2e-4
# Below it the three axes lie almost in one plane (the volume of a cell with edges of length 1).
MIN_UNIT_VOLUME = 1e-3

REQUIREMENTS = {
    "monoclinic": "two angles of 90 degrees",
    "orthorhombic": "alpha = beta = gamma = 90",
    "tetragonal": "a = b and alpha = beta = gamma = 90",
    "trigonal": "a = b, alpha = beta = 90 and gamma = 120",
    "hexagonal": "a = b, alpha = beta = 90 and gamma = 120",
    "cubic": "a = b = c and alpha = beta = gamma = 90",
}
MONOCLINIC_REQUIREMENTS = {
    "a": "beta = gamma = 90",
    "b": "alpha = gamma = 90",
    "c": "alpha = beta = 90",
}


def crystal_symmetry(
    cell: Sequence[float], space_group: str
) -> tuple[gemmi.UnitCell, gemmi.SpaceGroup]:
    """Return gemmi's cell and space group once they are known to go together.

    `cell` is a, b, c in angstrom and alpha, beta, gamma in degrees; `space_group` a
    Hermann-Mauguin symbol such as "P 21 21 21", with or without blanks, or a number. Raises
    `StructureError` for a cell without volume, an unknown symbol, or a cell that it forbids.
    """
    import gemmi

    unit_cell = gemmi.UnitCell(*_checked_parameters(cell))
    group = gemmi.find_spacegroup_by_name(space_group, unit_cell.alpha, unit_cell.gamma)
    if group is None:
        raise StructureError(
            f"expected a space group such as 'P 21 21 21', found {space_group!r}; "
            "give its Hermann-Mauguin symbol"
        )
    if not _is_allowed(unit_cell, group):
        raise StructureError(
            f"expected a cell with {requirement(group)}, as {group.xhm()} requires, found "
            f"{_written(unit_cell.parameters)}; correct the cell or the space group"
        )
    return unit_cell, group


def requirement(group: gemmi.SpaceGroup) -> str:
    """Say in words what the space group asks of a cell."""
    system = group.crystal_system_str()
    if group.ext == "R":
        return "a = b = c and alpha = beta = gamma"
    if system == "monoclinic":
        return MONOCLINIC_REQUIREMENTS.get(group.monoclinic_unique_axis(), REQUIREMENTS[system])
    return REQUIREMENTS.get(system, "six free parameters")


def _is_allowed(cell: gemmi.UnitCell, group: gemmi.SpaceGroup) -> bool:
    """Tell whether every rotation of the group leaves the lengths and angles of the axes alone."""
    metric = np.array(cell.metric_tensor().as_mat33().tolist())
    edges = np.array(cell.parameters[:3])
    for op in group.operations().sym_ops:
        rotation = np.array(op.rot) / op.DEN
        change = rotation.T @ metric @ rotation - metric
        if np.any(np.abs(change) > CELL_TOLERANCE * np.outer(edges, edges)):
            return False
    return True


def _checked_parameters(cell: Sequence[float]) -> Sequence[float]:
    """Return the six parameters of a cell that has a volume, else raise `StructureError`."""
    if len(cell) != 6 or not all(isfinite(parameter) for parameter in cell):
        raise StructureError(
            f"expected a cell of six numbers, found {_written(cell)}; "
            "give a, b, c in angstrom and alpha, beta, gamma in degrees"
        )
    if min(cell[:3]) <= 0:
        raise StructureError(
            f"expected cell edges above 0, found {_written(cell[:3])}; give a, b, c in angstrom"
        )
    if max(cell[:3]) <= 1:
        raise StructureError(
            f"expected the unit cell of a crystal, found edges of {_written(cell[:3])} A, which "
            "stand for an unknown one; give a, b, c in angstrom"
        )
    if not all(0 < angle < 180 for angle in cell[3:]):
        raise StructureError(
            f"expected cell angles between 0 and 180 degrees, found {_written(cell[3:])}; "
            "give alpha, beta, gamma in degrees"
        )
    alpha, beta, gamma = (cos(radians(angle)) for angle in cell[3:])
    # Square of the volume spanned by unit vectors with these angles between them.
    squared = 1 - alpha**2 - beta**2 - gamma**2 + 2 * alpha * beta * gamma
    if squared < MIN_UNIT_VOLUME**2:
        raise StructureError(
            f"expected angles that close a cell, found {_written(cell[3:])} which enclose no "
            "volume; the sum of two must exceed the third and all three stay below 360"
        )
    return cell


def _written(numbers: Sequence[float]) -> str:
    return " ".join(f"{number:g}" for number in numbers)
