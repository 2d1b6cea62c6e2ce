"""The crystal: what one unit cell scatters, how cells make domains, and domains the crystal."""

import math
import re
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from deepfreak.errors import StructureError
from deepfreak.physics.structure_factors import StructureSource, source_of_file
from deepfreak.physics.structure_factors.factors import UnitCell, reciprocal_metric
from deepfreak.settings import Count, Finite, NonNegative, Positive, Vector, settings

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
    x along the beam and z along the spindle, are nanoBragg's and ours. Raises `StructureError` when
    the file does not begin with nine numbers, or these make no right-handed lattice.

    `wavelength_A` is that with which the matrix was made; the file does not name it.
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
    return np.ascontiguousarray(columns.T / wavelength_A)


def _is_lattice(axes: Array) -> bool:
    """Return whether three rows span space, and right-handedly."""
    lengths = np.linalg.norm(axes, axis=1)
    if not np.isfinite(lengths).all() or lengths.min() == 0:
        return False
    # of unit vectors: 1 where they are perpendicular, 0 where they lie in one plane
    return bool(np.linalg.det(axes / lengths[:, None]) > 1e-3)


@settings
class Spindle:
    """Rotation of the crystal during the exposure, in equal steps from `start_deg`."""

    axis: Vector = (0.0, 0.0, 1.0)
    start_deg: Finite = 0.0
    range_deg: Finite = 0.0
    steps: Annotated[int, Field(ge=1, le=100_000)] = 1

    def __post_init__(self) -> None:
        if not any(self.axis):
            raise ValueError("axis must not be 0 0 0")

    def rotations(self) -> Array:
        """Return the turn at each step, (steps, 3, 3)."""
        per_step = self.range_deg / self.steps
        angles = np.radians(self.start_deg + per_step * np.arange(self.steps))
        return np.array([rotation_about(np.array(self.axis), angle) for angle in angles])


@settings
class Orientation:
    """A crystal's fixed orientation, given in one of three ways."""

    # Turns about x, then y, then z from the setting of `real_axes`; nanoBragg's `-misset`
    misset_deg: Vector | None = None
    # A MOSFLM orientation matrix (A.mat); nanoBragg's `-mat`. It brings its own cell.
    matrix_file: str | None = None
    # Rows of the rotation from the setting of `real_axes`
    U: tuple[Vector, Vector, Vector] | None = None

    def __post_init__(self) -> None:
        if sum(x is not None for x in (self.misset_deg, self.matrix_file, self.U)) != 1:
            raise ValueError("expected one of misset_deg, matrix_file and U")
        if self.U is not None:
            U = np.array(self.U)
            if not np.allclose(U @ U.T, np.eye(3), atol=1e-6) or np.linalg.det(U) < 0:
                raise ValueError("U must be a rotation: orthonormal rows, determinant 1")

    def turned_axes(self, unturned: Array, wavelength_A: float) -> Array:
        """Return rows a, b, c of the oriented crystal, from those of `real_axes`."""
        if self.matrix_file is not None:
            reciprocal_axes = read_mosflm_matrix(Path(self.matrix_file), wavelength_A)
            axes: Array = np.linalg.inv(reciprocal_axes).T.astype(np.float64)
            return axes
        if self.U is not None:
            U = np.array(self.U)
        else:
            U = np.eye(3)
            for axis, angle in zip(np.eye(3), np.radians(self.misset_deg or ()), strict=True):
                U = rotation_about(axis, angle) @ U
        turned: Array = unturned @ U.T
        return turned


