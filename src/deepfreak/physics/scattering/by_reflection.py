"""Where reflections land: Bragg scattering turned around, from reflections to pixels.

`by_pixel` asks of each subpixel which reflection of which domain it sees; nearly always the answer
is none. Here each reflection near the Ewald sphere is followed to the detector, for each domain,
and only the few subpixels about its landing point are tested, with the same test. What a spot is
like stands in `spots`.
"""

import math

import numpy as np
from numpy.typing import NDArray

from deepfreak.compiled import njit
from deepfreak.physics.scattering.by_pixel import GAUSS
from deepfreak.physics.scattering.projection import (
    Matrix,
    PanelRows,
    Vector,
    brightness_at,
    crossing,
    may_diffract,
    meets_panel_at,
    shell_thickness,
    spot_on_panel,
)

Array = NDArray[np.float64]


@njit(cache=True, nogil=True, error_model="numpy")
def near_ewald_sphere(
    F: NDArray[np.float32],
    hkl_min: NDArray[np.int64],
    reciprocal_axes: Matrix,
    k0: Vector,
    wavelength: float,
    spot_radius: float,
    mosaic_angle: float,
) -> tuple[NDArray[np.int64], Array]:
    """Return the reflections that some domain may bring onto the Ewald sphere, and their F^2.

    Walks (h, k) and solves for the l at which the line of reflections crosses the sphere,
    thickened by the largest extent of a spot and by the turn of the most misoriented domain.

    Parameters
    ----------
    reciprocal_axes
        Rows a*, b*, c* in 1/A.
    k0
        Direction of the beam over the wavelength, in 1/A.
    spot_radius
        Largest semi-axis of a spot's ellipsoid in 1/A.
    mosaic_angle
        Largest misorientation in radian.

    Returns
    -------
    (n, 3) Miller indices and (n,) F^2.
    """
    a, b, c = reciprocal_axes
    thick = shell_thickness(wavelength, spot_radius, mosaic_angle)
    found = 0
    hkl = np.empty((4096, 3), dtype=np.int64)
    F_sqr = np.empty(4096)
    for ih in range(F.shape[0]):
        h = ih + hkl_min[0]
        for ik in range(F.shape[1]):
            k = ik + hkl_min[1]
            px, py, pz = h * a[0] + k * b[0], h * a[1] + k * b[1], h * a[2] + k * b[2]
            first, last, hole_first, hole_last = crossing(px, py, pz, c, k0, thick)
            l = max(math.ceil(first), hkl_min[2])
            last_l = min(math.floor(last), hkl_min[2] + F.shape[2] - 1)
            while l <= last_l:
                if hole_first < l < hole_last:
                    l = max(l + 1, math.ceil(hole_last))
                    continue
                amplitude = np.float64(F[ih, ik, l - hkl_min[2]])
                gx, gy, gz = px + l * c[0], py + l * c[1], pz + l * c[2]
                if amplitude != 0.0 and may_diffract(
                    gx, gy, gz, k0, wavelength, spot_radius, mosaic_angle
                ):
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
    *,
    hkl: NDArray[np.int64],
    F_sqr: Array,
    reciprocal_axes: Matrix,
    real_axes: Matrix,
    domains: Array,
    cells: Vector,
    C: Matrix,
    shape: int,
    radius_sqr: float,
    approximation: float,
    k0: Vector,
    wavelength: float,
    weight: float,
    mosaic_angle: float,
    panel: PanelRows,
    oversample: int,
) -> int:
    """Add weight * F^2 F_latt^2 of each reflection of each domain where it lands.

    Equals `by_pixel` for one source and one spindle step where F_latt vanishes beyond
    sum((h - h0) N)^2 = `radius_sqr`.

    Parameters
    ----------
    C, panel
        As in `spot_on_panel`.
    approximation
        How far, in length, the spot's quadratic form is off by turning with the domain and by the
        curvature of the sphere.

    Returns
    -------
    How many (subpixel, domain, reflection) triples were lit.
    """
    n_slow, n_fast = image.shape[0] * oversample, image.shape[1] * oversample
    row_of = np.arange(n_slow) // oversample
    column_of = np.arange(n_fast) // oversample
    volume_sqr = (cells[0] * cells[1] * cells[2]) ** 2

    # Per domain, one row a component: U^T k0 for the excitation error, and U; and N U a.
    n_domains = domains.shape[0]
    turned_k0 = np.empty((3, n_domains))
    U = np.empty((9, n_domains))
    edges = np.empty((n_domains, 3, 3))
    for m in range(n_domains):
        turned_k0[:, m] = domains[m].T @ np.array(k0)
        U[:, m] = domains[m].ravel()
        for axis in range(3):
            edges[m, axis] = cells[axis] * (domains[m] @ np.array(real_axes[axis]))
    a, b, c = reciprocal_axes
    # a Gaussian needs the exact value; a spot that meets its neighbours, the exact test
    every_one_exactly = shape == GAUSS or min(cells) * 0.5 < math.sqrt(radius_sqr)

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
        gx = h * a[0] + k * b[0] + l * c[0]
        gy = h * a[1] + k * b[1] + l * c[1]
        gz = h * a[2] + k * b[2] + l * c[2]
        half_g_sqr = (gx * gx + gy * gy + gz * gz) / 2
        (
            reachable,
            Cex,
            Cey,
            Cez,
            eCe,
            ff,
            fs,
            ss,
            half_fast,
            half_slow,
            inside,
            outside,
            reach,
        ) = spot_on_panel(
            gx,
            gy,
            gz,
            k0,
            wavelength,
            real_axes,
            cells,
            C,
            panel,
            (n_slow, n_fast),
            radius_sqr,
            mosaic_angle,
            approximation,
        )
        if not reachable:
            continue
        if every_one_exactly:
            inside = -1.0

        # Which domains bring it near enough to the sphere, and where it lands.
        for m in range(n_domains):
            errors[m] = (
                turned_k0[0, m] * gx + turned_k0[1, m] * gy + turned_k0[2, m] * gz + half_g_sqr
            ) * wavelength
        n_hits = 0
        for m in range(n_domains):
            hits[n_hits] = m
            n_hits += abs(errors[m]) < reach
        for i in range(n_hits):
            m = hits[i]
            shift = errors[m] / eCe
            at_fast, at_slow = meets_panel_at(
                U[0, m] * gx + U[1, m] * gy + U[2, m] * gz + k0[0] - shift * Cex,
                U[3, m] * gx + U[4, m] * gy + U[5, m] * gz + k0[1] - shift * Cey,
                U[6, m] * gx + U[7, m] * gy + U[8, m] * gz + k0[2] - shift * Cez,
                panel,
            )
            first_fast[i] = np.ceil(at_fast - half_fast - 0.5)
            first_slow[i] = np.ceil(at_slow - half_slow - 0.5)
            from_fast[i] = first_fast[i] + 0.5 - at_fast
            from_slow[i] = first_slow[i] + 0.5 - at_slow
            depth[i] = errors[m] * shift

        # The subpixels about each landing, all landings at once for each of the few offsets.
        strength = weight * F_sqr[reflection] * volume_sqr
        for step_slow in range(math.floor(2 * half_slow) + 1):
            for step_fast in range(math.floor(2 * half_fast) + 1):
                for i in range(n_hits):
                    ds = from_slow[i] + step_slow
                    df = from_fast[i] + step_fast
                    hr_sqr[i] = depth[i] + ff * df * df + 2 * fs * df * ds + ss * ds * ds
                n_sure = n_unsure = 0
                for i in range(n_hits):
                    sure[n_sure] = i
                    n_sure += hr_sqr[i] < inside
                for i in range(n_hits):
                    unsure[n_unsure] = i
                    n_unsure += (hr_sqr[i] >= inside) & (hr_sqr[i] < outside)
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
                    brightness = brightness_at(
                        f,
                        s,
                        U[0, m] * gx + U[1, m] * gy + U[2, m] * gz,
                        U[3, m] * gx + U[4, m] * gy + U[5, m] * gz,
                        U[6, m] * gx + U[7, m] * gy + U[8, m] * gz,
                        k0,
                        wavelength,
                        _rows(edges[m]),
                        cells,
                        panel,
                        shape,
                        radius_sqr,
                    )
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
