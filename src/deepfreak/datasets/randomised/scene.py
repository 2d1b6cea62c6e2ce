"""What is in the beam of one frame: crystals or none, and all other light, in expected photons.

Which kinds of light there are, how often and how bright, is empirical and as broad as frames are;
hits and misses draw the same light with the same chances, but for strong rings, which are rarer
where a crystal is.
"""

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from deepfreak.datasets.randomised import amplitudes, powders, stray_light
from deepfreak.datasets.randomised.chance import log_uniform
from deepfreak.datasets.randomised.crystals import Lattice, bragg_spots
from deepfreak.datasets.randomised.geometry import Geometry, farthest_px
from deepfreak.datasets.randomised.shadows import (
    DISC,
    NO_SHADOWS,
    draw_shadows,
    transmission,
)
from deepfreak.datasets.randomised.spots import (
    FWHM,
    ONE_BLOB,
    Canvas,
    Spots,
    factor_for,
    joined,
)
from deepfreak.datasets.randomised.stray_light import Light
from deepfreak.physics.crystal import random_orientation, rotation_about

Array = NDArray[np.float64]
Float = NDArray[np.float32]

CRYSTAL, DARK, NEARLY_EMPTY, SMOOTH = "crystal", "dark", "nearly empty", "smooth"
# Of misses: each hard kind's share of the hard ones.
HARD_KINDS = {
    "grains": 0.42,
    "ice": 0.13,
    "rings": 0.08,
    "arcs": 0.10,
    "calibrant": 0.11,
    "diamond": 0.08,
    "fibre": 0.08,
}
_RIM_SHARE = 0.15  # of beamstops
HARD_SHARE = 0.45  # of misses
RINGS_UNDER_CRYSTALS = {"ice": 0.6, "grains": 0.2, "rings": 0.2}
RINGS_UNDER_CRYSTALS_SHARE = 0.15  # of hits
_DARK_SHARE, _EMPTY_SHARE = 0.07, 0.08  # of misses; of hits both are nearly empty
# Shares of frames that show each kind of light, drawn by itself.
CLEAN_KINDS = {
    "solvent": (0.35, stray_light.solvent),
    "halo": (0.35, stray_light.halo),
    "streak": (0.12, stray_light.streak),
    "tube": (0.08, stray_light.tube),
    "shading": (0.15, stray_light.shading),
    "moire": (0.03, stray_light.moire),
}
_PHOTONS_A_PIXEL = (0.01, 100.0), (0.001, 0.01), (100.0, 3000.0)
_LEVEL_SHARES = 0.8, 0.1, 0.1
_EMPTY_PHOTONS = 0.0005, 0.01

_WAVELENGTHS_A = 0.4, 2.3
_STEEPEST_CORNER_DEG = 70.0
_SMALL_SHARE = 0.25
_CORNER_D_MIN_A, _SMALL_CORNER_D_MIN_A, _LONG_CORNER_D_MIN_A = (1.3, 5.0), (0.55, 1.6), (5.0, 12.0)
_CLOSEST_SPOTS_PX = 5.0
_EDGES_A, _SMALL_EDGES_A = (35.0, 300.0), (6.0, 40.0)
_REFLECTIONS, _SMALL_REFLECTIONS = (80, 2500), (15, 200)
_FEWEST_SPOTS, _ATTEMPTS = 16, 8
_MARGIN_PX = 30.0
_FAINTEST_PHOTONS = 0.01
_BRIGHTEST_PHOTONS = 1e4, 1e7  # of a frame's brightest spot, at most
_MAX_DIFFUSE = 400

