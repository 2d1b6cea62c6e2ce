"""Structure factors without a model: Wilson statistics of a cell filled with protein atoms."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from deepfreak.errors import StructureError
from deepfreak.physics.scattering.atoms import coherent_at
from deepfreak.physics.structure_factors.factors import (
    BATCH,
    STOL,
    StructureFactors,
    expand_to_p1,
    unique_reflections,
)
from deepfreak.physics.structure_factors.symmetry import crystal_symmetry

if TYPE_CHECKING:
    from collections.abc import Sequence

    import gemmi
    import numpy.typing as npt

# Atoms of the mean residue of all proteins ("averagine": Senko, Beu & McLafferty, J. Am. Soc. Mass
# Spectrom. 6, 229, 1995). Its 7.76 hydrogens are left out, as in most models.
AVERAGINE = {"C": 4.9384, "N": 1.3577, "O": 1.4773, "S": 0.0417}


def wilson(
    *,
    cell: Sequence[float],
    space_group: str,
    atoms_per_asu: int,
    B_A2: float,
    k_sol: float = 0.75,
    B_sol_A2: float = 200.0,
    d_min_A: float,
    seed: int,
) -> StructureFactors:
    """Draw |F(hkl)| of a crystal of which only cell, symmetry and atom count are known.

    The atoms lie anywhere, so F is a random walk in the complex plane with

        <F^2> = epsilon exp(-2 B stol^2) sum over the cell's atoms of f(stol)^2,

    stol = sin(theta)/wavelength: F^2 is exponential for acentric reflections and chi-squared with
    one degree of freedom for centric ones (Wilson, Acta Cryst. 2, 318, 1949). The solvent between
    the molecules takes (1 - k_sol exp(-B_sol stol^2)) of the amplitude. F(0, 0, 0) is left 0: it is
    the direct beam. An amplitude depends on `seed` and its indices alone, not on `d_min_A`. Raises
    `StructureError` when the space group does not allow the cell or a number makes no sense.

    `cell` is a, b, c in angstrom and alpha, beta, gamma in degrees; `atoms_per_asu` counts atoms
    other than hydrogen, of a protein's mean composition; `B_A2` is the overall B factor; `k_sol` (0
    to 1) and `B_sol_A2` are depth and B factor of the damping by solvent at low angles; 0 <= `seed`
    < 2^64.
    """
    _check_settings(atoms_per_asu, B_A2, k_sol, B_sol_A2, seed)
    unit_cell, group = crystal_symmetry(cell, space_group)
    hkl = unique_reflections(unit_cell, group, d_min_A)
    operations = group.operations()
    atoms_per_cell = atoms_per_asu * len(operations.sym_ops) * len(operations.cen_ops)
    F = np.empty(len(hkl), dtype=np.float32)
    for first in range(0, len(hkl), BATCH):
        part = hkl[first : first + BATCH]
        stol2 = unit_cell.calculate_1_d2_array(part) / 4
        mean_F2 = (
            operations.epsilon_factor_array(part)
            * atoms_per_cell
            * mean_square_form_factor(stol2)
            * np.exp(-2 * B_A2 * stol2)
        )
        solvent = 1 - k_sol * np.exp(-B_sol_A2 * stol2)
        F[first : first + BATCH] = solvent * np.sqrt(
            mean_F2 * unit_intensities(part, operations, seed=seed)
        )
    factors = expand_to_p1(
        hkl,
        F,
        cell=unit_cell,
        group=group,
        d_min_A=d_min_A,
        source=(
            f"Wilson statistics of {atoms_per_asu} atoms per asymmetric unit, B={B_A2:g} A^2, "
            f"k_sol={k_sol:g}, B_sol={B_sol_A2:g} A^2, seed {seed}"
        ),
        composition=tuple(
            (element, atoms_per_cell * count / sum(AVERAGINE.values()))
            for element, count in AVERAGINE.items()
        ),
    )
    # beyond the last reflections as there
    reached = np.minimum(STOL, 0.5 / d_min_A)
    return replace(factors, lost=factors.mean_square() * np.expm1(2 * B_A2 * reached**2))


def mean_square_form_factor(stol2: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return the mean f(stol)^2 of a protein's atoms in electrons^2, at (n,) values of stol^2."""
    total = np.zeros_like(stol2)
    for symbol, count in AVERAGINE.items():
        total += count * coherent_at(symbol, stol2) ** 2
    return total / sum(AVERAGINE.values())


def unit_intensities(
    hkl: npt.NDArray[np.int32], operations: gemmi.GroupOps, *, seed: int
) -> npt.NDArray[np.float64]:
    """Draw F^2 / <F^2> of reflections, (n,): chi-squared if centric, else exponential."""
    first, second = uniform_deviates(hkl, seed=seed)
    exponential = -np.log(first)
    # Box and Muller: the square of a normal deviate.
    chi_squared = 2 * exponential * np.cos(2 * np.pi * second) ** 2
    return np.where(operations.centric_flag_array(hkl), chi_squared, exponential)


def uniform_deviates(
    hkl: npt.NDArray[np.int32], *, seed: int
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return two deviates in (0, 1) for each reflection, each a function of (seed, hkl) alone.

    A counter-based generator: the indices, 21 bits each, are the counter, and SplitMix64's
    finalizer (Steele, Lea & Flood, OOPSLA 2014) scrambles them with the seed.
    """
    h, k, l = (hkl[:, axis].astype(np.int64) + 2**20 for axis in range(3))
    counter = (h | k << 21 | l << 42).astype(np.uint64)
    key = _scrambled(np.array([seed], dtype=np.uint64))
    mixed = _scrambled(_scrambled(counter) ^ key)
    return _unit(mixed), _unit(_scrambled(mixed))


def _scrambled(x: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """Return one output of SplitMix64 whose state is `x`; arithmetic is modulo 2^64."""
    x = x + np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def _unit(bits: npt.NDArray[np.uint64]) -> npt.NDArray[np.float64]:
    """Map 64 bits to the middle of one of 2^52 equal intervals of (0, 1)."""
    return ((bits >> np.uint64(12)).astype(np.float64) + 0.5) * 2.0**-52


def _check_settings(
    atoms_per_asu: int, B_A2: float, k_sol: float, B_sol_A2: float, seed: int
) -> None:
    """Raise `StructureError` for a number outside its range."""
    ranges = {
        "atoms_per_asu": (atoms_per_asu, 1, 10**9),
        "B_A2": (B_A2, 0.0, 1e4),
        "k_sol": (k_sol, 0.0, 1.0),
        "B_sol_A2": (B_sol_A2, 0.0, 1e6),
        "seed": (seed, 0, 2**64 - 1),
    }
    for name, (value, low, high) in ranges.items():
        if not low <= value <= high:
            raise StructureError(f"expected {name} from {low:g} to {high:g}, found {value}")
