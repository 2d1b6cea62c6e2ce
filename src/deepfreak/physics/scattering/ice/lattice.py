"""The crystals of ice at about 100 K: cell, atoms, and how strongly each reflection scatters."""

from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from deepfreak.physics.crystal import real_axes
from deepfreak.physics.scattering.atoms import coherent

Array = NDArray[np.float64]
IceForm = Literal["hexagonal", "cubic"]

# 8 pi^2 <u^2> in A^2 of a molecule at 100 K by Debye's theory, with the characteristic temperature
# of 224 K that Zajac (J. Chem. Phys. 29, 324, 1958) found from oxygen's part of 00l intensities.
B_A2 = 1.44
# IceReflections weaker than this share of the strongest, in |F|^2, are taken as absent.
MIN_INTENSITY = 1e-6


@dataclass(frozen=True, slots=True, kw_only=True)
class Structure:
    """A cell in A and degrees, its space group, and sites: element, occupancy, x, y, z."""

    cell: tuple[float, float, float, float, float, float]
    space_group: str
    sites: tuple[tuple[str, float, float, float, float], ...]


# Each oxygen has four hydrogen bonds; on each of them the proton is half here and half there.
STRUCTURES: dict[IceForm, Structure] = {
    # Both cells of H2O as compiled by Chaplin, Water Structure and Science, "Ice crystals"; atoms
    # of Ih from Goto, Hondoh & Mae, J. Chem. Phys. 93, 1412 (1990), by X-rays: O-H is 0.85 A, to
    # the middle of hydrogen's electrons.
    "hexagonal": Structure(
        cell=(4.4975, 4.4975, 7.3224, 90.0, 90.0, 120.0),
        space_group="P 63/m m c",
        sites=(
            ("O", 1.0, 1 / 3, 2 / 3, 0.06226),
            ("H", 0.5, 1 / 3, 2 / 3, 0.178),
            ("H", 0.5, 0.439, 0.878, 0.020),
        ),
    ),
    # Koenig's diamond lattice (Z. Kristallogr. 105, 279, 1943): O in its nodes, H at the same
    # 0.85 A on the body diagonal, 0.85 / (6.358 sqrt 3) from 1/8.
    "cubic": Structure(
        cell=(6.358, 6.358, 6.358, 90.0, 90.0, 90.0),
        space_group="F d -3 m :2",
        sites=(
            ("O", 1.0, 1 / 8, 1 / 8, 1 / 8),
            ("H", 0.5, 0.0478, 0.0478, 0.0478),
        ),
    ),
}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class IceReflections:
    """All reflections of a form of ice, Friedel mates and equivalents each on its own."""

    # hkl, q: (n, 3) indices, and the vectors they stand for in 1/A for the cell as `real_axes` lays
    # it
    hkl: NDArray[np.int64]
    q: Array
    stol: Array  # (n,) sin(theta)/lambda in 1/A, half the length of q
    F_sqr: Array  # (n,) |F|^2 in electrons^2 per cell, weakened by thermal motion
    cell_A3: float  # volume of the cell


@lru_cache(maxsize=8)
def reflections(form: IceForm, stol_max: float) -> IceReflections:
    """Return the reflections of ice up to `stol_max` in 1/A that are not absent."""
    structure = STRUCTURES[form]
    hkl, q, stol, F_sqr = listed_reflections(structure, stol_max, B_A2)
    present = F_sqr > MIN_INTENSITY * F_sqr.max(initial=0.0)
    return IceReflections(
        hkl=hkl[present],
        q=q[present],
        stol=stol[present],
        F_sqr=F_sqr[present],
        cell_A3=float(np.linalg.det(real_axes(structure.cell))),
    )


def listed_reflections(
    structure: Structure, stol_max: float, B_A2: float
) -> tuple[NDArray[np.int64], Array, Array, Array]:
    """Return indices, vectors and stol in 1/A and |F|^2 of all reflections up to `stol_max`."""
    axes = real_axes(structure.cell)
    largest = np.floor(2 * stol_max * np.linalg.norm(axes, axis=1)).astype(int)
    grids = np.meshgrid(*(np.arange(-n, n + 1) for n in largest), indexing="ij")
    hkl = np.stack(grids, axis=-1).reshape(-1, 3)
    q = hkl @ np.linalg.inv(axes).T
    stol = np.linalg.norm(q, axis=1) / 2
    inside = (stol > 0) & (stol <= stol_max)
    hkl, q, stol = hkl[inside], q[inside], stol[inside]
    F_sqr = np.abs(structure_factor(structure, hkl, stol)) ** 2 * np.exp(-2 * B_A2 * stol**2)
    return hkl, q, stol, F_sqr


def structure_factor(
    structure: Structure, hkl: NDArray[np.int64], stol: Array
) -> NDArray[np.complex128]:
    """Return F in electrons per cell of atoms at rest, (n,): the sum of f exp(2 pi i h.x)."""
    F = np.zeros(len(hkl), dtype=np.complex128)
    for element, occupancy, *position in structure.sites:
        f = occupancy * coherent(element, stol)
        for site in equivalent_sites(structure.space_group, position):
            F += f * np.exp(2j * np.pi * (hkl @ site))
    return F


def equivalent_sites(space_group: str, position: list[float]) -> Array:
    """Return the distinct positions in the cell, (n, 3), that symmetry makes of one."""
    import gemmi

    operations = gemmi.find_spacegroup_by_name(space_group).operations()
    copies = np.array([operation.apply_to_xyz(position) for operation in operations])
    # on a special position several operations lead to one place
    grid = np.rint(copies * 1e4).astype(np.int64) % 10_000
    _, first = np.unique(grid, axis=0, return_index=True)
    return copies[first]
