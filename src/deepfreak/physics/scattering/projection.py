"""One reflection, one domain, one subpixel: what the CPU's loops and the GPU's kernels compute.

A domain's reflection is the ellipsoid (q - g)^T M (q - g) < r^2 about g = U (h a* + k b* + l c*),
with M = sum over axes of N^2 a a^T. Near g the Ewald sphere is a plane, and the plane cuts the
ellipsoid in an ellipse: `spot_on_panel` finds its extent and `meets_panel_at` its centre. A
quadratic form decides which subpixels lie in it; those near its edge are tested exactly, by
`brightness_at`.
Margins cover what the plane and the unturned M neglect.
"""

import math

import numpy as np
from numpy.typing import NDArray

from deepfreak.compiled import njit
from deepfreak.physics.scattering.by_pixel import GAUSS, GAUSS_WIDTH

Array = NDArray[np.float64]
# What stays the same in a loop is passed as tuples: the compiler keeps their values in registers,
# where of an array it would have to assume that the loop writes into it.
Vector = tuple[float, float, float]
Matrix = tuple[Vector, Vector, Vector]
PanelRows = tuple[Vector, Vector, Vector, Vector, Vector]


@njit(cache=True, nogil=True, error_model="numpy")
def shell_thickness(wavelength: float, spot_radius: float, mosaic_angle: float) -> float:
    """Return the shell of `crossing` outside of which no domain's reflection diffracts.

    A reflection on the sphere has |g| <= 2 / wavelength, which bounds how far a turn moves it.
    """
    extent = 1.02 * spot_radius / wavelength + spot_radius**2
    swing = (mosaic_angle + mosaic_angle**2) * 2.1 / wavelength**2
    return 2 * (extent + swing)


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
def meets_panel_at(cx: float, cy: float, cz: float, panel: PanelRows) -> tuple[float, float]:
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