# Cells: system, share, centrings, and what becomes of three edges and angles.
_SYSTEMS = (
    (amplitudes.TRICLINIC, 0.12, "P"),
    (amplitudes.MONOCLINIC, 0.25, "PPC"),
    (amplitudes.ORTHORHOMBIC, 0.28, "PPPCIF"),
    (amplitudes.TETRAGONAL, 0.15, "PPI"),
    (amplitudes.HEXAGONAL, 0.12, "P"),
    (amplitudes.CUBIC, 0.08, "PIF"),
)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Setup:
    """What a block of frames shares.

    Attributes
    ----------
    lattice
        The crystals' form and quality.
    q_max
        1/d in 1/A at the farthest corner.
    level
        Photons a pixel, about.
    shadows
        As `shadows.draw_shadows` returns them.
    """

    canvas: Canvas
    geometry: Geometry
    lattice: Lattice
    q_max: float
    level: float
    shadows: Array


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Scene:
    """Expected photons of one frame, before the detector.

    Attributes
    ----------
    kind
        "crystal", "dark", "nearly empty", "smooth", or a key of `HARD_KINDS`.
    tags
        All that was drawn, for tables.
    background
        (slow, fast) expected photons of everything but the crystals' spots.
    spots
        The crystals', shadows taken off; None without a crystal.
    clear
        How many spots have an expected signal-to-noise ratio of 7, as `Spots.clear_photons` says.
    """

    kind: str
    tags: tuple[str, ...]
    background: Float
    spots: Spots | None
    clear: int
    geometry: Geometry


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
    steepest = 2 * d_min_A * math.sin(math.radians(_STEEPEST_CORNER_DEG) / 2)
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


def draw_scene(
    rng: np.random.Generator,
    setup: Setup,
    *,
    crystal: bool,
    without: frozenset[str] = frozenset(),
) -> Scene:
    """Draw what is in the beam of one frame, with a crystal or without.

    `without` leaves out light by its tag: keys of `CLEAN_KINDS`, "rim", "shadows" and "diffuse
    spots", without which all else stays as it was; and keys of `HARD_KINDS`, in whose place others
    come.
    """
    canvas = setup.canvas
    kind_rng, light_rng, spots_rng = rng.spawn(3)
    kind, empty, hard = _draw_kind(kind_rng, crystal=crystal, without=without)
    level = setup.level * log_uniform(kind_rng, 0.5, 2)
    if empty:
        level = 0.0 if kind == DARK else log_uniform(kind_rng, *_EMPTY_PHOTONS)
    shadows = NO_SHADOWS if "shadows" in without or kind == DARK else setup.shadows
    light = Light(
        shape=canvas.shape,
        center_px=setup.geometry.beam_center_px,
        level=level,
        shadows=shadows,
    )
    tags = [] if kind == DARK else _add_light(light, light_rng, setup, hard, empty, without)
    if len(shadows):
        tags.append("shadows")
    if empty and crystal:
        tags.append(NEARLY_EMPTY)
    background = light.paint()
    spots, clear = None, 0
    if crystal:
        spots, clear, more = _draw_spots(spots_rng, setup, background, shadows, without)
        tags += more
    return Scene(
        kind=kind,
        tags=tuple(tags),
        background=background,
        spots=spots,
        clear=clear,
        geometry=setup.geometry,
    )


def _draw_kind(
    rng: np.random.Generator, *, crystal: bool, without: frozenset[str]
) -> tuple[str, bool, str | None]:
    """Return a scene's kind, whether it is an empty one, and the hard light in it."""
    emptiness, hardness, which = rng.random(3)
    kinds = RINGS_UNDER_CRYSTALS if crystal else HARD_KINDS
    share = RINGS_UNDER_CRYSTALS_SHARE if crystal else HARD_SHARE / (1 - _DARK_SHARE - _EMPTY_SHARE)
    kinds = {name: chance for name, chance in kinds.items() if name not in without}
    empty = emptiness < _DARK_SHARE + _EMPTY_SHARE
    hard = None
    if kinds and not empty and hardness < share:
        bounds = np.cumsum(list(kinds.values()))
        hard = list(kinds)[int(np.searchsorted(bounds, which * bounds[-1], side="right"))]
    if crystal:
        return CRYSTAL, empty, hard
    if empty:
        return (DARK if emptiness < _DARK_SHARE else NEARLY_EMPTY), True, None
    return hard or SMOOTH, False, hard


