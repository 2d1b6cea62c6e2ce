"""Where reflections land: Bragg scattering turned around, from reflections to pixels.

`by_pixel` asks of each subpixel which reflection of which domain it sees; nearly always the answer
is none. Here each reflection near the Ewald sphere is followed to the detector, for each domain,
and only the few subpixels about its landing point are tested, with the same test.

A domain's reflection is the ellipsoid (q - g)^T M (q - g) < r^2 about g = U (h a* + k b* + l c*),
with M = sum over axes of N^2 a a^T. Near g the Ewald sphere is a plane, and the plane cuts the
ellipsoid in an ellipse: `_landing` finds its centre and extent, and every subpixel whose centre may
lie in it is tested exactly. Margins cover what the plane and the unrotated M neglect.
"""

import math

import numpy as np
from numba import njit
from numpy.typing import NDArray

from deepfreak.scattering.by_pixel import GAUSS, GAUSS_WIDTH

Array = NDArray[np.float64]


@njit(cache=True, nogil=True, error_model="numpy")
def near_ewald_sphere(
    F: NDArray[np.float32],
    hkl_min: NDArray[np.int64],
    reciprocal_axes: Array,
    s0: Array,
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
    s0
        Unit direction of the beam.
    spot_radius
        Largest semi-axis of a spot's ellipsoid in 1/A.
    mosaic_angle
        Largest misorientation in radian.

    Returns
    -------
    (n, 3) Miller indices and (n,) F^2.
    """
    k0 = s0 / wavelength
    size_h, size_k, size_l = F.shape
    a, b, c = reciprocal_axes[0], reciprocal_axes[1], reciprocal_axes[2]
    c_sqr = (c * c).sum()
    k0_sqr = 1.0 / wavelength**2
    # |g| of a reflection on the sphere is at most 2 / wavelength: a bound for the outer solve
    turn = mosaic_angle / wavelength
    found = 0
    hkl = np.empty((4096, 3), dtype=np.int64)
    F_sqr = np.empty(4096)
    for ih in range(size_h):
        h = ih + hkl_min[0]
        for ik in range(size_k):
            k = ik + hkl_min[1]
            px = h * a[0] + k * b[0]
            py = h * a[1] + k * b[1]
            pz = h * a[2] + k * b[2]
            # 2 e = |g + k0|^2 - |k0|^2 = c_sqr l^2 + 2 half l + rest
            half = c[0] * (px + k0[0]) + c[1] * (py + k0[1]) + c[2] * (pz + k0[2])
            rest = px * (px + 2 * k0[0]) + py * (py + 2 * k0[1]) + pz * (pz + 2 * k0[2])
            centre = -half / c_sqr
            # |g| is smallest at its foot on the line; take the larger end of the box as bound
            l_far = max(abs(hkl_min[2]), abs(hkl_min[2] + size_l - 1))
            g_far = math.sqrt(px * px + py * py + pz * pz) + l_far * math.sqrt(c_sqr)
            thick = 2 * (spot_radius / wavelength + turn * min(g_far, 2.1 / wavelength))
            thick += spot_radius * spot_radius
            outer = half * half - c_sqr * (rest - thick)
            if outer < 0:
                continue
            reach = math.sqrt(outer) / c_sqr
            inner = half * half - c_sqr * (rest + thick)
            hole = math.sqrt(inner) / c_sqr if inner > 0 else -1.0
            first = max(math.ceil(centre - reach), hkl_min[2])
            last = min(math.floor(centre + reach), hkl_min[2] + size_l - 1)
            l = first
            while l <= last:
                if hole > 0 and centre - hole < l < centre + hole:
                    l = max(l + 1, math.ceil(centre + hole))
                    continue
                amplitude = F[ih, ik, l - hkl_min[2]]
                if amplitude != 0.0:
                    gx, gy, gz = px + l * c[0], py + l * c[1], pz + l * c[2]
                    g_sqr = gx * gx + gy * gy + gz * gz
                    along = gx * k0[0] + gy * k0[1] + gz * k0[2]
                    error = along + g_sqr / 2
                    across = math.sqrt(max(0.0, g_sqr * k0_sqr - along * along))
                    # a turn by m changes g . k0 by at most across sin m + |along| (1 - cos m)
                    swing = across * mosaic_angle + abs(along) * mosaic_angle**2 / 2
                    if abs(error) <= swing + 1.02 * spot_radius / wavelength + spot_radius**2:
                        if found == len(F_sqr):
                            more = np.empty((2 * found, 3), dtype=np.int64)
                            more[:found] = hkl
                            hkl = more
                            more_F = np.empty(2 * found)
                            more_F[:found] = F_sqr
                            F_sqr = more_F
                        hkl[found, 0] = h
                        hkl[found, 1] = k
                        hkl[found, 2] = l
                        F_sqr[found] = np.float64(amplitude) ** 2
                        found += 1
                l += 1
    return hkl[:found], F_sqr[:found]


@njit(cache=True, nogil=True, error_model="numpy")
def add_landings(
    image: Array,
    *,
    hkl: NDArray[np.int64],
    F_sqr: Array,
    reciprocal_axes: Array,
    real_axes: Array,
    domains: Array,
    cells: Array,
    shape: int,
    radius_sqr: float,
    spot_radius: float,
    elongation: float,
    s0: Array,
    wavelength: float,
    weight: float,
    mosaic_angle: float,
    origin: Array,
    fast: Array,
    slow: Array,
    pixel_size: float,
    oversample: int,
) -> int:
    """Add weight * F^2 F_latt^2 of each reflection of each domain where it lands.

    Equals `by_pixel` for one source and one spindle step where F_latt vanishes beyond
    sum((h - h0) N)^2 = `radius_sqr`; see there for the shapes of what is not named here.

    Returns
    -------
    How many (subpixel, domain, reflection) triples were lit.
    """
    n_slow, n_fast = image.shape[0] * oversample, image.shape[1] * oversample
    n_domains = domains.shape[0]
    sub = pixel_size / oversample
    k0x, k0y, k0z = s0[0] / wavelength, s0[1] / wavelength, s0[2] / wavelength
    nx = fast[1] * slow[2] - fast[2] * slow[1]
    ny = fast[2] * slow[0] - fast[0] * slow[2]
    nz = fast[0] * slow[1] - fast[1] * slow[0]
    plane = origin[0] * nx + origin[1] * ny + origin[2] * nz
    origin_fast = (origin * fast).sum()
    origin_slow = (origin * slow).sum()
    volume_sqr = (cells[0] * cells[1] * cells[2]) ** 2

    # Per domain: U^T k0, for the excitation error, and N U a, for the exact test.
    turned_k0 = np.empty((3, n_domains))
    edges = np.empty((n_domains, 9))
    for m in range(n_domains):
        for x in range(3):
            turned_k0[x, m] = (
                domains[m, 0, x] * k0x + domains[m, 1, x] * k0y + domains[m, 2, x] * k0z
            )
            for axis in range(3):
                edges[m, 3 * axis + x] = cells[axis] * (
                    domains[m, x, 0] * real_axes[axis, 0]
                    + domains[m, x, 1] * real_axes[axis, 1]
                    + domains[m, x, 2] * real_axes[axis, 2]
                )
    # C = M^-1 = sum over axes of a* a*^T / N^2
    C = np.zeros((3, 3))
    for axis in range(3):
        for x in range(3):
            for y in range(3):
                C[x, y] += reciprocal_axes[axis, x] * reciprocal_axes[axis, y] / cells[axis] ** 2
    slack = 1.01 + 2.5 * mosaic_angle * elongation + 2 * spot_radius * wavelength
    sure_inside = radius_sqr / slack**2
    sure_outside = radius_sqr * slack**2
    if shape == GAUSS or cells.min() * 0.5 < math.sqrt(radius_sqr):
        sure_inside = -1.0  # every subpixel needs the exact test

    errors = np.empty(n_domains)
    hits = np.empty(n_domains, dtype=np.int64)
    lit = 0
    for reflection in range(len(F_sqr)):
        h, k, l = hkl[reflection, 0], hkl[reflection, 1], hkl[reflection, 2]
        gx = h * reciprocal_axes[0, 0] + k * reciprocal_axes[1, 0] + l * reciprocal_axes[2, 0]
        gy = h * reciprocal_axes[0, 1] + k * reciprocal_axes[1, 1] + l * reciprocal_axes[2, 1]
        gz = h * reciprocal_axes[0, 2] + k * reciprocal_axes[1, 2] + l * reciprocal_axes[2, 2]
        half_g_sqr = (gx * gx + gy * gy + gz * gz) / 2

        # The unturned reflection: direction of its diffracted beam, and C along it.
        kx, ky, kz = gx + k0x, gy + k0y, gz + k0z
        length = math.sqrt(kx * kx + ky * ky + kz * kz)
        ex, ey, ez = kx / length, ky / length, kz / length
        forward = ex * nx + ey * ny + ez * nz
        if forward * plane <= 0:
            continue
        Cex = C[0, 0] * ex + C[0, 1] * ey + C[0, 2] * ez
        Cey = C[1, 0] * ex + C[1, 1] * ey + C[1, 2] * ez
        Cez = C[2, 0] * ex + C[2, 1] * ey + C[2, 2] * ez
        eCe = ex * Cex + ey * Cey + ez * Cez
        reach = math.sqrt(radius_sqr * eCe) * slack

        # How the landing point moves with k: rows of the Jacobian of (fast, slow) in subpixels.
        away = plane / forward
        ef = ex * fast[0] + ey * fast[1] + ez * fast[2]
        es = ex * slow[0] + ey * slow[1] + ez * slow[2]
        scale = away * wavelength / sub
        jfx = scale * (fast[0] - ef / forward * nx)
        jfy = scale * (fast[1] - ef / forward * ny)
        jfz = scale * (fast[2] - ef / forward * nz)
        jsx = scale * (slow[0] - es / forward * nx)
        jsy = scale * (slow[1] - es / forward * ny)
        jsz = scale * (slow[2] - es / forward * nz)
        jfCe = jfx * Cex + jfy * Cey + jfz * Cez
        jsCe = jsx * Cex + jsy * Cey + jsz * Cez
        jfCjf = (
            jfx * (C[0, 0] * jfx + C[0, 1] * jfy + C[0, 2] * jfz)
            + jfy * (C[1, 0] * jfx + C[1, 1] * jfy + C[1, 2] * jfz)
            + jfz * (C[2, 0] * jfx + C[2, 1] * jfy + C[2, 2] * jfz)
        )
        jsCjs = (
            jsx * (C[0, 0] * jsx + C[0, 1] * jsy + C[0, 2] * jsz)
            + jsy * (C[1, 0] * jsx + C[1, 1] * jsy + C[1, 2] * jsz)
            + jsz * (C[2, 0] * jsx + C[2, 1] * jsy + C[2, 2] * jsz)
        )
        extent_fast = math.sqrt(max(0.0, jfCjf - jfCe * jfCe / eCe)) * slack
        extent_slow = math.sqrt(max(0.0, jsCjs - jsCe * jsCe / eCe)) * slack

        # How fast hr_sqr grows about its least value on the plane: a quadratic form in subpixels.
        ff = fs = ss = 0.0
        for axis in range(3):
            ax, ay, az = real_axes[axis, 0], real_axes[axis, 1], real_axes[axis, 2]
            along = ax * ex + ay * ey + az * ez
            per_subpixel = cells[axis] * sub * forward / (plane * wavelength)
            tf = per_subpixel * (ax * fast[0] + ay * fast[1] + az * fast[2] - along * ef)
            ts = per_subpixel * (ax * slow[0] + ay * slow[1] + az * slow[2] - along * es)
            ff += tf * tf
            fs += 2 * tf * ts
            ss += ts * ts

        # No domain can bring it onto the panel: skip.
        landing_fast = (away * ef - origin_fast) / sub
        landing_slow = (away * es - origin_slow) / sub
        turn = mosaic_angle * math.sqrt(2 * half_g_sqr) * slack
        wander_fast = turn * math.sqrt(jfx * jfx + jfy * jfy + jfz * jfz)
        wander_slow = turn * math.sqrt(jsx * jsx + jsy * jsy + jsz * jsz)
        wander_fast += 2 * extent_fast + 4
        wander_slow += 2 * extent_slow + 4
        if (
            landing_fast < -wander_fast
            or landing_fast > n_fast + wander_fast
            or landing_slow < -wander_slow
            or landing_slow > n_slow + wander_slow
        ):
            continue

        for m in range(n_domains):
            errors[m] = (
                turned_k0[0, m] * gx + turned_k0[1, m] * gy + turned_k0[2, m] * gz + half_g_sqr
            ) * wavelength
        n_hits = 0
        for m in range(n_domains):
            hits[n_hits] = m
            n_hits += abs(errors[m]) < reach

        strength = weight * F_sqr[reflection] * volume_sqr
        for hit in range(n_hits):
            m = hits[hit]
            g0 = domains[m, 0, 0] * gx + domains[m, 0, 1] * gy + domains[m, 0, 2] * gz
            g1 = domains[m, 1, 0] * gx + domains[m, 1, 1] * gy + domains[m, 1, 2] * gz
            g2 = domains[m, 2, 0] * gx + domains[m, 2, 1] * gy + domains[m, 2, 2] * gz
            shift = errors[m] / eCe
            cx = g0 + k0x - shift * Cex
            cy = g1 + k0y - shift * Cey
            cz = g2 + k0z - shift * Cez
            away = plane / (cx * nx + cy * ny + cz * nz)
            at_fast = (away * (cx * fast[0] + cy * fast[1] + cz * fast[2]) - origin_fast) / sub
            at_slow = (away * (cx * slow[0] + cy * slow[1] + cz * slow[2]) - origin_slow) / sub
            depth = errors[m] * shift
            left = math.sqrt(max(0.0, radius_sqr * slack - depth))
            half_fast = left * extent_fast + 0.02
            half_slow = left * extent_slow + 0.02
            first_f = max(math.ceil(at_fast - half_fast - 0.5), 0)
            last_f = min(math.floor(at_fast + half_fast - 0.5), n_fast - 1)
            first_s = max(math.ceil(at_slow - half_slow - 0.5), 0)
            last_s = min(math.floor(at_slow + half_slow - 0.5), n_slow - 1)
            for s in range(first_s, last_s + 1):
                ds = s + 0.5 - at_slow
                for f in range(first_f, last_f + 1):
                    df = f + 0.5 - at_fast
                    hr_sqr = depth + ff * df * df + fs * df * ds + ss * ds * ds
                    if hr_sqr > sure_outside:
                        continue
                    brightness = strength
                    if hr_sqr > sure_inside:
                        # too near the edge, or not flat: the exact test
                        u = (f + 0.5) * sub
                        v = (s + 0.5) * sub
                        x = origin[0] + u * fast[0] + v * slow[0]
                        y = origin[1] + u * fast[1] + v * slow[1]
                        z = origin[2] + u * fast[2] + v * slow[2]
                        inverse = 1.0 / (math.sqrt(x * x + y * y + z * z) * wavelength)
                        x = x * inverse - k0x - g0
                        y = y * inverse - k0y - g1
                        z = z * inverse - k0z - g2
                        t0 = edges[m, 0] * x + edges[m, 1] * y + edges[m, 2] * z
                        t1 = edges[m, 3] * x + edges[m, 4] * y + edges[m, 5] * z
                        t2 = edges[m, 6] * x + edges[m, 7] * y + edges[m, 8] * z
                        hr_sqr = t0 * t0 + t1 * t1 + t2 * t2
                        if (
                            hr_sqr >= radius_sqr
                            # beyond the half-way point another reflection is the nearest
                            or abs(t0) > 0.5 * cells[0]
                            or abs(t1) > 0.5 * cells[1]
                            or abs(t2) > 0.5 * cells[2]
                        ):
                            continue
                        if shape == GAUSS:
                            brightness *= math.exp(-2 * hr_sqr / GAUSS_WIDTH)
                    image[s // oversample, f // oversample] += brightness
                    lit += 1
    return lit
