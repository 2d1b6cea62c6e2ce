"""Bragg spots: expected photons of one mosaic crystal on one panel."""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from deepfreak.physics.detector import Panel
from deepfreak.physics.scattering.by_pixel import (
    GAUSS,
    SHAPES,
    TOPHAT,
    TOPHAT_RADIUS_SQR,
    by_pixel,
)
from deepfreak.physics.scattering.by_reflection import add_reflections, near_ewald_sphere
from deepfreak.physics.scattering.by_row import by_row

Array = NDArray[np.float64]
Method = Literal["by_reflection", "by_row", "by_pixel"]

# Beyond this sum((h - h0) N)^2 a Gaussian spot has less than 1e-11 of its peak intensity.
GAUSS_RADIUS_SQR = 8.0


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RenderedCrystal:
    """The rendered crystal.

    Parameters
    ----------
    F, hkl_min, default_F
        Amplitudes in electrons, dense over Miller indices from `hkl_min`; the one outside.
    real_axes
        (steps, 3, 3), rows a, b, c in A for each spindle step.
    domains
        (n, 3, 3) rotations.
    cells
        Unit cells of a domain along a, b, c.
    shape
        "square", "round", "gauss" or "tophat".
    """

    F: NDArray[np.float32]
    hkl_min: NDArray[np.int64]
    real_axes: Array
    domains: Array
    cells: Array
    shape: str
    default_F: float = 0.0


def bragg_intensity(
    lattice: RenderedCrystal,
    panel: Panel,
    *,
    sources: Array,
    oversample: int,
    method: Method | None = None,
) -> Array:
    """Return the mean of F^2 F_latt^2 over subpixels, sources, spindle steps and domains.

    Times r_e^2, fluence, solid angle and polarization factor these are the photons of one domain.

    Parameters
    ----------
    sources
        (n, 5): direction of travel, wavelength in A, weight; weights need not sum to one.
    method
        By default the fastest that applies: `by_reflection` where spots end (tophat, gauss),
        `by_row` where they do not (square, round), else the definition, `by_pixel`.

    Returns
    -------
    (slow, fast), float64.
    """
    image = np.zeros(panel.image_size)
    weights = sources[:, 4] / sources[:, 4].sum()
    sources = np.column_stack([sources[:, :4], weights])
    method = method or _fastest(lattice)
    if method == "by_reflection":
        _follow(image, lattice, panel, sources, oversample)
    else:
        render = by_row if method == "by_row" else by_pixel
        render(
            image,
            F=lattice.F,
            hkl_min=lattice.hkl_min,
            default_F=lattice.default_F,
            real_axes=lattice.real_axes,
            domains=lattice.domains,
            cells=lattice.cells,
            shape=SHAPES[lattice.shape],
            sources=sources,
            origin=panel.origin_mm,
            fast=panel.fast_axis,
            slow=panel.slow_axis,
            pixel_size=panel.pixel_size_mm,
            oversample=oversample,
        )
    image /= len(lattice.real_axes) * len(lattice.domains) * oversample**2
    return image


def _fastest(lattice: RenderedCrystal) -> Method:
    if lattice.shape in {"square", "round"}:
        return "by_row"
    # with amplitude between the listed reflections there is no list to follow
    return "by_reflection" if lattice.default_F == 0 else "by_pixel"


def _follow(
    image: Array, lattice: RenderedCrystal, panel: Panel, sources: Array, oversample: int
) -> None:
    mosaic_angle = largest_turn(lattice.domains)
    for real_axes in lattice.real_axes:
        spot = Ellipsoid.of(lattice, real_axes)
        for source in sources:
            wavelength, k0 = source[3], rows(source[:3] / source[3])
            hkl, F_sqr = near_ewald_sphere(
                lattice.F,
                lattice.hkl_min,
                rows(spot.reciprocal_axes),
                k0,
                wavelength,
                spot.radius,
                mosaic_angle,
            )
            add_reflections(
                image,
                hkl=hkl,
                F_sqr=F_sqr,
                reciprocal_axes=rows(spot.reciprocal_axes),
                real_axes=rows(real_axes),
                domains=lattice.domains,
                cells=rows(lattice.cells),
                C=rows(spot.C),
                shape=SHAPES[lattice.shape],
                radius_sqr=spot.radius_sqr,
                approximation=spot.approximation(mosaic_angle, wavelength),
                k0=k0,
                wavelength=wavelength,
                weight=source[4],
                mosaic_angle=mosaic_angle,
                panel=rows(in_subpixels(panel, oversample)),
                oversample=oversample,
            )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Ellipsoid:
    """Where a domain's spot is lit, about each reflection in reciprocal space.

    Parameters
    ----------
    reciprocal_axes
        Rows a*, b*, c* in 1/A.
    C
        Inverse of M = sum over axes of N^2 a a^T; lit is x^T M x < radius_sqr.
    radius_sqr, radius, elongation
        The bound; the largest semi-axis in 1/A; and its ratio to the smallest.
    """

    reciprocal_axes: Array
    C: Array
    radius_sqr: float
    radius: float
    elongation: float

    @classmethod
    def of(cls, lattice: RenderedCrystal, real_axes: Array) -> "Ellipsoid":
        """Return the ellipsoid of the lattice's domains, with its axes at `real_axes`."""
        radius_sqr = {TOPHAT: TOPHAT_RADIUS_SQR, GAUSS: GAUSS_RADIUS_SQR}[SHAPES[lattice.shape]]
        reciprocal_axes = np.ascontiguousarray(np.linalg.inv(real_axes).T)
        per_cell = reciprocal_axes / lattice.cells[:, None]
        semi_axes = np.sqrt(radius_sqr) * np.linalg.svd(per_cell, compute_uv=False)
        return cls(
            reciprocal_axes=reciprocal_axes,
            C=per_cell.T @ per_cell,
            radius_sqr=radius_sqr,
            radius=float(semi_axes.max()),
            elongation=float(semi_axes.max() / semi_axes.min()),
        )

    def approximation(self, mosaic_angle: float, wavelength: float) -> float:
        """Return how far a spot on the panel is off if taken as unturned and flat, in length."""
        turned = mosaic_angle * (self.elongation**2 - 1)
        return 0.003 + turned + 2 * self.radius * wavelength


def rows(array: Array) -> Any:  # noqa: ANN401 -- as deeply nested as the array
    """Return a small array as nested tuples, as the loops of `by_reflection` take it."""
    return tuple(rows(row) if row.ndim else float(row) for row in array)


def largest_turn(domains: Array) -> float:
    """Return the largest misorientation of `domains`, (n, 3, 3), in radian."""
    # |U - 1| = 2 sqrt(2) sin(angle / 2) keeps its digits where the trace loses them
    chord = np.linalg.norm(domains - np.eye(3), axis=(1, 2)).max() / np.sqrt(8)
    return float(2 * np.arcsin(min(chord, 1.0)))


def in_subpixels(panel: Panel, oversample: int) -> Array:
    """Return the panel as `spot_on_panel` takes it, (5, 3), in units of a subpixel's side."""
    origin = panel.origin_mm * oversample / panel.pixel_size_mm
    fast, slow = panel.fast_axis, panel.slow_axis
    normal = np.cross(fast, slow)
    return np.array([origin, fast, slow, normal, [origin @ normal, origin @ fast, origin @ slow]])
