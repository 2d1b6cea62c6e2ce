"""What a block of frames shares: the beam and its place, the form of the crystals, the shadows.

The ranges are empirical, as broad as frames are.
"""

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from deepfreak.datasets.randomised.crystals import (
    CUBIC,
    HEXAGONAL,
    MONOCLINIC,
    ORTHORHOMBIC,
    TETRAGONAL,
    TRICLINIC,
    Lattice,
)
from deepfreak.datasets.randomised.geometry import Geometry, farthest_px, log_uniform
from deepfreak.datasets.randomised.light import draw_shadows
from deepfreak.datasets.randomised.spots import FWHM, ONE_BLOB, Canvas

Array = NDArray[np.float64]

_PHOTONS_A_PIXEL = (0.01, 100.0), (0.001, 0.01), (100.0, 3000.0)
_LEVEL_SHARES = 0.8, 0.1, 0.1
_WAVELENGTHS_A = 0.4, 2.3
_MAX_CORNER_DEG = 70.0
_SMALL_SHARE = 0.25
_CORNER_D_MIN_A, _SMALL_CORNER_D_MIN_A, _LONG_CORNER_D_MIN_A = (1.3, 5.0), (0.55, 1.6), (5.0, 12.0)
_MIN_APART_PX = 5.0
_EDGES_A, _SMALL_EDGES_A = (35.0, 300.0), (6.0, 40.0)
_REFLECTIONS, _SMALL_REFLECTIONS = (80, 2500), (15, 200)

# Of cells: system, share, centrings.
_SYSTEMS = (
    (TRICLINIC, 0.12, "P"),
    (MONOCLINIC, 0.25, "PPC"),
    (ORTHORHOMBIC, 0.28, "PPPCIF"),
    (TETRAGONAL, 0.15, "PPI"),
    (HEXAGONAL, 0.12, "P"),
    (CUBIC, 0.08, "PIF"),
)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Setup:
    """What a block of frames shares."""

    canvas: Canvas
    geometry: Geometry
    lattice: Lattice  # the crystals' form and quality
    q_max: float  # 1/d in 1/A at the farthest corner
    level: float  # photons a pixel, about
    shadows: Array  # as `light.draw_shadows` returns them


def draw_setup(rng: np.random.Generator, canvas: Canvas) -> Setup:
    """Draw what a block of frames shares."""
    small = rng.random() < _SMALL_SHARE
    center = _beam_center(rng, canvas.shape)
    corner_px = farthest_px(center, canvas.shape)
    if small:
        d_min_A = log_uniform(rng, *_SMALL_CORNER_D_MIN_A)
    else:
        limits = _LONG_CORNER_D_MIN_A if rng.random() < 1 / 10 else _CORNER_D_MIN_A
        d_min_A = log_uniform(rng, *limits)
    steepest = 2 * d_min_A * math.sin(math.radians(_MAX_CORNER_DEG) / 2)
    wavelength_A = min(log_uniform(rng, *_WAVELENGTHS_A), steepest)
    two_theta = 2 * math.asin(wavelength_A / (2 * d_min_A))
    geometry = Geometry(
        wavelength_A=wavelength_A,
        distance_mm=corner_px * canvas.pixel_mm / math.tan(two_theta),
        pixel_mm=canvas.pixel_mm,
        beam_center_px=center,
        polarization=float(rng.choice([0.0, 0.99, 0.99, -0.99])),
    )
    low, high = _PHOTONS_A_PIXEL[rng.choice(3, p=_LEVEL_SHARES)]
    return Setup(
        canvas=canvas,
        geometry=geometry,
        lattice=_draw_lattice(rng, 1 / d_min_A, corner_px, wavelength_A, small=small),
        q_max=1 / d_min_A,
        level=log_uniform(rng, low, high),
        shadows=draw_shadows(rng, canvas.shape, center),
    )


