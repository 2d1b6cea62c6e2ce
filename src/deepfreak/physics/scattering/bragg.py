"""Bragg spots: expected photons of one mosaic crystal on one panel."""

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from deepfreak.physics.detector import Panel
from deepfreak.physics.scattering.by_pixel import (
    GAUSS,
    ROUND,
    SQUARE,
    TOPHAT,
    TOPHAT_RADIUS_SQR,
    RenderedCrystal,
    by_pixel,
)
from deepfreak.physics.scattering.by_reflection import add_reflections, near_ewald_sphere
from deepfreak.physics.scattering.by_row import by_row
from deepfreak.physics.scattering.projection import Domains, PanelGrid, Wave

Array = NDArray[np.float64]
Method = Literal["by_reflection", "by_row", "by_pixel"]

# Beyond this sum((h - h0) N)^2 a Gaussian spot has less than 1e-11 of its peak intensity.
GAUSS_RADIUS_SQR = 8.0


def bragg_intensity(
    crystal: RenderedCrystal,
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
    method = method or _fastest(crystal)
    if method == "by_reflection":
        _add_by_reflection(image, crystal, panel, sources, oversample)
    else:
        render = by_row if method == "by_row" else by_pixel
        render(image, crystal, panel, sources, oversample)
    image /= len(crystal.real_axes) * len(crystal.domains) * oversample**2
    return image


def _fastest(crystal: RenderedCrystal) -> Method:
    if crystal.shape in {SQUARE, ROUND}:
        return "by_row"
    # with amplitude between the listed reflections there is no list to follow
    return "by_reflection" if crystal.default_F == 0 else "by_pixel"


def _add_by_reflection(
    image: Array, crystal: RenderedCrystal, panel: Panel, sources: Array, oversample: int
) -> None:
    grid = panel_grid(panel, oversample)
    for real_axes in crystal.real_axes:
        domains = domains_of(crystal, real_axes)
        for source in sources:
            wave = Wave(rows(source[:3] / source[3]), source[3])
            hkl, F_sqr = near_ewald_sphere(crystal.F, crystal.hkl_min, wave, domains)
            add_reflections(image, hkl, F_sqr, crystal.domains, source[4], wave, domains, grid)


def domains_of(crystal: RenderedCrystal, real_axes: Array) -> Domains:
    """Return what the crystal's domains have in common, with its axes at `real_axes`, (3, 3)."""
    radius_sqr = {TOPHAT: TOPHAT_RADIUS_SQR, GAUSS: GAUSS_RADIUS_SQR}[crystal.shape]
    reciprocal_axes = np.ascontiguousarray(np.linalg.inv(real_axes).T)
    per_cell = reciprocal_axes / crystal.cells[:, None]
    semi_axes = np.sqrt(radius_sqr) * np.linalg.svd(per_cell, compute_uv=False)
    return Domains(
        real_axes=rows(real_axes),
        reciprocal_axes=rows(reciprocal_axes),
        cells=rows(crystal.cells),
        shape=crystal.shape,
        C=rows(per_cell.T @ per_cell),
        radius_sqr=radius_sqr,
        radius=float(semi_axes.max()),
        elongation=float(semi_axes.max() / semi_axes.min()),
        max_rotation=_largest_rotation(crystal.domains),
    )


def panel_grid(panel: Panel, oversample: int) -> PanelGrid:
    """Return the panel in units of a subpixel's side."""
    origin = panel.origin_mm * oversample / panel.pixel_size_mm
    fast, slow = panel.fast_axis, panel.slow_axis
    normal = np.cross(fast, slow)
    return PanelGrid(
        origin=rows(origin),
        fast=rows(fast),
        slow=rows(slow),
        normal=rows(normal),
        distance=float(origin @ normal),
        center_fast=float(origin @ fast),
        center_slow=float(origin @ slow),
        n_slow=panel.image_size[0] * oversample,
        n_fast=panel.image_size[1] * oversample,
    )


def rows(array: Array) -> Any:  # noqa: ANN401 -- as deeply nested as the array
    """Return a small array as nested tuples, as compiled loops take it."""
    return tuple(rows(row) if row.ndim else float(row) for row in array)


def _largest_rotation(domains: Array) -> float:
    """Return the largest misorientation of `domains`, (n, 3, 3), in radian."""
    # |U - 1| = 2 sqrt(2) sin(angle / 2) keeps its digits where the trace loses them
    chord = np.linalg.norm(domains - np.eye(3), axis=(1, 2)).max() / np.sqrt(8)
    return float(2 * np.arcsin(min(chord, 1.0)))
