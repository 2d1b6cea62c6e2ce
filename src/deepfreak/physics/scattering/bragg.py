"""Bragg spots: expected photons of one mosaic crystal on one panel, by one of three methods.

`by_pixel` asks of each subpixel which reflection of which domain it sees; nearly always the answer
is none. Here each reflection near the Ewald sphere is projected, for each domain, and only the few
subpixels about that place are tested, with the same test. `projection` has the geometry.
"""

import math
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from deepfreak.compiled import njit
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
from deepfreak.physics.scattering.by_row import by_row
from deepfreak.physics.scattering.projection import (
    Domains,
    Matrix,
    PanelGrid,
    Wave,
    brightness_at,
    crossing,
    may_diffract,
    meets_panel_at,
    reflection_at,
    shell_thickness,
    spot_on_panel,
)

Array = NDArray[np.float64]

Method = Literal["by_reflection", "by_row", "by_pixel"]

# Beyond this sum((h - h0) N)^2 a Gaussian spot has less than 1e-11 of its peak intensity.
GAUSS_RADIUS_SQR = 8.0


@njit(cache=True, nogil=True, error_model="numpy")
def near_ewald_sphere(
    F: NDArray[np.float32], hkl_min: NDArray[np.int64], wave: Wave, domains: Domains
) -> tuple[NDArray[np.int64], Array]:
    """Return the reflections that some domain may bring onto the Ewald sphere, and their F^2.

    Walks (h, k) and solves for the l at which the line of reflections crosses the sphere, thickened
    by the largest extent of a spot and by the rotation of the most misoriented domain. Returns (n,
    3) Miller indices and (n,) F^2.
    """
    a, b, c = domains.reciprocal_axes
    thick = shell_thickness(domains, wave.wavelength)
    found = 0
    hkl = np.empty((4096, 3), dtype=np.int64)
    F_sqr = np.empty(4096)
    for ih in range(F.shape[0]):
        h = ih + hkl_min[0]
        for ik in range(F.shape[1]):
            k = ik + hkl_min[1]
            p = h * a[0] + k * b[0], h * a[1] + k * b[1], h * a[2] + k * b[2]
            first, last, hole_first, hole_last = crossing(p, c, wave.k0, thick)
            l = max(math.ceil(first), hkl_min[2])
            last_l = min(math.floor(last), hkl_min[2] + F.shape[2] - 1)
            while l <= last_l:
                if hole_first < l < hole_last:
                    l = max(l + 1, math.ceil(hole_last))
                    continue
                amplitude = np.float64(F[ih, ik, l - hkl_min[2]])
                g = p[0] + l * c[0], p[1] + l * c[1], p[2] + l * c[2]
                if amplitude != 0.0 and may_diffract(g, wave, domains):
                    if found == len(F_sqr):
                        hkl = np.concatenate((hkl, np.empty_like(hkl)))
                        F_sqr = np.concatenate((F_sqr, np.empty_like(F_sqr)))
                    hkl[found, 0], hkl[found, 1], hkl[found, 2] = h, k, l
                    F_sqr[found] = amplitude * amplitude
                    found += 1
                l += 1
    return hkl[:found], F_sqr[:found]


