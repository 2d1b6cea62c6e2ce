"""The crystal: what one unit cell scatters, how cells make domains, and domains the crystal."""

import math
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from deepfreak.settings import Count, NonNegative, Positive, settings
from deepfreak.structure_factors import StructureSource, source_of_file

Array = NDArray[np.float64]


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
    oversample: Annotated[int, Field(ge=1, le=16)] = 2

    def __post_init__(self) -> None:
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


def real_axes(cell: tuple[float, float, float, float, float, float]) -> Array:
    """Return rows a, b, c in A of a crystal that is not turned: a along x, b in the xy plane."""
    a, b, c = cell[:3]
    alpha, beta, gamma = np.radians(cell[3:])
    cx = math.cos(beta)
    cy = (math.cos(alpha) - math.cos(beta) * math.cos(gamma)) / math.sin(gamma)
    return np.array(
        [
            [a, 0.0, 0.0],
            [b * math.cos(gamma), b * math.sin(gamma), 0.0],
            [c * cx, c * cy, c * math.sqrt(1 - cx * cx - cy * cy)],
        ]
    )


def random_orientation(rng: np.random.Generator) -> Array:
    """Return a rotation matrix uniform on SO(3): a unit quaternion uniform on its sphere."""
    w, x, y, z = _unit(rng.standard_normal(4))
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
    domains: Array = (
        np.eye(3) + np.sin(angles)[:, None, None] * K + (1 - np.cos(angles))[:, None, None] * K @ K
    )
    return domains


def rotation_about(axis: Array, angle: float) -> Array:
    """Return the right-handed rotation by `angle` radian about `axis` (Rodrigues)."""
    K = np.cross(np.eye(3), _unit(axis))
    rotation: Array = np.eye(3) + math.sin(angle) * K + (1 - math.cos(angle)) * K @ K
    return rotation


def _unit(vector: Array) -> Array:
    unit: Array = vector / np.linalg.norm(vector)
    return unit
