"""Rings of powders, smooth, textured or of grains; ice, calibrants, diamond anvils.

Physics: spacings and |F|^2 of ice and of calibrants, and the radii at which they diffract. All
else is empirical: radii of other powders, widths, textures, how bright, how many grains.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from deepfreak.datasets.randomised.geometry import Geometry, farthest_px, log_uniform
from deepfreak.datasets.randomised.light import (
    EVEN,
    NO_SHADOWS,
    Light,
    Texture,
    draw_texture,
    transmission,
)
from deepfreak.datasets.randomised.spots import (
    CLEAR,
    FWHM,
    ONE_BLOB,
    Canvas,
    Spots,
    factor_for,
)
from deepfreak.datasets.randomised.stray_light import MAX_PHOTONS
from deepfreak.physics.scattering.ice.lattice import (
    STRUCTURES,
    Structure,
    listed_reflections,
)

Array = NDArray[np.float64]
Float = NDArray[np.float32]

# Cells as certified by NIST (SRM 674b, 660a, 640e, 676a); sites as in any textbook but for LaB6's
# and Al2O3's one free number each.
CALIBRANTS = {
    "CeO2": Structure(
        cell=(5.411651, 5.411651, 5.411651, 90.0, 90.0, 90.0),
        space_group="F m -3 m",
        sites=(("Ce", 1.0, 0.0, 0.0, 0.0), ("O", 1.0, 0.25, 0.25, 0.25)),
    ),
    "LaB6": Structure(
        cell=(4.1569162, 4.1569162, 4.1569162, 90.0, 90.0, 90.0),
        space_group="P m -3 m",
        sites=(("La", 1.0, 0.0, 0.0, 0.0), ("B", 1.0, 0.1996, 0.5, 0.5)),
    ),
    "Si": Structure(
        cell=(5.431179, 5.431179, 5.431179, 90.0, 90.0, 90.0),
        space_group="F d -3 m :2",
        sites=(("Si", 1.0, 0.125, 0.125, 0.125),),
    ),
    "Al2O3": Structure(
        cell=(4.759091, 4.759091, 12.991779, 90.0, 90.0, 120.0),
        space_group="R -3 c :H",
        sites=(("Al", 1.0, 0.0, 0.0, 0.3522), ("O", 1.0, 0.3063, 0.0, 0.25)),
    ),
}
ICE = {"hexagonal ice": STRUCTURES["hexagonal"], "cubic ice": STRUCTURES["cubic"]}
# Silver behenate: Huang, Toraya, Blanton & Wu, J. Appl. Cryst. 26, 180 (1993).
BEHENATE_A, _BEHENATE_ORDERS = 58.380, 20
_MIN_D_A, _B_A2, _MIN_INTENSITY = 0.6, 1.0, 1e-3
# h^2 + k^2 + l^2 of a face-centred cubic lattice's rings.
_FACE_CENTRED = np.array([
    3.0, 4, 8, 11, 12, 16, 19, 20, 24, 27, 32, 35, 36, 40, 43, 44, 48, 51, 52, 56, 59, 64, 67, 68,
    72,
])  # fmt: skip
_MAX_RINGS = 25
_ANGLES = 720
_AZIMUTH = (np.arange(_ANGLES) + 0.5) * 2 * np.pi / _ANGLES
_GRAIN_PX = 6.0  # of a ring's length, for each grain at least
_ATTEMPTS = 8
_DIAMOND_SNR = 20.0, 3000.0


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PowderRings:
    """Where a powder's rings lie."""

    name: str  # of the powder, for tables
    center_px: tuple[float, float]  # (slow, fast) in pixels
    # radii_px, weights: (n,) radii, and photons on a whole ring relative to the brightest
    radii_px: Array
    weights: Array