@settings
class Crystal:
    """A mosaic crystal: small perfect domains, slightly misoriented against each other.

    Parameters
    ----------
    structure
        Where the structure factors come from: `Wilson`, `Model` or `Reflections`.
    size_mm
        Side of the whole crystal, a cube.
    domain_size_mm
        Side of the domain that is rendered; its spots are about a pixel wide, those of a larger
        one would be lost between pixel centres (Appendix A). Ncells_abc overrides it.
    Ncells_abc
        Unit cells of a domain along a, b, c.
    xtal_shape
        Shape of a domain's spots, as nanoBragg names them.
    mosaic_spread_deg, mosaic_domains
        The largest misorientation of a domain (nanoBragg's `-mosaic`), and how many there are.
    orientation
        "random", anew and uniform on SO(3) for each shot, or a fixed one.
    spindle
        How the crystal turns during the exposure.
    extra_lattices
        Mean number of further crystals in a shot that has one (Poisson); all share its volume.
    cell_rms
        Relative RMS of each component of a random strain of the cell from crystal to crystal, as
        far as the space group allows it.
    disorder_B_A2
        Disorder of the lattice beyond what the structure factors hold: spots fade by
        exp(-B sin^2(theta) / lambda^2) in amplitude, and the light they lose is diffuse.
    diffuse
        Whether the light that the structure's own B factors took from the spots is diffuse, too.
    compton
        Whether the atoms' incoherent scattering is added.
    oversample
        Points per pixel side at which spots are sampled.
    """

    structure: StructureSource
    size_mm: Positive
    domain_size_mm: Positive = 1e-4
    Ncells_abc: tuple[Count, Count, Count] | None = None
    xtal_shape: Literal["square", "round", "gauss", "tophat"] = "tophat"
    mosaic_spread_deg: NonNegative = 0.0
    mosaic_domains: Count = 1
    orientation: Literal["random"] | Orientation = "random"
    spindle: Spindle = Spindle()
    extra_lattices: NonNegative = 0.0
    cell_rms: NonNegative = 0.0
    disorder_B_A2: NonNegative = 0.0
    diffuse: bool = False
    compton: bool = False
    oversample: Annotated[int, Field(ge=1, le=16)] = 2
    interpolate: bool = False

    def __post_init__(self) -> None:
        if self.interpolate:
            raise ValueError(
                "tricubic interpolation between reflections is not offered; leave interpolate out"
            )
        if self.cell_rms > 0.1:
            raise ValueError(f"cell_rms is relative and at most 0.1, found {self.cell_rms}")
        if self.mosaic_spread_deg > 45:
            raise ValueError(
                f"mosaic_spread_deg is at most 45 degrees, found {self.mosaic_spread_deg}"
            )

    @classmethod
    def from_file(
        cls,
        path: str | Path,
        *,
        size_mm: float,
        mosaic_spread_deg: float = 0.0,
        mosaic_domains: int = 1,
    ) -> "Crystal":
        """Return a crystal of an atomic model (PDB or mmCIF, also gzipped) or of an MTZ file."""
        return cls(
            structure=source_of_file(str(path)),
            size_mm=size_mm,
            mosaic_spread_deg=mosaic_spread_deg,
            mosaic_domains=mosaic_domains,
        )

    @property
    def scatters_beside_spots(self) -> bool:
        """Whether it scatters anything but spots."""
        return self.disorder_B_A2 > 0 or self.diffuse or self.compton

    @property
    def volume_mm3(self) -> float:
        """Volume of the whole crystal."""
        return self.size_mm**3

    def domain_cells(self, real_axes: Array) -> Array:
        """Return the unit cells of a domain along a, b, c: enough to fill `domain_size_mm`."""
        if self.Ncells_abc is not None:
            return np.array(self.Ncells_abc, dtype=np.float64)
        edges_A = np.linalg.norm(real_axes, axis=1)
        cells: Array = np.ceil(self.domain_size_mm * 1e7 / edges_A)
        return cells


def real_axes(cell: UnitCell) -> Array:
    """Return rows a, b, c in A of a crystal that is not turned.

    As nanoBragg sets it up: a* along x, b* in the xy plane, and so c along z.
    """
    # the reciprocal metric's Cholesky factor has a* along x and b* in the xy plane
    reciprocal_axes = np.linalg.cholesky(reciprocal_metric(cell))
    return np.linalg.inv(reciprocal_axes).T.astype(np.float64)


def random_strain(space_group: str, axes: Array, rms: float, rng: np.random.Generator) -> Array:
    """Return a strain (3, 3) in the frame of the rows `axes` that keeps the cell's symmetry.

    Independent Gaussian components of the given RMS, averaged over the group's rotations: what the
    symmetry forbids averages out.
    """
    import gemmi

    noise = rms * rng.standard_normal((3, 3))
    strain = (noise + noise.T) / 2
    to_fraction = np.linalg.inv(axes.T)
    operations = gemmi.SpaceGroup(space_group).operations().sym_ops
    total = np.zeros((3, 3))
    for operation in operations:
        R = axes.T @ (np.array(operation.rot) / operation.DEN) @ to_fraction
        total += R @ strain @ R.T
    return total / len(operations)


def random_orientation(rng: np.random.Generator) -> Array:
    """Return a rotation matrix uniform on SO(3): a unit quaternion uniform on its sphere."""
    return rotations_of(_unit(rng.standard_normal(4)))


def rotations_of(quaternions: Array) -> Array:
    """Return the rotation matrices (3, 3, ...) of unit quaternions (4, ...): w, x, y, z."""
    w, x, y, z = quaternions
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
            [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
            [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
        ]
    )


def random_domains(count: int, spread_deg: float, rng: np.random.Generator) -> Array:
    """Return the domains' misorientations, (count, 3, 3); the first is the identity.

    About uniformly random axes, by spread x (1 - x^2)^(1/3) with x uniform in (-1, 1), as nanoBragg
    draws them.
    """
    axes = rng.standard_normal((count, 3))
    axes /= np.linalg.norm(axes, axis=1, keepdims=True)
    angles = math.radians(spread_deg) * np.cbrt(1 - rng.uniform(-1, 1, count) ** 2)
    angles[0] = 0.0
    # Rodrigues: I + sin K + (1 - cos) K^2, K the cross-product matrix of the axis
    K = np.zeros((count, 3, 3))
    K[:, 0, 1], K[:, 0, 2], K[:, 1, 2] = -axes[:, 2], axes[:, 1], -axes[:, 0]
    K -= K.transpose(0, 2, 1)
    return (
        np.eye(3) + np.sin(angles)[:, None, None] * K + (1 - np.cos(angles))[:, None, None] * K @ K
    )


def rotation_about(axis: Array, angle: float) -> Array:
    """Return the right-handed rotation by `angle` radian about `axis` (Rodrigues)."""
    K = np.cross(np.eye(3), _unit(axis))
    return np.eye(3) + math.sin(angle) * K + (1 - math.cos(angle)) * K @ K


def _unit(vector: Array) -> Array:
    return vector / np.linalg.norm(vector)
