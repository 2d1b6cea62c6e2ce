"""Bragg spots: expected photons of one mosaic crystal on one panel."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from deepfreak.scattering.by_pixel import GAUSS, SHAPES, TOPHAT, TOPHAT_RADIUS_SQR, by_pixel
from deepfreak.scattering.by_row import by_row
from deepfreak.scattering.landings import add_landings, near_ewald_sphere

Array = NDArray[np.float64]
Method = Literal["landings", "by_row", "by_pixel"]

# Beyond this sum((h - h0) N)^2 a Gaussian spot has less than 1e-11 of its peak intensity.
GAUSS_RADIUS_SQR = 8.0


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Panel:
    """Where a panel's pixels are: outer corner of the first, unit axes, all in mm."""

    image_size: tuple[int, int]
    origin_mm: Array
    fast_axis: Array
    slow_axis: Array
    pixel_size_mm: float


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Lattice:
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
    lattice: Lattice,
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
        By default the fastest that applies: `landings` where spots end (tophat, gauss), `by_row`
        where they do not (square, round), and the definition, `by_pixel`, where neither can.

    Returns
    -------
    (slow, fast), float64.
    """
    image = np.zeros(panel.image_size)
    weights = sources[:, 4] / sources[:, 4].sum()
    sources = np.column_stack([sources[:, :4], weights])
    method = method or _fastest(lattice)
    if method == "landings":
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


def _fastest(lattice: Lattice) -> Method:
    if lattice.shape in {"square", "round"}:
        return "by_row"
    # with amplitude between the listed reflections there is no list to follow
    return "landings" if lattice.default_F == 0 else "by_pixel"


def _follow(image: Array, lattice: Lattice, panel: Panel, sources: Array, oversample: int) -> None:
    shape = SHAPES[lattice.shape]
    radius_sqr = {TOPHAT: TOPHAT_RADIUS_SQR, GAUSS: GAUSS_RADIUS_SQR}[shape]
    traces = np.trace(lattice.domains, axis1=1, axis2=2)
    mosaic_angle = float(np.arccos(np.clip((traces.min() - 1) / 2, -1, 1)))
    for real_axes in lattice.real_axes:
        reciprocal_axes = np.ascontiguousarray(np.linalg.inv(real_axes).T)
        per_cell = reciprocal_axes / lattice.cells[:, None]
        semi_axes = np.sqrt(radius_sqr) * np.linalg.svd(per_cell, compute_uv=False)
        spot_radius = float(semi_axes.max())
        for source in sources:
            hkl, F_sqr = near_ewald_sphere(
                lattice.F,
                lattice.hkl_min,
                reciprocal_axes,
                source[:3],
                source[3],
                spot_radius,
                mosaic_angle,
            )
            add_landings(
                image,
                hkl=hkl,
                F_sqr=F_sqr,
                reciprocal_axes=reciprocal_axes,
                real_axes=real_axes,
                domains=lattice.domains,
                cells=lattice.cells,
                shape=shape,
                radius_sqr=radius_sqr,
                spot_radius=spot_radius,
                elongation=float(semi_axes.max() / semi_axes.min()),
                s0=source[:3],
                wavelength=source[3],
                weight=source[4],
                mosaic_angle=mosaic_angle,
                origin=panel.origin_mm,
                fast=panel.fast_axis,
                slow=panel.slow_axis,
                pixel_size=panel.pixel_size_mm,
                oversample=oversample,
            )