def _draw_lattice(
    rng: np.random.Generator, q_max: float, corner_px: float, wavelength_A: float, *, small: bool
) -> Lattice:
    """Return a crystal whose spots do not run together and are as many as is drawn, if it can.

    The mosaic spread is what gives that number; a turn is added where it would be too wide.
    """
    cell, system, centring = _draw_cell(rng, corner_px / (_MIN_APART_PX * q_max), small=small)
    reach = rng.choice(3, p=[0.45, 0.4, 0.15])
    # spots to the edge, not so far, or low resolution only
    limit_A = log_uniform(rng, *((0.5, 1.0), (1.0, 2.5), (2.5, 6.0))[reach]) / q_max
    smeared_px = log_uniform(rng, 0.3, 3) if rng.random() < 0.85 else log_uniform(rng, 3, 10)
    widest_deg = math.degrees(smeared_px / corner_px)
    band = rng.random()
    bandwidth = 1e-4 if band < 0.6 else log_uniform(rng, 1e-3, 6e-3)
    if band > 0.9:
        bandwidth = log_uniform(rng, 6e-3, 2e-2)
    lattice = Lattice(
        cell=cell,
        system=system,
        centring=centring,
        seed=int(rng.integers(2**63)),
        is_centric=small and rng.random() < 1 / 2,
        has_solvent=not small,
        B_A2=8 * limit_A**2,
        mosaic_rms_deg=widest_deg,
        domain_A=log_uniform(rng, 500, 10_000),
        bandwidth_rms=bandwidth / FWHM,
        turn_deg=log_uniform(rng, 0.1, 1) if rng.random() < 1 / 3 else 0.0,
        width_px=log_uniform(rng, 0.3, 4),
        stretch=(0.0, 0.0),
        blobs=ONE_BLOB,
    )
    wanted = log_uniform(rng, *(_SMALL_REFLECTIONS if small else _REFLECTIONS))
    q = min(q_max, 1 / limit_A)
    low, high = math.log(widest_deg / 100), math.log(widest_deg)
    for _ in range(12):
        middle = (low + high) / 2
        tried = replace(lattice, mosaic_rms_deg=math.exp(middle))
        enough = tried.expected_number(q, wavelength_A) > wanted
        low, high = (low, middle) if enough else (middle, high)
    lattice = replace(lattice, mosaic_rms_deg=math.exp(high))
    found = lattice.expected_number(q, wavelength_A)
    if found < wanted and (small or rng.random() < 1 / 2):
        swept = replace(lattice, turn_deg=lattice.turn_deg + 1).expected_number(q, wavelength_A)
        more_deg = min((wanted - found) / (swept - found), 15.0 if small else 1.0)
        lattice = replace(lattice, turn_deg=lattice.turn_deg + more_deg)
    return lattice


def _draw_cell(
    rng: np.random.Generator, longest_A: float, *, small: bool
) -> tuple[tuple[float, float, float, float, float, float], int, str]:
    """Return a cell in A and degrees, its system and centring; no edge exceeds `longest_A`."""
    system, _, centrings = _SYSTEMS[rng.choice(len(_SYSTEMS), p=[each[1] for each in _SYSTEMS])]
    least, most = _SMALL_EDGES_A if small else _EDGES_A
    most = max(min(most, longest_A), 5.0)
    edges = log_uniform(rng, min(least, most / 2), most) * np.exp(rng.uniform(-0.4, 0.4, 3))
    if system in {TETRAGONAL, HEXAGONAL}:
        edges[1] = edges[0]
    elif system == CUBIC:
        edges[:] = edges[0]
    edges *= min(1.0, most / edges.max())
    angles = np.full(3, 90.0)
    if system == TRICLINIC:
        angles = rng.uniform(75, 105, 3)
    elif system == MONOCLINIC:
        angles[1] = rng.uniform(90, 120)
    elif system == HEXAGONAL:
        angles[2] = 120.0
    a, b, c = edges.tolist()
    alpha, beta, gamma = angles.tolist()
    return (a, b, c, alpha, beta, gamma), system, centrings[rng.integers(len(centrings))]


def _beam_center(rng: np.random.Generator, shape: tuple[int, int]) -> tuple[float, float]:
    """Return where the beam meets the canvas: near the middle, anywhere (15 %), off it (6 %)."""
    size, chance = np.array(shape, np.float64), rng.random()
    if chance < 0.06:
        place = rng.uniform(-0.3, 1.3, 2) * size
        side = rng.integers(2)
        beyond = rng.uniform(0, 0.3)
        place[side] = size[side] * (1 + beyond if rng.random() < 1 / 2 else -beyond)
    elif chance < 0.21:
        place = rng.uniform(0, 1, 2) * size
    else:
        place = size / 2 + rng.normal(0, 0.04, 2) * size.max()
    return float(place[0]), float(place[1])
