"""What is in the beam of one frame: crystals or none, and all other light, in expected photons.

Which kinds of light there are, how often and how bright, is empirical and as broad as frames are;
hits and misses draw the same light with the same chances, but for strong rings, which are rarer
where a crystal is.
"""

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from deepfreak.datasets.randomised import powders, stray_light
from deepfreak.datasets.randomised.crystals import Lattice, bragg_spots
from deepfreak.datasets.randomised.geometry import Geometry, log_uniform
from deepfreak.datasets.randomised.light import (
    DISC,
    NO_SHADOWS,
    Light,
    transmission,
)
from deepfreak.datasets.randomised.setup import Setup
from deepfreak.datasets.randomised.spots import (
    ONE_BLOB,
    Spots,
    factor_for,
    joined,
)
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
_EMPTY_PHOTONS = 0.0005, 0.01

_MIN_SPOTS, _ATTEMPTS = 16, 8
_MARGIN_PX = 30.0
_MIN_PHOTONS = 0.01
_MAX_PHOTONS = 1e4, 1e7  # of a frame's brightest spot, at most
_MAX_DIFFUSE = 400


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Scene:
    """Expected photons of one frame, before the detector."""

    kind: str  # "crystal", "dark", "nearly empty", "smooth", or a key of `HARD_KINDS`
    tags: tuple[str, ...]  # all that was drawn, for tables
    background: Float  # (slow, fast) expected photons of everything but the crystals' spots
    spots: Spots | None  # the crystals', shadows taken off; None without a crystal
    # How many spots have an expected signal-to-noise ratio of 7, as `Spots.clear_photons` says
    clear: int
    geometry: Geometry


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
        rings = powders.draw_material(rng, setup.geometry, names, shape, min_rings=3)
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
        if np.count_nonzero(spots.inside(canvas.shape)) >= _MIN_SPOTS:
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
    brightest = log_uniform(rng, *_MAX_PHOTONS)
    factor = min(factor, max(brightest, needed.min()) / spots.photons[inside].max())
    spots = spots.brighter(factor)
    clear = int(np.count_nonzero(spots.photons[inside] >= (1 - 1e-9) * needed[inside]))
    if rng.random() < 1 / 4 and "diffuse spots" not in without:
        _diffuse(rng, spots).add_to(background)
        tags.append("diffuse spots")
    near = (spots.slow > -_MARGIN_PX) & (spots.slow < canvas.shape[0] + _MARGIN_PX)
    near &= (spots.fast > -_MARGIN_PX) & (spots.fast < canvas.shape[1] + _MARGIN_PX)
    return spots.chosen(near & (spots.photons > _MIN_PHOTONS)), clear, tags


def _oriented(rng: np.random.Generator, setup: Setup, lattice: Lattice) -> Spots:
    """Return the spots of a randomly oriented crystal, sometimes of slightly misoriented pieces."""
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