def _add_light(
    light: Light,
    rng: np.random.Generator,
    setup: Setup,
    hard: str | None,
    empty: bool,
    without: frozenset[str],
) -> list[str]:
    """Add all light but the crystals' spots; return its tags."""
    tags = []
    stray_light.level(light, rng)
    for (name, (share, add)), own in zip(
        CLEAN_KINDS.items(), rng.spawn(len(CLEAN_KINDS)), strict=True
    ):
        wanted = own.random() < (share / 4 if empty else share)
        if wanted and name not in without:
            add(light, own)
            tags.append(name)
    if len(setup.shadows) and setup.shadows[0, 0] == DISC and "rim" not in without:
        own = rng.spawn(1)[0]
        if own.random() < _RIM_SHARE:
            slow, fast, radius = setup.shadows[0, [1, 2, 5]].tolist()
            stray_light.rim(light, own, (slow, fast), radius)
            tags.append("rim")
    if hard is not None:
        tags += _add_hard(light, rng, setup, hard)
    return tags


def _add_hard(light: Light, rng: np.random.Generator, setup: Setup, kind: str) -> list[str]:
    """Add one kind of hard light; return its tags."""
    if kind == "diamond":
        powders.diamond(light, setup.canvas, rng)
        return [kind]
    if kind == "fibre":
        stray_light.layer_lines(light, rng)
        if rng.random() < 1 / 2:
            stray_light.streak(light, rng)
        return [kind]
    form, rings, shape = "smooth", None, setup.canvas.shape
    if kind == "ice":
        rings = powders.draw_material(rng, setup.geometry, tuple(powders.ICE), shape)
        form = "grains" if rng.random() < 2 / 3 else "smooth"
    elif kind == "calibrant":
        names = ("AgBh", *powders.CALIBRANTS)
        rings = powders.draw_material(rng, setup.geometry, names, shape, fewest=3)
        form = "grains" if rng.random() < 1 / 4 else "smooth"
    else:
        form = {"grains": "grains", "arcs": "arcs", "rings": "smooth"}[kind]
    if rings is None:  # or the frame sees none of them
        rings = powders.draw_rings(rng, setup.geometry, shape)
    powders.powder(light, rings, setup.canvas, rng, form=form)
    return [kind, rings.name, f"{form} powder"]