@lru_cache(maxsize=16)
def ring_spacings(material: str) -> tuple[Array, Array]:
    """Return spacings in A of a powder's rings, the largest first, and |F|^2 summed over a ring.

    Down to 0.6 A; B is 1 A^2. `material` is a key of `CALIBRANTS` or `ICE`, or "AgBh", whose
    orders' weights are empirical (1/n).
    """
    if material == "AgBh":
        order = np.arange(1, _BEHENATE_ORDERS + 1)
        return BEHENATE_A / order, 1.0 / order
    structure = (CALIBRANTS | ICE)[material]
    _, _, stol, F_sqr = listed_reflections(structure, 0.5 / _MIN_D_A, _B_A2)
    order = np.argsort(stol)
    stol, F_sqr = stol[order], F_sqr[order]
    starts = np.flatnonzero(np.diff(stol, prepend=-1.0) > 1e-5)
    total = np.add.reduceat(F_sqr, starts)
    present = total > _MIN_INTENSITY * total.max()
    return 0.5 / stol[starts[present]], total[present]


def material_rings(material: str, geometry: Geometry) -> PowderRings:
    """Return the rings of a known powder; their light has the Lorentz factor 1 / sin(theta)."""
    d_A, F_sqr = ring_spacings(material)
    radii = geometry.radius_px(d_A)
    seen = np.isfinite(radii)
    light = F_sqr * d_A
    light = light / light[seen].max(initial=1e-12)
    return PowderRings(
        name=material,
        center_px=geometry.beam_center_px,
        radii_px=radii[seen],
        weights=light[seen],
    )


def draw_material(
    rng: np.random.Generator,
    geometry: Geometry,
    names: tuple[str, ...],
    shape: tuple[int, int],
    min_rings: int = 1,
) -> PowderRings | None:
    """Return the rings of one of some powders, None if none has `min_rings` rings on the canvas."""
    near, far = _seen_radii(geometry.beam_center_px, shape)
    found = []
    for name in names:
        rings = material_rings(name, geometry)
        if np.count_nonzero((rings.radii_px > near) & (rings.radii_px < 0.9 * far)) >= min_rings:
            found.append(rings)
    return found[rng.integers(len(found))] if found else None


def draw_rings(rng: np.random.Generator, geometry: Geometry, shape: tuple[int, int]) -> PowderRings:
    """Return the rings of any powder: cubic, lamellar, or at any radii; any centre at times.

    At least half of the canvas's longer side of them lies on it, if chance allows.
    """
    rings = _draw_rings(rng, geometry, shape)
    for _ in range(_ATTEMPTS):
        if _arc_px(rings, shape, NO_SHADOWS).sum() > max(shape) / 2:
            break
        rings = _draw_rings(rng, geometry, shape)
    return rings


def _draw_rings(
    rng: np.random.Generator, geometry: Geometry, shape: tuple[int, int]
) -> PowderRings:
    if rng.random() < 1 / 4:  # a beam that is elsewhere, off the frame too
        place = rng.uniform(-0.5, 1.5, 2) * shape
        geometry = replace(geometry, beam_center_px=(float(place[0]), float(place[1])))
    near, far = _seen_radii(geometry.beam_center_px, shape)
    count = int(log_uniform(rng, 1, _MAX_RINGS + 0.99))
    first = log_uniform(rng, max(near, 0.02 * far), far)
    d_A = 1 / geometry.q_at(first)
    chance = rng.random()
    if chance < 1 / 4:
        name, radii = "lamellar", geometry.radius_px(d_A / np.arange(1, count + 1))
    elif chance < 1 / 2:
        ratio = np.sqrt(_FACE_CENTRED[:count] / _FACE_CENTRED[0])
        name, radii = "cubic", geometry.radius_px(d_A / ratio)
    else:
        name, radii = "any rings", rng.uniform(max(near, 0.02 * far), far, count)
    radii = radii[np.isfinite(radii)]
    weights = rng.uniform(0.05, 1, len(radii)) * radii  # as if of like height
    return PowderRings(
        name=name, center_px=geometry.beam_center_px, radii_px=radii, weights=weights
    )


