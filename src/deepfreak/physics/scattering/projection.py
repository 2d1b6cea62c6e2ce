"""One reflection, one domain, one subpixel: what the CPU's loops and the GPU's kernels compute.

A domain's reflection is the ellipsoid (q - g)^T M (q - g) < r^2 about g = U (h a* + k b* + l c*),
with M = sum over axes of N^2 a a^T. Near g the Ewald sphere is a plane, and the plane cuts the
ellipsoid in an ellipse: `spot_on_panel` finds its extent and `meets_panel_at` its centre. A
quadratic form decides which subpixels lie in it; those near its edge are tested exactly, by
`brightness_at`. Margins cover what the plane and the unturned M neglect.

What stays the same in a loop is passed as named tuples: the compiler keeps their values in
registers, where of an array it would have to assume that the loop writes into it.
"""

import math
from typing import NamedTuple

from deepfreak.compiled import njit
from deepfreak.physics.scattering.by_pixel import GAUSS, GAUSS_WIDTH

Vector = tuple[float, float, float]
Matrix = tuple[Vector, Vector, Vector]


class PanelGrid(NamedTuple):
    """A panel, in units of a subpixel's side: its origin and axes, and its plane.

    `distance` is that of the plane along `normal`; `center_fast` and `center_slow` are where its
    foot point lies, from the origin backwards: origin . fast and origin . slow. `n_slow` and
    `n_fast` count subpixels.
    """

    origin: Vector
    fast: Vector
    slow: Vector
    normal: Vector
    distance: float
    center_fast: float
    center_slow: float
    n_slow: int
    n_fast: int


class Wave(NamedTuple):
    """One plane wave: its direction over the wavelength in 1/A, and the wavelength in A."""

    k0: Vector
    wavelength: float


class Domains(NamedTuple):
    """A mosaic crystal's domains, as they are before each one's own small rotation."""

    # real_axes, reciprocal_axes: rows a, b, c in A and a*, b*, c* in 1/A
    real_axes: Matrix
    reciprocal_axes: Matrix
    cells: Vector  # unit cells along a, b, c
    shape: int  # GAUSS or TOPHAT
    C: Matrix  # the inverse of M
    # radius_sqr, radius: where a spot ends: r^2, and the ellipsoid's largest semi-axis in 1/A
    radius_sqr: float
    radius: float
    elongation: float  # the largest semi-axis over the smallest
    max_rotation: float  # largest misorientation in radian


class PanelSpot(NamedTuple):
    """A reflection's spot on a panel, the same for all its domains."""

    reachable: bool  # whether a domain may bring it onto the panel
    # Ce, eCe: C e, for e along its diffracted beam, and e C e
    Ce: Vector
    eCe: float
    # ff, fs, ss: the quadratic form by which hr_sqr grows about the spot's centre, along fast and
    # slow
    ff: float
    fs: float
    ss: float
    # half_fast, half_slow: its half extents in subpixels
    half_fast: float
    half_slow: float
    # inside, outside: below and above which value of the form a subpixel is surely in and surely
    # out
    inside: float
    outside: float
    max_error: float  # the largest excitation error in 1/A that still reaches the sphere


@njit(cache=True, nogil=True, error_model="numpy")
def dot(a: Vector, b: Vector) -> float:
    """Return the product of two vectors."""
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]


@njit(cache=True, nogil=True, error_model="numpy")
def reflection_at(reciprocal_axes: Matrix, h: int, k: int, l: int) -> Vector:
    """Return h a* + k b* + l c* in 1/A."""
    a, b, c = reciprocal_axes
    return (
        h * a[0] + k * b[0] + l * c[0],
        h * a[1] + k * b[1] + l * c[1],
        h * a[2] + k * b[2] + l * c[2],
    )


@njit(cache=True, nogil=True, error_model="numpy")
def shell_thickness(domains: Domains, wavelength: float) -> float:
    """Return the shell of `crossing` outside of which no domain's reflection diffracts.

    A reflection on the sphere has |g| <= 2 / wavelength, which bounds how far a rotation moves it.
    """
    extent = 1.02 * domains.radius / wavelength + domains.radius**2
    swing = (domains.max_rotation + domains.max_rotation**2) * 2.1 / wavelength**2
    return 2 * (extent + swing)


@njit(cache=True, nogil=True, error_model="numpy")
def crossing(p: Vector, c: Vector, k0: Vector, thick: float) -> tuple[float, float, float, float]:
    """Return where the line p + l c of reflections runs through the Ewald sphere's shell.

    The shell is | |g + k0|^2 - |k0|^2 | <= thick. The line is in it for first <= l <= last, except
    for hole_first < l < hole_last; first > last if it never is.
    """
    px, py, pz = p
    c_sqr = dot(c, c)
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
def may_diffract(g: Vector, wave: Wave, domains: Domains) -> bool:
    """Return whether some domain can bring reflection g onto the Ewald sphere."""
    turn = domains.max_rotation
    g_sqr = dot(g, g)
    along = dot(g, wave.k0)
    across = math.sqrt(max(0.0, g_sqr / wave.wavelength**2 - along * along))
    # a rotation by m changes g . k0 by at most across sin m + |along| (1 - cos m)
    swing = across * turn + abs(along) * turn**2 / 2
    extent = 1.02 * domains.radius / wave.wavelength + domains.radius**2
    return abs(along + g_sqr / 2) <= swing + extent