@njit(cache=True, nogil=True, error_model="numpy")
def add_reflections(
    image: Array,
    hkl: NDArray[np.int64],
    F_sqr: Array,
    rotations: Array,
    weight: float,
    wave: Wave,
    domains: Domains,
    panel: PanelGrid,
) -> int:
    """Add weight * F^2 F_latt^2 of each reflection of each domain where it meets the panel.

    Equals `by_pixel` for one source and one spindle step where F_latt vanishes beyond sum((h - h0)
    N)^2 = `domains.radius_sqr`. Returns how many (subpixel, domain, reflection) triples were lit.
    `rotations` are (n, 3, 3), of each domain.
    """
    n_slow, n_fast = panel.n_slow, panel.n_fast
    k0, cells = wave.k0, domains.cells
    row_of = np.arange(n_slow) // (n_slow // image.shape[0])
    column_of = np.arange(n_fast) // (n_fast // image.shape[1])
    volume_sqr = (cells[0] * cells[1] * cells[2]) ** 2

    # Per domain, one row a component: U^T k0 for the excitation error, and U; and N U a.
    n_domains = rotations.shape[0]
    turned_k0 = np.empty((3, n_domains))
    U = np.empty((9, n_domains))
    edges = np.empty((n_domains, 3, 3))
    for m in range(n_domains):
        turned_k0[:, m] = rotations[m].T @ np.array(k0)
        U[:, m] = rotations[m].ravel()
        for axis in range(3):
            edges[m, axis] = cells[axis] * (rotations[m] @ np.array(domains.real_axes[axis]))
    # a Gaussian needs the exact value; a spot that meets its neighbours, the exact test
    every_one_exactly = domains.shape == GAUSS or min(cells) * 0.5 < math.sqrt(domains.radius_sqr)

    errors = np.empty(n_domains)
    hits = np.empty(n_domains, dtype=np.uint32)
    first_fast, from_fast = np.empty(n_domains), np.empty(n_domains)
    first_slow, from_slow = np.empty(n_domains), np.empty(n_domains)
    depth = np.empty(n_domains)
    hr_sqr = np.empty(n_domains)
    sure = np.empty(n_domains, dtype=np.uint32)
    unsure = np.empty(n_domains, dtype=np.uint32)
    lit = 0
    for reflection in range(len(F_sqr)):
        h, k, l = hkl[reflection, 0], hkl[reflection, 1], hkl[reflection, 2]
        g = reflection_at(domains.reciprocal_axes, h, k, l)
        gx, gy, gz = g
        half_g_sqr = (gx * gx + gy * gy + gz * gz) / 2
        spot = spot_on_panel(g, wave, domains, panel)
        if not spot.reachable:
            continue
        inside = -1.0 if every_one_exactly else spot.inside

        # Which domains bring it near enough to the sphere, and where they send it.
        for m in range(n_domains):
            errors[m] = (
                turned_k0[0, m] * gx + turned_k0[1, m] * gy + turned_k0[2, m] * gz + half_g_sqr
            ) * wave.wavelength
        n_hits = 0
        for m in range(n_domains):
            hits[n_hits] = m
            n_hits += abs(errors[m]) < spot.max_error
        for i in range(n_hits):
            m = hits[i]
            shift = errors[m] / spot.eCe
            direction = (
                U[0, m] * gx + U[1, m] * gy + U[2, m] * gz + k0[0] - shift * spot.Ce[0],
                U[3, m] * gx + U[4, m] * gy + U[5, m] * gz + k0[1] - shift * spot.Ce[1],
                U[6, m] * gx + U[7, m] * gy + U[8, m] * gz + k0[2] - shift * spot.Ce[2],
            )
            at_fast, at_slow = meets_panel_at(direction, panel)
            first_fast[i] = np.ceil(at_fast - spot.half_fast - 0.5)
            first_slow[i] = np.ceil(at_slow - spot.half_slow - 0.5)
            from_fast[i] = first_fast[i] + 0.5 - at_fast
            from_slow[i] = first_slow[i] + 0.5 - at_slow
            depth[i] = errors[m] * shift

        # The subpixels about each centre, all domains at once for each of the few offsets.
        strength = weight * F_sqr[reflection] * volume_sqr
        for step_slow in range(math.floor(2 * spot.half_slow) + 1):
            for step_fast in range(math.floor(2 * spot.half_fast) + 1):
                for i in range(n_hits):
                    ds = from_slow[i] + step_slow
                    df = from_fast[i] + step_fast
                    hr_sqr[i] = (
                        depth[i] + spot.ff * df * df + 2 * spot.fs * df * ds + spot.ss * ds * ds
                    )
                n_sure = n_unsure = 0
                for i in range(n_hits):
                    sure[n_sure] = i
                    n_sure += hr_sqr[i] < inside
                for i in range(n_hits):
                    unsure[n_unsure] = i
                    n_unsure += (hr_sqr[i] >= inside) & (hr_sqr[i] < spot.outside)
                for j in range(n_sure):
                    i = sure[j]
                    s = int(first_slow[i]) + step_slow
                    f = int(first_fast[i]) + step_fast
                    if 0 <= s < n_slow and 0 <= f < n_fast:
                        image[row_of[s], column_of[f]] += strength
                        lit += 1
                for j in range(n_unsure):
                    i = unsure[j]
                    s = int(first_slow[i]) + step_slow
                    f = int(first_fast[i]) + step_fast
                    if not (0 <= s < n_slow and 0 <= f < n_fast):
                        continue
                    m = hits[i]
                    turned = (
                        U[0, m] * gx + U[1, m] * gy + U[2, m] * gz,
                        U[3, m] * gx + U[4, m] * gy + U[5, m] * gz,
                        U[6, m] * gx + U[7, m] * gy + U[8, m] * gz,
                    )
                    brightness = brightness_at(f, s, turned, _rows(edges[m]), wave, domains, panel)
                    if brightness > 0:
                        image[row_of[s], column_of[f]] += strength * brightness
                        lit += 1
    return lit


@njit(cache=True, nogil=True, error_model="numpy")
def _rows(m: Array) -> Matrix:
    """Return a matrix (3, 3) as `brightness_at` takes it."""
    return (
        (m[0, 0], m[0, 1], m[0, 2]),
        (m[1, 0], m[1, 1], m[1, 2]),
        (m[2, 0], m[2, 1], m[2, 2]),
    )


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
    Returns (slow, fast), float64. `sources` are (n, 5): direction of travel, wavelength in A,
    weight. The default `method` is the fastest that applies: `by_reflection` where spots end
    (tophat, gauss), `by_row` where they do not (square, round), else the definition, `by_pixel`.
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
    # |U - 1| = 2 sqrt(2) sin(angle / 2) keeps its digits where the trace loses them
    chord = np.linalg.norm(crystal.domains - np.eye(3), axis=(1, 2)).max() / np.sqrt(8)
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
        max_rotation=float(2 * np.arcsin(min(chord, 1.0))),
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