def add_smooth_rings(
    light: Light, rings: PowderRings, rng: np.random.Generator, texture: Texture = EVEN
) -> None:
    """Add rings of FWHM 1 to 8 pixels whose heights are some times the noise of the light."""
    width = log_uniform(rng, 1, 8) / FWHM
    heights = rings.weights / np.maximum(rings.radii_px, 1)
    height = log_uniform(rng, 0.5, 200) * math.sqrt(light.base)
    heights = heights * min(height, MAX_PHOTONS) / heights.max(initial=1e-12)
    profile = _profile(rings.radii_px, heights, width)
    light.add_radial(profile, texture, rings.center_px)


def draw_grains(
    rings: PowderRings,
    rng: np.random.Generator,
    shape: tuple[int, int],
    shadows: Array,
    texture: Texture = EVEN,
) -> Spots:
    """Return 10 to 3,000 grains on the canvas, of exponential brightness, in units of nothing.

    They are as wide as crystals' spots, drawn out along the ring in half of the cases; they do not
    lie in deep shadows, and not so dense that the ring is smooth. None where no ring can be seen.
    """
    azimuth, arc_px = _AZIMUTH, _arc_px(rings, shape, shadows)
    chance = (arc_px / rings.radii_px[:, None] * rings.weights[:, None]).ravel()
    chance *= np.tile(texture.at(azimuth), len(rings.radii_px))
    total = chance.sum()
    count = round(log_uniform(rng, 10, 3000))
    count = min(count, max(10, int(arc_px.sum() / _GRAIN_PX)))
    if total > 0:
        chance /= total
    else:
        count = 0
    which = rng.choice(len(chance), count, p=chance) if count else np.zeros(0, np.intp)
    around = azimuth[which % _ANGLES] + rng.uniform(-np.pi, np.pi, count) / _ANGLES
    spread = log_uniform(rng, 0.1, 2.5)
    radius = rings.radii_px[which // _ANGLES] + spread * rng.standard_normal(count)
    width = log_uniform(rng, 0.3, 4) / FWHM * np.exp(rng.normal(0, 0.15, count))
    arc = rng.exponential(log_uniform(rng, 1, 8), count) if rng.random() < 1 / 3 else 0.0
    along2 = width**2 + np.minimum(arc, 40.0) ** 2
    sin, cos = np.sin(around), np.cos(around)
    covariance = np.stack(
        [
            width**2 * sin**2 + along2 * cos**2,
            width**2 * cos**2 + along2 * sin**2,
            (width**2 - along2) * sin * cos,
        ],
        axis=1,
    )
    return Spots(
        slow=rings.center_px[0] + radius * sin,
        fast=rings.center_px[1] + radius * cos,
        photons=rng.exponential(1.0, count),
        covariance=covariance,
        blobs=ONE_BLOB,
    )


def _arc_px(rings: PowderRings, shape: tuple[int, int], shadows: Array) -> Array:
    """Return the length of rings at each angle that is on a canvas and not in shadow, (n, 720)."""
    slow = rings.center_px[0] + rings.radii_px[:, None] * np.sin(_AZIMUTH)
    fast = rings.center_px[1] + rings.radii_px[:, None] * np.cos(_AZIMUTH)
    seen = (slow >= 0) & (slow < shape[0]) & (fast >= 0) & (fast < shape[1])
    seen &= (transmission(shadows, slow.ravel(), fast.ravel()) > 0.5).reshape(seen.shape)
    return seen * (rings.radii_px[:, None] * 2 * np.pi / _ANGLES)


def add_grains(light: Light, grains: Spots, canvas: Canvas, rng: np.random.Generator) -> None:
    """Add grains so bright that k of them have a signal-to-noise ratio of 7.

    k is log-uniform between a quarter of them, at least 8, and 600 or all.
    """
    if len(grains) == 0:
        return
    wanted = count_wanted(rng, len(grains), least=len(grains) // 4)

    def painter(image: Float) -> None:
        needed = grains.clear_photons(image, canvas)
        grains.brighter(factor_for(grains.photons, needed, wanted)).add_to(image)

    light.add_painter(painter)


def count_wanted(rng: np.random.Generator, number: int, least: int = 8) -> int:
    """Return how many spots of a number are to be clear: log-uniform from 8 or more to 600."""
    least, most = max(8, least), max(8, min(number, 600))
    return min(number, round(log_uniform(rng, min(least, most), most)))


def diamond(light: Light, canvas: Canvas, rng: np.random.Generator) -> None:
    """Add a diamond anvil cell: strong gradients, and 5 to 20 large misshapen spots with tails."""
    slow, fast = light.grid()
    size = max(light.shape)
    for _ in range(rng.integers(1, 4)):
        angle, at = rng.uniform(0, 2 * math.pi), rng.normal(0, 0.25, 2) * size
        along = (slow - at[0]) * math.sin(angle) + (fast - at[1]) * math.cos(angle)
        across = (slow - at[0]) * math.cos(angle) - (fast - at[1]) * math.sin(angle)
        wide, long = log_uniform(rng, 0.05, 0.5) * size, log_uniform(rng, 0.1, 1) * size
        cone = np.exp(-0.5 * ((across / wide) ** 2 + (along / long) ** 2))
        light.add_smooth(light.base * log_uniform(rng, 1, 30) * cone)
    for _ in range(rng.integers(5, 21)):
        spot, bright = _diamond_spot(rng, light.shape), log_uniform(rng, *_DIAMOND_SNR)

        def painter(image: Float, spot: Spots = spot, bright: float = bright) -> None:
            needed = spot.clear_photons(image, canvas)
            spot.brighter(needed * bright / CLEAR).add_to(image)

        light.add_painter(painter)


def _diamond_spot(rng: np.random.Generator, shape: tuple[int, int]) -> Spots:
    sigma = log_uniform(rng, 1.5, 12)
    count = int(rng.integers(2, 6))
    blobs = np.stack(
        [
            *(rng.normal(0, 1.2, (2, count)) * sigma),
            rng.dirichlet(np.ones(count)),
            rng.uniform(0.4, 1.2, count),
        ],
        axis=1,
    )
    tail = rng.uniform(0.1, 0.5)
    blobs[:, 2] *= 1 - tail
    blobs = np.vstack([blobs, [0.0, 0.0, tail, rng.uniform(2, 5)]])
    angle, longer = rng.uniform(0, math.pi), log_uniform(rng, 1, 4)
    sin, cos = math.sin(angle), math.cos(angle)
    covariance = sigma**2 * np.array(
        [
            sin**2 * longer**2 + cos**2,
            cos**2 * longer**2 + sin**2,
            (longer**2 - 1) * sin * cos,
        ]
    )
    slow, fast = rng.uniform(0, 1, 2) * shape
    return Spots(
        slow=np.array([slow]),
        fast=np.array([fast]),
        photons=np.ones(1),
        covariance=covariance[None, :],
        blobs=blobs,
    )


def powder(
    light: Light, rings: PowderRings, canvas: Canvas, rng: np.random.Generator, *, form: str
) -> None:
    """Add a powder: "smooth", "arcs" (textured) or "grains", some of these over smooth rings."""
    if len(rings.radii_px) == 0:
        return
    texture = draw_texture(rng, 1.0 if form == "arcs" else 1 / 4, 60.0)
    if form != "grains":
        add_smooth_rings(light, rings, rng, texture)
        return
    if rng.random() < 1 / 4:
        add_smooth_rings(light, rings, rng, texture)
    add_grains(light, draw_grains(rings, rng, light.shape, light.shadows, texture), canvas, rng)


def _profile(radii: Array, heights: Array, width: float) -> Callable[[Array], Array]:
    """Return a function of the radius: the sum of Gaussians."""

    def photons(r: Array) -> Array:
        total = np.zeros_like(r)
        for radius, height in zip(radii, heights, strict=True):
            first, last = np.searchsorted(r, [radius - 5 * width, radius + 5 * width])
            total[first:last] += height * np.exp(-0.5 * ((r[first:last] - radius) / width) ** 2)
        return total

    return photons


def _seen_radii(center_px: tuple[float, float], shape: tuple[int, int]) -> tuple[float, float]:
    """Return the radii between which a canvas lies, (nearest, farthest)."""
    near = [max(-c, c - n, 0.0) for c, n in zip(center_px, shape, strict=True)]
    return math.hypot(*near), farthest_px(center_px, shape)
