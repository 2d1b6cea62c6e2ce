"""F(hkl) of a whole unit cell as a dense box, so that scattering only has to index it."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import prod
from typing import TYPE_CHECKING

import numpy as np

from deepfreak.errors import StructureError

if TYPE_CHECKING:
    from collections.abc import Sequence

    import gemmi
    import numpy.typing as npt

MAX_BOX_ENTRIES = 400_000_000
# Reflections written at a time: bounds the temporary indices to some 100 MB.
BATCH = 2_000_000

# Where the light beside the spots is known, in 1/A: beyond 2 the form factors' coefficients do not
# hold.
STOL = np.linspace(0.0, 2.0, 801)
STOL.setflags(write=False)
# Shells of the mean F^2: so many points of the reciprocal lattice in each on average, and at most
# so many shells.
POINTS_PER_SHELL = 20
MAX_SHELLS = 60

UnitCell = tuple[float, float, float, float, float, float]
Composition = tuple[tuple[str, float], ...]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class StructureFactors:
    """Amplitudes of a crystal's reflections, expanded to P1."""

    # float32, indexed `[h - h_min, k - k_min, l - l_min]`, in electrons per unit cell. Both Friedel
    # mates are present; a reflection that is absent or was never listed is 0, or `default_F` if the
    # file was read with one.
    F: npt.NDArray[np.float32]
    # Index of `F[0, 0, 0]`; the box is symmetric, so `F` has `1 - 2 * hkl_min` entries an axis
    hkl_min: tuple[int, int, int]
    cell: UnitCell  # a, b, c in angstrom and alpha, beta, gamma in degrees
    space_group: str  # Hermann-Mauguin symbol of the crystal (the amplitudes themselves are in P1)
    d_min_A: float  # resolution to which reflections are present
    source: str  # where the amplitudes come from, for people and manifests
    default_F: float = 0.0  # what `lookup` gives outside the box
    # Elements and how many atoms of each a unit cell has, as far as `F` was computed from atoms:
    # without solvent and mostly without hydrogen. Empty where it is not known.
    composition: Composition = ()
    # What B factors took from the mean F^2, in electrons^2 of a cell at `STOL`; 0 where that is not
    # known
    lost: npt.NDArray[np.float64] = field(default_factory=lambda: np.zeros_like(STOL))

    def __post_init__(self) -> None:
        """Reject a box that is not symmetric about the origin of reciprocal space."""
        shape = tuple(1 - 2 * first for first in self.hkl_min)
        if self.F.shape != shape or self.F.dtype != np.float32:
            raise StructureError(
                f"expected float32 structure factors of shape {shape} for hkl_min {self.hkl_min}, "
                f"found {self.F.dtype} of shape {self.F.shape}; "
                "give a box symmetric about (0, 0, 0)"
            )

    def mean_square(self) -> npt.NDArray[np.float64]:
        """Return the mean F^2 over the reciprocal lattice, absences included, at `STOL`.

        In shells of equal width, and between their middles as a Gaussian; beyond the last
        reflections as there.
        """
        metric = reciprocal_metric(self.cell)
        volume = np.linalg.det(metric) ** -0.5
        last = 0.5 / self.d_min_A
        points = 4 / 3 * np.pi * volume * (2 * last) ** 3
        count = int(np.clip(np.cbrt(points / POINTS_PER_SHELL), 4, MAX_SHELLS))
        sums = np.zeros((3, count))
        h, k, l = (np.arange(first, 1 - first) for first in self.hkl_min)
        in_plane = (
            metric[1, 1] * k[:, None] ** 2
            + 2 * metric[1, 2] * np.outer(k, l)
            + metric[2, 2] * l[None, :] ** 2
        )
        across = metric[0, 1] * k[:, None] + metric[0, 2] * l[None, :]
        for index, plane in zip(h.tolist(), self.F, strict=True):
            stol2 = (metric[0, 0] * index**2 + 2 * index * across + in_plane) / 4
            within = (stol2 <= last**2) & (stol2 > 0)
            stol2 = stol2[within]
            shell = np.minimum((np.sqrt(stol2) * (count / last)).astype(np.int64), count - 1)
            sums[0] += np.bincount(shell, None, count)
            sums[1] += np.bincount(shell, stol2, count)
            sums[2] += np.bincount(shell, plane[within].astype(np.float64) ** 2, count)
        number, stol2, F2 = sums[:, sums[2] > 0]
        if not len(number):
            return np.zeros_like(STOL)
        logarithm = np.interp(STOL**2, stol2 / number, np.log(F2 / number))
        mean: npt.NDArray[np.float64] = np.exp(logarithm)
        return mean

    def lookup(
        self, h: npt.ArrayLike, k: npt.ArrayLike, l: npt.ArrayLike
    ) -> npt.NDArray[np.float32]:
        """Return the amplitudes at integer indices, `default_F` outside the box.

        `h`, `k`, `l` broadcast against each other; the result has their common shape.
        """
        hkl = np.broadcast_arrays(np.asarray(h), np.asarray(k), np.asarray(l))
        inside = np.ones(hkl[0].shape, dtype=bool)
        for index, first in zip(hkl, self.hkl_min, strict=True):
            # Compare with both ends: abs() of the smallest integer is negative.
            inside &= (index >= first) & (index <= -first)
        found = np.full(inside.shape, self.default_F, dtype=np.float32)
        found[inside] = self.F[
            tuple(index[inside] - first for index, first in zip(hkl, self.hkl_min, strict=True))
        ]
        return found


