"""Where reflections land: Bragg scattering turned around, from reflections to pixels.

`by_pixel` asks of each subpixel which reflection of which domain it sees; nearly always the answer
is none. Here each reflection near the Ewald sphere is followed to the detector, for each domain,
and only the few subpixels about its landing point are tested, with the same test.

A domain's reflection is the ellipsoid (q - g)^T M (q - g) < r^2 about g = U (h a* + k b* + l c*),
with M = sum over axes of N^2 a a^T. Near g the Ewald sphere is a plane, and the plane cuts the
ellipsoid in an ellipse: `spot_on_panel` finds its extent and `lands_at` its centre. A quadratic
form decides which subpixels lie in it; those near its edge are tested exactly, by `brightness_at`.
Margins cover what the plane and the unturned M neglect.
"""

import math

import numpy as np
from numba import njit
from numpy.typing import NDArray

from deepfreak.scattering.by_pixel import GAUSS, GAUSS_WIDTH

Array = NDArray[np.float64]
# What stays the same in a loop is passed as tuples: the compiler keeps their values in registers,
# where of an array it would have to assume that the loop writes into it.
Vector = tuple[float, float, float]
Matrix = tuple[Vector, Vector, Vector]
PanelRows = tuple[Vector, Vector, Vector, Vector, Vector]


# What one thread or one loop turn computes: the CPU's loops and the GPU's kernels share these.


@njit(cache=True, nogil=True, error_model="numpy")
def crossing(
    px: float, py: float, pz: float, c: Vector, k0: Vector, thick: float
) -> tuple[float, float, float, float]:
    """Return where the line p + l c of reflections runs through the Ewald sphere's shell.

    The shell is | |g + k0|^2 - |k0|^2 | <= thick. The line is in it for first <= l <= last, except
    for hole_first < l < hole_last; first > last if it never is.
    """
    c_sqr = c[0] * c[0] + c[1] * c[1] + c[2] * c[2]
    # |g + k0|^2 - |k0|^2 = c_sqr l^2 + 2 half l + rest
    half = c[0] * (px + k0[0]) + c[1] * (py + k0[1]) + c[2] * (pz + k0[2])
    rest = px * (px + 2 * k0[0]) + py * (py + 2 * k0[1]) + pz * (pz + 2 * k0[2])
    outer = half * half - c_sqr * (rest - thick)
    if outer < 0:
        return 1.0, 0.0, 0.0, 0.0
    middle = -half / c_sqr
    reach = math.sqrt(outer) / c_sqr
    inner = half * half - c_sqr * (rest + thick)
    hole = math.sqrt(inner) / c_sqr if inner > 0 else 0.0
    return middle - reach, middle + reach, middle - hole, middle + hole


@njit(cache=True, nogil=True, error_model="numpy")
def may_diffract(
    gx: float,
    gy: float,
    gz: float,
    k0: Vector,
    wavelength: float,
    spot_radius: float,
    mosaic_angle: float,
) -> bool:
    """Return whether some domain can bring reflection g onto the Ewald sphere."""
    g_sqr = gx * gx + gy * gy + gz * gz
    along = gx * k0[0] + gy * k0[1] + gz * k0[2]
    across = math.sqrt(max(0.0, g_sqr / wavelength**2 - along * along))
    # a turn by m changes g . k0 by at most across sin m + |along| (1 - cos m)
    swing = across * mosaic_angle + abs(along) * mosaic_angle**2 / 2
    extent = 1.02 * spot_radius / wavelength + spot_radius**2
    return abs(along + g_sqr / 2) <= swing + extent