def _draw_spots(
    rng: np.random.Generator,
    setup: Setup,
    background: Float,
    shadows: Array,
    without: frozenset[str],
) -> tuple[Spots, int, list[str]]:
    """Return a crystal's spots, how many are clear, and tags; add diffuse light beneath."""
    canvas = setup.canvas
    lattice, tags = _shaped(rng, setup.lattice)
    spots = _oriented(rng, setup, lattice)
    for attempt in range(_ATTEMPTS):
        if np.count_nonzero(spots.inside(canvas.shape)) >= _FEWEST_SPOTS:
            break
        wider = 2 ** (attempt // 2)
        lattice = replace(lattice, mosaic_rms_deg=wider * lattice.mosaic_rms_deg)
        spots = _oriented(rng, setup, lattice)
    weights = [1.0]
    while len(weights) < 3 and rng.random() < 1 / 4:
        weights.append(log_uniform(rng, 0.1, 1))
    if len(weights) > 1:
        tags.append(f"{len(weights)} lattices")
    parts = [spots, *(_oriented(rng, setup, lattice).brighter(each) for each in weights[1:])]
    spots = joined(parts)
    spots = spots.brighter(transmission(shadows, spots.slow, spots.fast))
    inside = spots.inside(canvas.shape) & (spots.photons > 0)
    if not inside.any():
        return spots.chosen(inside), 0, tags
    needed = spots.clear_photons(background, canvas)
    wanted = powders.count_wanted(rng, int(np.count_nonzero(inside)))
    factor = factor_for(spots.photons[inside], needed[inside], wanted)
    brightest = log_uniform(rng, *_BRIGHTEST_PHOTONS)
    factor = min(factor, max(brightest, needed.min()) / spots.photons[inside].max())
    spots = spots.brighter(factor)
    clear = int(np.count_nonzero(spots.photons[inside] >= (1 - 1e-9) * needed[inside]))
    if rng.random() < 1 / 4 and "diffuse spots" not in without:
        _diffuse(rng, spots).add_to(background)
        tags.append("diffuse spots")
    near = (spots.slow > -_MARGIN_PX) & (spots.slow < canvas.shape[0] + _MARGIN_PX)
    near &= (spots.fast > -_MARGIN_PX) & (spots.fast < canvas.shape[1] + _MARGIN_PX)
    return spots.chosen(near & (spots.photons > _FAINTEST_PHOTONS)), clear, tags


def _oriented(rng: np.random.Generator, setup: Setup, lattice: Lattice) -> Spots:
    """Return the spots of a crystal anyhow turned, at times split into pieces a bit apart."""
    orientation, turn_axis = random_orientation(rng), rng.uniform(0, math.pi)
    pieces = int(rng.integers(2, 4)) if rng.random() < 0.12 else 1
    parts = []
    for piece in range(pieces):
        turned, weight = orientation, 1.0
        if piece:
            axis, angle = rng.standard_normal(3), math.radians(log_uniform(rng, 0.1, 1.5))
            turned, weight = rotation_about(axis, angle) @ orientation, rng.uniform(0.2, 1)
        spots, _ = bragg_spots(lattice, setup.geometry, turned, turn_axis, setup.q_max)
        parts.append(spots.brighter(weight))
    return joined(parts)


def _diffuse(rng: np.random.Generator, spots: Spots) -> Spots:
    """Return broad light about the brightest spots."""
    brightest = spots.chosen(np.argsort(-spots.photons)[:_MAX_DIFFUSE])
    added = np.array([1.0, 1.0, 0.0]) * log_uniform(rng, 2, 12) ** 2
    factor = rng.uniform(1, 3) ** 2
    return replace(
        brightest.brighter(log_uniform(rng, 0.05, 1)),
        covariance=brightest.covariance * factor + added,
        blobs=ONE_BLOB,
    )


def _shaped(rng: np.random.Generator, lattice: Lattice) -> tuple[Lattice, list[str]]:
    """Return a lattice whose spots have a frame's own width and shape, and tags."""
    tags = []
    changed = replace(lattice, width_px=lattice.width_px * math.exp(rng.normal(0, 0.1)))
    chance = rng.random()
    if chance < 0.12:
        count = int(rng.integers(2, 5))
        apart = log_uniform(rng, 0.5, 4)
        blobs = np.stack(
            [
                *rng.normal(0, apart, (2, count)),
                rng.dirichlet(np.full(count, 2.0)),
                rng.uniform(0.6, 1.6, count),
            ],
            axis=1,
        )
        blobs[:, :2] -= blobs[:, 2] @ blobs[:, :2]
        changed = replace(changed, blobs=blobs)
        tags.append("blobs")
    elif chance < 0.3:
        tail = rng.uniform(0.05, 0.5)
        blobs = np.array([[0, 0, 1 - tail, 1], [0, 0, tail, rng.uniform(1.5, 4)]], np.float64)
        changed = replace(changed, blobs=blobs)
        tags.append("tails")
    if rng.random() < 0.1:
        angle, length = rng.uniform(0, math.pi), log_uniform(rng, 1, 3)
        stretch = (length * math.sin(angle), length * math.cos(angle))
        changed = replace(changed, stretch=stretch)
        tags.append("streaked")
    return changed, tags


def _draw_lattice(
    rng: np.random.Generator, q_max: float, corner_px: float, wavelength_A: float, *, small: bool
) -> Lattice:
    """Return a crystal whose spots do not run together and are as many as is drawn, if it can.

    The mosaic spread is what gives that number; a turn is added where it would be too wide.
    """
    cell, system, centring = _draw_cell(rng, corner_px / (_CLOSEST_SPOTS_PX * q_max), small=small)
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
    if system in {amplitudes.TETRAGONAL, amplitudes.HEXAGONAL}:
        edges[1] = edges[0]
    elif system == amplitudes.CUBIC:
        edges[:] = edges[0]
    edges *= min(1.0, most / edges.max())
    angles = np.full(3, 90.0)
    if system == amplitudes.TRICLINIC:
        angles = rng.uniform(75, 105, 3)
    elif system == amplitudes.MONOCLINIC:
        angles[1] = rng.uniform(90, 120)
    elif system == amplitudes.HEXAGONAL:
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