def reciprocal_metric(cell: UnitCell) -> npt.NDArray[np.float64]:
    """Return the products of a*, b* and c* with each other, (3, 3) in 1/A^2."""
    cos = np.cos(np.radians(cell[3:]))
    angles = np.array([[1, cos[2], cos[1]], [cos[2], 1, cos[0]], [cos[1], cos[0], 1]])
    return np.linalg.inv(np.outer(cell[:3], cell[:3]) * angles)


def check_box(largest_hkl: Sequence[float], *, what: str) -> None:
    """Raise `StructureError` unless a box out to `largest_hkl` fits into memory."""
    entries = prod(2.0 * abs(float(index)) + 1.0 for index in largest_hkl)
    if not entries <= MAX_BOX_ENTRIES:
        raise StructureError(
            f"expected a box of at most {MAX_BOX_ENTRIES:.0e} reflections, {what} needs "
            f"{entries:.1e}; ask for a larger d_min_A or check the cell and the indices"
        )


def unique_reflections(
    cell: gemmi.UnitCell, group: gemmi.SpaceGroup, d_min_A: float
) -> npt.NDArray[np.int32]:
    """Return the present reflections of one asymmetric unit, (n, 3), without (0, 0, 0).

    Raises `StructureError` for a resolution that leaves none or asks for too many.
    """
    import gemmi

    if not 0.0 < d_min_A < np.inf:
        raise StructureError(f"expected d_min_A above 0, found {d_min_A}; give it in angstrom")
    check_box([edge / d_min_A for edge in cell.parameters[:3]], what=f"d_min_A = {d_min_A}")
    hkl: npt.NDArray[np.int32] = gemmi.make_miller_array(cell, group, d_min_A)
    if not len(hkl):
        raise StructureError(
            f"expected reflections to d_min_A = {d_min_A}, found none in a cell of "
            f"{cell.a:g} x {cell.b:g} x {cell.c:g} A; give a smaller d_min_A"
        )
    return hkl


def expand_to_p1(
    hkl: npt.NDArray[np.integer],
    F: npt.NDArray[np.floating],
    *,
    cell: gemmi.UnitCell,
    group: gemmi.SpaceGroup,
    d_min_A: float,
    source: str,
    default_F: float = 0.0,
    composition: Composition = (),
) -> StructureFactors:
    """Spread amplitudes over all their symmetry equivalents and Friedel mates.

    Raises `StructureError` when the box that holds the indices would be too large.

    `hkl` are (n, 3) indices, `F` (n,) amplitudes in electrons. Where both mates of a Friedel pair
    are listed each keeps its own amplitude; where one is, the other gets the same. `default_F` is
    the amplitude of reflections that are not listed, except where the space group has them absent.
    """
    hkl = hkl.astype(np.int64)
    # row vectors hkl turn by hkl @ R
    rotations = [np.array(op.rot, np.int64) // op.DEN for op in group.operations().sym_ops]
    largest = np.max([np.abs(hkl @ rotation).max(axis=0) for rotation in rotations], axis=0)
    check_box(largest, what=f"the largest index {tuple(largest.tolist())}")
    box = np.full(2 * largest + 1, default_F, dtype=np.float32)
    if default_F:
        _clear_absences(box, group)
    flat = box.reshape(-1)
    strides = np.array([box.shape[1] * box.shape[2], box.shape[2], 1])
    origin = int(largest @ strides)
    # Mates are filled in first, so that what the list itself says wins.
    for friedel in (-1, 1):
        for first in range(0, len(hkl), BATCH):
            part, amplitudes = hkl[first : first + BATCH], F[first : first + BATCH]
            for rotation in rotations:
                # (hkl R) . strides = hkl . (R strides): one product in place of two.
                flat[origin + friedel * (part @ (rotation @ strides))] = amplitudes
    return StructureFactors(
        F=box,
        hkl_min=(-int(largest[0]), -int(largest[1]), -int(largest[2])),
        cell=tuple(cell.parameters),
        space_group=group.xhm(),
        d_min_A=d_min_A,
        source=source,
        default_F=default_F,
        composition=composition,
    )


def _clear_absences(box: npt.NDArray[np.float32], group: gemmi.SpaceGroup) -> None:
    """Set the systematically absent reflections of the box to 0, one plane of h at a time."""
    operations = group.operations()
    h_max, k_max, l_max = (size // 2 for size in box.shape)
    k, l = np.meshgrid(np.arange(-k_max, k_max + 1), np.arange(-l_max, l_max + 1), indexing="ij")
    for h, plane in zip(range(-h_max, h_max + 1), box, strict=True):
        hkl = np.column_stack([np.full(k.size, h), k.ravel(), l.ravel()]).astype(np.int32)
        plane[operations.systematic_absences(hkl).reshape(plane.shape)] = 0.0