@njit(cache=True, nogil=True, error_model="numpy")
def spot_on_panel(
    gx: float,
    gy: float,
    gz: float,
    k0: Vector,
    wavelength: float,
    real_axes: Matrix,
    cells: Vector,
    C: Matrix,
    panel: PanelRows,
    size: tuple[int, int],
    radius_sqr: float,
    mosaic_angle: float,
    approximation: float,
) -> tuple[
    bool, float, float, float, float, float, float, float, float, float, float, float, float
]:
    """Return how a reflection's spot looks on the panel, the same for all its domains.

    Parameters
    ----------
    C
        The inverse of M.
    panel
        In subpixels: rows origin, fast, slow, normal, and (distance along normal, origin .
        fast, origin . slow).
    size
        Subpixels along slow and fast.

    Returns
    -------
    Whether a domain may bring it onto the panel; C e, for e along its diffracted beam, and e C e;
    the quadratic form (fast fast, fast slow, slow slow) by which hr_sqr grows about the landing
    point; its half extents along fast and slow; below and above which of its values a subpixel is
    surely in and surely out; and the largest excitation error in 1/A that still reaches the sphere.
    """
    kx, ky, kz = gx + k0[0], gy + k0[1], gz + k0[2]
    length = math.sqrt(kx * kx + ky * ky + kz * kz)
    ex, ey, ez = kx / length, ky / length, kz / length
    forward = ex * panel[3][0] + ey * panel[3][1] + ez * panel[3][2]
    plane = panel[4][0]
    if forward * plane <= 0:
        return False, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
    Cex = C[0][0] * ex + C[0][1] * ey + C[0][2] * ez
    Cey = C[1][0] * ex + C[1][1] * ey + C[1][2] * ez
    Cez = C[2][0] * ex + C[2][1] * ey + C[2][2] * ez
    eCe = ex * Cex + ey * Cey + ez * Cez
    ef = ex * panel[1][0] + ey * panel[1][1] + ez * panel[1][2]
    es = ex * panel[2][0] + ey * panel[2][1] + ez * panel[2][2]
    ff = fs = ss = 0.0
    for axis in range(3):
        ax, ay, az = real_axes[axis][0], real_axes[axis][1], real_axes[axis][2]
        along = ax * ex + ay * ey + az * ez
        per_subpixel = cells[axis] * forward / (plane * wavelength)
        af = ax * panel[1][0] + ay * panel[1][1] + az * panel[1][2]
        as_ = ax * panel[2][0] + ay * panel[2][1] + az * panel[2][2]
        tf = per_subpixel * (af - along * ef)
        ts = per_subpixel * (as_ - along * es)
        ff += tf * tf
        fs += tf * ts
        ss += ts * ts
    determinant = ff * ss - fs * fs
    # The form is right to this factor in length: a domain's beam leaves at another angle, and
    # meets the panel more or less obliquely.
    g = math.sqrt(gx * gx + gy * gy + gz * gz)
    turn = mosaic_angle * g * wavelength
    slack = 1 + approximation + 2 * turn / abs(forward)
    half_fast = math.sqrt(radius_sqr * ss / determinant) * slack + 0.02
    half_slow = math.sqrt(radius_sqr * ff / determinant) * slack + 0.02
    away = plane / forward
    at_fast = away * ef - panel[4][1]
    at_slow = away * es - panel[4][2]
    # the landing point moves fastest along the direction of steepest incidence
    wander = 1.1 * turn * abs(away / forward) + 4
    reachable = (
        -wander - half_fast <= at_fast <= size[1] + wander + half_fast
        and -wander - half_slow <= at_slow <= size[0] + wander + half_slow
    )
    return (
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
        radius_sqr / slack**2,
        radius_sqr * slack**2,
        math.sqrt(radius_sqr * eCe) * slack,
    )


@njit(cache=True, nogil=True, error_model="numpy")
def lands_at(cx: float, cy: float, cz: float, panel: PanelRows) -> tuple[float, float]:
    """Return where direction c meets the panel, (fast, slow) in subpixels."""
    stretch = panel[4][0] / (cx * panel[3][0] + cy * panel[3][1] + cz * panel[3][2])
    across = cx * panel[1][0] + cy * panel[1][1] + cz * panel[1][2]
    down = cx * panel[2][0] + cy * panel[2][1] + cz * panel[2][2]
    return stretch * across - panel[4][1], stretch * down - panel[4][2]


@njit(cache=True, nogil=True, error_model="numpy")
def brightness_at(
    f: int,
    s: int,
    gx: float,
    gy: float,
    gz: float,
    k0: Vector,
    wavelength: float,
    edges: Matrix,
    cells: Vector,
    panel: PanelRows,
    shape: int,
    radius_sqr: float,
) -> float:
    """Return (F_latt / volume)^2 of a domain at the centre of subpixel (f, s), exactly.

    `g` is the domain's own reflection, `edges` its rows N U a.
    """
    u, v = f + 0.5, s + 0.5
    x = panel[0][0] + u * panel[1][0] + v * panel[2][0]
    y = panel[0][1] + u * panel[1][1] + v * panel[2][1]
    z = panel[0][2] + u * panel[1][2] + v * panel[2][2]
    inverse = 1.0 / (math.sqrt(x * x + y * y + z * z) * wavelength)
    x = x * inverse - k0[0] - gx
    y = y * inverse - k0[1] - gy
    z = z * inverse - k0[2] - gz
    t0 = edges[0][0] * x + edges[0][1] * y + edges[0][2] * z
    t1 = edges[1][0] * x + edges[1][1] * y + edges[1][2] * z
    t2 = edges[2][0] * x + edges[2][1] * y + edges[2][2] * z
    hr_sqr = t0 * t0 + t1 * t1 + t2 * t2
    # beyond the half-way point another reflection is the nearest
    if (
        hr_sqr >= radius_sqr
        or abs(t0) > 0.5 * cells[0]
        or abs(t1) > 0.5 * cells[1]
        or abs(t2) > 0.5 * cells[2]
    ):
        return 0.0
    return math.exp(-2 * hr_sqr / GAUSS_WIDTH) if shape == GAUSS else 1.0


@njit(cache=True, nogil=True, error_model="numpy")
def _rows(m: Array) -> Matrix:
    """Return a matrix (3, 3) as `brightness_at` takes it."""
    return (
        (m[0, 0], m[0, 1], m[0, 2]),
        (m[1, 0], m[1, 1], m[1, 2]),
        (m[2, 0], m[2, 1], m[2, 2]),
    )


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
def shell_thickness(wavelength: float, spot_radius: float, mosaic_angle: float) -> float:
    """Return the shell of `crossing` outside of which no domain's reflection diffracts.

    A reflection on the sphere has |g| <= 2 / wavelength, which bounds how far a turn moves it.
    """
    extent = 1.02 * spot_radius / wavelength + spot_radius**2
    swing = (mosaic_angle + mosaic_angle**2) * 2.1 / wavelength**2
    return 2 * (extent + swing)


@njit(cache=True, nogil=True, error_model="numpy")
def add_landings(
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
            at_fast, at_slow = lands_at(
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