@njit(cache=True, nogil=True, error_model="numpy")
def spot_on_panel(g: Vector, wave: Wave, domains: Domains, panel: PanelGrid) -> PanelSpot:
    """Return what the spot of reflection g looks like on the panel, whatever the domain."""
    k0, wavelength, radius_sqr = wave.k0, wave.wavelength, domains.radius_sqr
    kx, ky, kz = g[0] + k0[0], g[1] + k0[1], g[2] + k0[2]
    length = math.sqrt(kx * kx + ky * ky + kz * kz)
    e = (kx / length, ky / length, kz / length)
    forward = dot(e, panel.normal)
    plane = panel.distance
    if forward * plane <= 0:
        return PanelSpot(False, (0.0, 0.0, 0.0), 1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
    C = domains.C
    Ce = (dot(C[0], e), dot(C[1], e), dot(C[2], e))
    eCe = dot(e, Ce)
    ef, es = dot(e, panel.fast), dot(e, panel.slow)
    ff = fs = ss = 0.0
    for axis in range(3):
        a = domains.real_axes[axis]
        along = dot(a, e)
        per_subpixel = domains.cells[axis] * forward / (plane * wavelength)
        tf = per_subpixel * (dot(a, panel.fast) - along * ef)
        ts = per_subpixel * (dot(a, panel.slow) - along * es)
        ff += tf * tf
        fs += tf * ts
        ss += ts * ts
    determinant = ff * ss - fs * fs
    # The form is right to this factor in length: it neglects that the ellipsoid turns with its
    # domain and that the sphere is curved; and a domain's beam leaves at another angle, and meets
    # the panel more or less obliquely.
    approximation = (
        0.003 + domains.max_rotation * (domains.elongation**2 - 1) + 2 * domains.radius * wavelength
    )
    turn = domains.max_rotation * math.sqrt(dot(g, g)) * wavelength
    slack = 1 + approximation + 2 * turn / abs(forward)
    half_fast = math.sqrt(radius_sqr * ss / determinant) * slack + 0.02
    half_slow = math.sqrt(radius_sqr * ff / determinant) * slack + 0.02
    away = plane / forward
    at_fast = away * ef - panel.center_fast
    at_slow = away * es - panel.center_slow
    # the spot moves fastest along the direction of steepest incidence
    wander = 1.1 * turn * abs(away / forward) + 4
    reachable = (
        -wander - half_fast <= at_fast <= panel.n_fast + wander + half_fast
        and -wander - half_slow <= at_slow <= panel.n_slow + wander + half_slow
    )
    return PanelSpot(
        reachable,
        Ce,
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
def meets_panel_at(direction: Vector, panel: PanelGrid) -> tuple[float, float]:
    """Return where a ray from the crystal meets the panel, (fast, slow) in subpixels."""
    stretch = panel.distance / dot(direction, panel.normal)
    across, down = dot(direction, panel.fast), dot(direction, panel.slow)
    return stretch * across - panel.center_fast, stretch * down - panel.center_slow


@njit(cache=True, nogil=True, error_model="numpy")
def brightness_at(
    f: int, s: int, g: Vector, edges: Matrix, wave: Wave, domains: Domains, panel: PanelGrid
) -> float:
    """Return (F_latt / volume)^2 of a domain at the centre of subpixel (f, s), exactly.

    `g` is the domain's own reflection, `edges` its rows N U a.
    """
    k0, cells = wave.k0, domains.cells
    u, v = f + 0.5, s + 0.5
    x = panel.origin[0] + u * panel.fast[0] + v * panel.slow[0]
    y = panel.origin[1] + u * panel.fast[1] + v * panel.slow[1]
    z = panel.origin[2] + u * panel.fast[2] + v * panel.slow[2]
    inverse = 1.0 / (math.sqrt(x * x + y * y + z * z) * wave.wavelength)
    away = (x * inverse - k0[0] - g[0], y * inverse - k0[1] - g[1], z * inverse - k0[2] - g[2])
    t0, t1, t2 = dot(edges[0], away), dot(edges[1], away), dot(edges[2], away)
    hr_sqr = t0 * t0 + t1 * t1 + t2 * t2
    # beyond the half-way point another reflection is the nearest
    if (
        hr_sqr >= domains.radius_sqr
        or abs(t0) > 0.5 * cells[0]
        or abs(t1) > 0.5 * cells[1]
        or abs(t2) > 0.5 * cells[2]
    ):
        return 0.0
    return math.exp(-2 * hr_sqr / GAUSS_WIDTH) if domains.shape == GAUSS else 1.0
