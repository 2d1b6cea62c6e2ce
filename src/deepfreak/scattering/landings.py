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

    Parameters
    ----------
    spot_radius, elongation
        Largest semi-axis in 1/A of the ellipsoid within that bound, and its ratio to the smallest.

    Returns
    -------
    How many (subpixel, domain, reflection) triples were lit.
    """
    n_slow, n_fast = image.shape[0] * oversample, image.shape[1] * oversample
    row_of = np.arange(n_slow) // oversample
    column_of = np.arange(n_fast) // oversample
    sub = pixel_size / oversample
    k0 = s0 / wavelength
    normal = np.cross(fast, slow)
    plane = (origin * normal).sum()
    origin_fast = (origin * fast).sum()
    origin_slow = (origin * slow).sum()
    volume_sqr = (cells[0] * cells[1] * cells[2]) ** 2

    # Per domain, one row a component: U^T k0 for the excitation error, U itself, and N U a.
    n_domains = domains.shape[0]
    turned_k0 = np.empty((3, n_domains))
    U = np.empty((9, n_domains))
    edges = np.empty((9, n_domains))
    for m in range(n_domains):
        turned_k0[:, m] = domains[m].T @ k0
        U[:, m] = domains[m].ravel()
        for axis in range(3):
            edges[3 * axis : 3 * axis + 3, m] = cells[axis] * (domains[m] @ real_axes[axis])
    # C = M^-1 = sum over axes of a* a*^T / N^2
    C = np.zeros((3, 3))
    for axis in range(3):
        C += np.outer(reciprocal_axes[axis], reciprocal_axes[axis]) / cells[axis] ** 2
    # The ellipsoid turns with its domain; the sphere is curved across a spot.
    approximation = (
        0.003 + mosaic_angle * (elongation * elongation - 1) + 2 * spot_radius * wavelength
    )
    every_one_exactly = shape == GAUSS or cells.min() * 0.5 < math.sqrt(radius_sqr)

    errors = np.empty(n_domains)
    hits = np.empty(n_domains, dtype=np.uint32)
    first_fast = np.empty(n_domains)
    first_slow = np.empty(n_domains)
    from_fast = np.empty(n_domains)
    from_slow = np.empty(n_domains)
    depth = np.empty(n_domains)
    hr_sqr = np.empty(n_domains)
    sure = np.empty(n_domains, dtype=np.uint32)
    unsure = np.empty(n_domains, dtype=np.uint32)
    lit = 0
    for reflection in range(len(F_sqr)):
        h, k, l = hkl[reflection, 0], hkl[reflection, 1], hkl[reflection, 2]
        gx = h * reciprocal_axes[0, 0] + k * reciprocal_axes[1, 0] + l * reciprocal_axes[2, 0]
        gy = h * reciprocal_axes[0, 1] + k * reciprocal_axes[1, 1] + l * reciprocal_axes[2, 1]
        gz = h * reciprocal_axes[0, 2] + k * reciprocal_axes[1, 2] + l * reciprocal_axes[2, 2]
        half_g_sqr = (gx * gx + gy * gy + gz * gz) / 2

        # The unturned reflection: direction e of its diffracted beam, and C along it.
        kx, ky, kz = gx + k0[0], gy + k0[1], gz + k0[2]
        length = math.sqrt(kx * kx + ky * ky + kz * kz)
        ex, ey, ez = kx / length, ky / length, kz / length
        forward = ex * normal[0] + ey * normal[1] + ez * normal[2]
        if forward * plane <= 0:
            continue
        Cex = C[0, 0] * ex + C[0, 1] * ey + C[0, 2] * ez
        Cey = C[1, 0] * ex + C[1, 1] * ey + C[1, 2] * ez
        Cez = C[2, 0] * ex + C[2, 1] * ey + C[2, 2] * ez
        eCe = ex * Cex + ey * Cey + ez * Cez

        # hr_sqr grows from its least value on the plane as a quadratic form of subpixels (fast,
        # slow), whose inverse gives the ellipse's extent.
        ef = ex * fast[0] + ey * fast[1] + ez * fast[2]
        es = ex * slow[0] + ey * slow[1] + ez * slow[2]
        ff = fs = ss = 0.0
        for axis in range(3):
            ax, ay, az = real_axes[axis, 0], real_axes[axis, 1], real_axes[axis, 2]
            along = ax * ex + ay * ey + az * ez
            per_subpixel = cells[axis] * sub * forward / (plane * wavelength)
            tf = per_subpixel * (ax * fast[0] + ay * fast[1] + az * fast[2] - along * ef)
            ts = per_subpixel * (ax * slow[0] + ay * slow[1] + az * slow[2] - along * es)
            ff += tf * tf
            fs += tf * ts
            ss += ts * ts
        determinant = ff * ss - fs * fs
        # The quadratic form is right to this factor in length: a domain's beam leaves at another
        # angle, and meets the panel more or less obliquely.
        turn = mosaic_angle * math.sqrt(2 * half_g_sqr) * wavelength
        slack = 1 + approximation + 2 * turn / abs(forward)
        inside = -1.0 if every_one_exactly else radius_sqr / slack**2
        outside = radius_sqr * slack**2
        half_fast = math.sqrt(radius_sqr * ss / determinant) * slack + 0.02
        half_slow = math.sqrt(radius_sqr * ff / determinant) * slack + 0.02

        # No domain can bring it onto the panel: skip.
        away = plane / forward
        landing_fast = (away * ef - origin_fast) / sub
        landing_slow = (away * es - origin_slow) / sub
        # the landing point moves fastest along the direction of steepest incidence
        wander = 1.1 * turn * abs(away / forward) / sub + 4
        if (
            landing_fast < -wander - half_fast
            or landing_fast > n_fast + wander + half_fast
            or landing_slow < -wander - half_slow
            or landing_slow > n_slow + wander + half_slow
        ):
            continue

        # Which domains bring it near enough to the sphere, and where it lands.
        reach = math.sqrt(radius_sqr * eCe) * slack
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
            cx = U[0, m] * gx + U[1, m] * gy + U[2, m] * gz + k0[0] - shift * Cex
            cy = U[3, m] * gx + U[4, m] * gy + U[5, m] * gz + k0[1] - shift * Cey
            cz = U[6, m] * gx + U[7, m] * gy + U[8, m] * gz + k0[2] - shift * Cez
            stretch = plane / (cx * normal[0] + cy * normal[1] + cz * normal[2])
            across = cx * fast[0] + cy * fast[1] + cz * fast[2]
            down = cx * slow[0] + cy * slow[1] + cz * slow[2]
            at_fast = (stretch * across - origin_fast) / sub
            at_slow = (stretch * down - origin_slow) / sub
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
                    u = (f + 0.5) * sub
                    v = (s + 0.5) * sub
                    x = origin[0] + u * fast[0] + v * slow[0]
                    y = origin[1] + u * fast[1] + v * slow[1]
                    z = origin[2] + u * fast[2] + v * slow[2]
                    inverse = 1.0 / (math.sqrt(x * x + y * y + z * z) * wavelength)
                    x = x * inverse - k0[0] - (U[0, m] * gx + U[1, m] * gy + U[2, m] * gz)
                    y = y * inverse - k0[1] - (U[3, m] * gx + U[4, m] * gy + U[5, m] * gz)
                    z = z * inverse - k0[2] - (U[6, m] * gx + U[7, m] * gy + U[8, m] * gz)
                    t0 = edges[0, m] * x + edges[1, m] * y + edges[2, m] * z
                    t1 = edges[3, m] * x + edges[4, m] * y + edges[5, m] * z
                    t2 = edges[6, m] * x + edges[7, m] * y + edges[8, m] * z
                    exact = t0 * t0 + t1 * t1 + t2 * t2
                    if (
                        exact < radius_sqr
                        # beyond the half-way point another reflection is the nearest
                        and abs(t0) <= 0.5 * cells[0]
                        and abs(t1) <= 0.5 * cells[1]
                        and abs(t2) <= 0.5 * cells[2]
                    ):
                        brightness = strength
                        if shape == GAUSS:
                            brightness *= math.exp(-2 * exact / GAUSS_WIDTH)
                        image[row_of[s], column_of[f]] += brightness
                        lit += 1
    return lit
