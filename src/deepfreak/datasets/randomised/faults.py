"""What is wrong with a device: maps that stay the same for a run of frames.

None of it knows whether a crystal is in the beam.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from deepfreak.datasets.randomised.modules import PlacedModules

Float = NDArray[np.float32]
Places = NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Nuisances:
    """Which nuisances devices and frames have; each can be left out without changing the others."""

    hot_pixels: bool = True  # 0 to 1000 pixels, and rarely small clusters, with light of their own
    # dead_pixels, noisy_pixels, warm_lines: pixels without any, with changing light, rows and
    # columns with a little light
    dead_pixels: bool = True
    noisy_pixels: bool = True
    warm_lines: bool = True
    steps: bool = True  # of chips and quadrants (3 to 20 counts), of each frame too: common mode
    edge_rows: bool = True  # brighter pixels along chips' borders
    row_noise: bool = True  # of each frame
    structured_pedestal: bool = True  # smooth structure, columns and glow without light
    wrong_flat: bool = True  # sensitivity that no calibration took away
    # tilted_modules, gain_switching: of detectors that have them
    tilted_modules: bool = True
    gain_switching: bool = True
    negative_tails: bool = True  # pixels far below the pedestal, of detectors that integrate
    # zingers, tracks: in each frame, lone events, lines and blobs of charged particles
    zingers: bool = True
    tracks: bool = True


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Faults:
    """Maps and lists of one device, in the frame's shape or its flattened places."""

    flat: Float  # light that a pixel measures over what falls on it; 0 in gaps and dead pixels
    static: Float  # counts without light, pedestal and all
    # gaps, dead: places without any measurement
    gaps: Places
    dead: Places
    # hot, hot_photons, stuck: hot pixels, their light, and whether it is the same in each frame
    hot: Places
    hot_photons: Float
    stuck: bool
    # noisy, noisy_photons: pixels with light that changes, and how much
    noisy: Places
    noisy_photons: Float
    known_bad: Places  # those of `dead`, `hot` and `noisy` that the device's mask knows
    chips: int  # one more than the largest chip
    # step_rms, row_rms: of each frame, in counts
    step_rms: float
    row_rms: float
    # zingers, tracks: expected number in a frame
    zingers: float
    tracks: float
    tails: float  # share of pixels far below the pedestal in each frame


def draw_faults(
    placed: PlacedModules,
    *,
    counting: bool,
    gain: float,
    noise: float,
    pedestal: float,
    top: float,
    quadrants: bool,
    nuisances: Nuisances,
    seed: int,
) -> Faults:
    """Return what is wrong with a device; `noise` is the RMS of read-out in counts."""
    own = {
        name: np.random.default_rng([seed, n])
        for n, name in enumerate(Nuisances.__dataclass_fields__)
    }
    shape = placed.chip.shape
    chips = int(placed.chip.max()) + 1
    flat = np.ones(shape, dtype=np.float32)
    static = np.full(shape, pedestal, dtype=np.float32)
    unit = max(noise, 0.3 * gain)  # counts that can be seen
    # 3 to 20 counts, but no more than a few sigma of devices with few counts a photon
    step, step_rms = _steps(own["steps"], unit) if nuisances.steps and not counting else (0.0, 0.0)
    if step > 0:
        static += (step * own["steps"].standard_normal(chips).astype(np.float32))[placed.chip]
    if nuisances.structured_pedestal and not counting:
        _add_structure(static, own["structured_pedestal"], unit)
    if nuisances.wrong_flat:
        _spoil_flat(flat, placed, chips, own["wrong_flat"], quadrants=quadrants)
    if nuisances.edge_rows:
        _brighten_edges(flat, static, placed, own["edge_rows"], 0.0 if counting else unit)
    light = np.zeros(shape, dtype=np.float32)
    if nuisances.warm_lines:
        _warm_lines(light, own["warm_lines"])
    inside = np.flatnonzero(placed.chip.reshape(-1))
    hot, heights, stuck = (np.zeros(0, np.int64), np.zeros(0, np.float32), False)
    if nuisances.hot_pixels:
        hot, heights, stuck = _hot(own["hot_pixels"], inside, shape, top / gain)
    dead = noisy = np.zeros(0, np.int64)
    if nuisances.dead_pixels:
        dead = _some(own["dead_pixels"], inside, 300)
    if nuisances.noisy_pixels:
        noisy = _some(own["noisy_pixels"], inside, 100)
    jumps = own["noisy_pixels"].uniform(0.5, 5, len(noisy)) * max(noise / gain, 1.0)
    flat[placed.chip == 0] = 0
    flat.reshape(-1)[dead] = 0
    static += light * np.float32(gain)
    rng = own["row_noise"]
    has_rows = nuisances.row_noise and not counting and rng.random() < 0.3
    knows = own["dead_pixels"].choice([0.0, 0.5, 0.9, 1.0])
    bad = np.unique(np.concatenate([dead, hot, noisy]))
    return Faults(
        flat=flat,
        static=static,
        gaps=np.flatnonzero(placed.chip.reshape(-1) == 0),
        dead=dead,
        hot=hot,
        hot_photons=heights,
        stuck=stuck,
        noisy=noisy,
        noisy_photons=jumps.astype(np.float32),
        known_bad=bad[own["dead_pixels"].random(len(bad)) < knows],
        chips=chips,
        step_rms=step_rms,
        row_rms=float(rng.uniform(0.2, 1.5)) * unit if has_rows else 0.0,
        zingers=_zingers(own["zingers"], counting=counting) if nuisances.zingers else 0.0,
        tracks=float(own["tracks"].choice([0.0, 0.1, 0.5, 2.0])) if nuisances.tracks else 0.0,
        tails=_tails(own["negative_tails"], counting, nuisances.negative_tails),
    )


def _steps(rng: np.random.Generator, unit: float) -> tuple[float, float]:
    """Return RMS of the chips' steps in counts: fixed, and anew in each frame."""
    if rng.random() < 0.4:
        return 0.0, 0.0
    fixed = min(math.exp(rng.uniform(math.log(3), math.log(20))), 6 * unit)
    return fixed, fixed * float(rng.choice([0.0, 0.1, 0.5]))


def _add_structure(static: Float, rng: np.random.Generator, unit: float) -> None:
    """Add slopes, columns and the glow of an amplifier in a corner, in half of the devices."""
    if rng.random() < 0.5:
        return
    rows, columns = static.shape
    slow, fast = np.linspace(-1, 1, rows, dtype=np.float32), np.linspace(-1, 1, columns)
    fast = fast.astype(np.float32)
    height = np.float32(unit * math.exp(rng.uniform(math.log(0.3), math.log(8))))
    a, b, c, d = rng.normal(0, 0.5, 4).astype(np.float32)
    static += (height * (a * slow + b * slow**2))[:, None] + (height * (c * fast + d * fast**2))
    if rng.random() < 0.5:
        static += np.float32(0.2) * height * rng.standard_normal(columns, dtype=np.float32)
    if rng.random() < 0.3:
        corner = rng.choice([-1.0, 1.0], 2).astype(np.float32)
        wide = rng.uniform(0.05, 0.3)
        glow = np.exp(-np.abs(slow - corner[0]) / wide)[:, None] * np.exp(
            -np.abs(fast - corner[1]) / wide
        )
        static += (height * np.float32(rng.uniform(1, 5)) * glow).astype(np.float32)


def _spoil_flat(
    flat: Float, placed: PlacedModules, chips: int, rng: np.random.Generator, *, quadrants: bool
) -> None:
    """Multiply pixels, chips and slow changes over the image with a wrong sensitivity."""
    pixel = rng.choice([0.0, 0.01, 0.03, 0.06])
    if pixel > 0:
        flat *= 1 + np.float32(pixel) * rng.standard_normal(flat.shape, dtype=np.float32)
    if quadrants and rng.random() < 0.5:
        of_chip = 1 + rng.uniform(0.005, 0.05) * rng.standard_normal(chips)
        flat *= of_chip.astype(np.float32)[placed.chip]
    if rng.random() < 0.3:
        rows = np.linspace(-1, 1, flat.shape[0], dtype=np.float32)[:, None]
        columns = np.linspace(-1, 1, flat.shape[1], dtype=np.float32)
        flat *= np.float32(1) - np.float32(rng.uniform(0, 0.2)) * (rows**2 + columns**2) / 2
    np.clip(flat, 0.2, 2.0, out=flat)


def _brighten_edges(
    flat: Float, static: Float, placed: PlacedModules, rng: np.random.Generator, unit: float
) -> None:
    """Give chips' outermost pixels more light, as larger ones have, or more counts."""
    wider, higher = rng.random() < 0.4, rng.random() < 0.25
    factor, more = rng.uniform(1.1, 2.5), rng.uniform(0.5, 5) * unit
    if wider:
        flat[placed.edge] *= np.float32(factor)
    if higher and unit > 0:
        static[placed.edge] += np.float32(more)


def _warm_lines(light: Float, rng: np.random.Generator) -> None:
    """Add 0.1 to 5 photons to parts of up to three rows or columns, in 15 % of the devices."""
    if rng.random() >= 0.15:
        return
    for _ in range(int(rng.integers(1, 4))):
        along = int(rng.integers(2))
        line = int(rng.integers(light.shape[along]))
        ends = np.sort(rng.integers(0, light.shape[1 - along], 2))
        part = slice(int(ends[0]), int(ends[1]) + 1)
        height = np.float32(math.exp(rng.uniform(math.log(0.1), math.log(5))))
        light[(line, part) if along == 0 else (part, line)] += height


def _some(rng: np.random.Generator, inside: Places, most: int) -> Places:
    """Return places of no pixel (in half of the devices) or of 1 to `most`, log-uniformly."""
    count = int(math.exp(rng.uniform(0, math.log(most)))) if rng.random() < 0.5 else 0
    return np.unique(inside[rng.integers(0, len(inside), count)])


def _hot(
    rng: np.random.Generator, inside: Places, shape: tuple[int, ...], top_photons: float
) -> tuple[Places, Float, bool]:
    """Return hot pixels, photons of each, and whether they are stuck at it."""
    if rng.random() < 0.3:
        return np.zeros(0, np.int64), np.zeros(0, np.float32), False
    most = 1000 if rng.random() < 0.1 else 300
    count = int(math.exp(rng.uniform(0, math.log(most))))
    places = inside[rng.integers(0, len(inside), count)]
    if rng.random() < 0.15:  # a few sites are clusters
        sites = places[: max(1, count // 10)]
        rows = sites // shape[1] + rng.integers(-1, 2, (3, len(sites)))
        columns = sites % shape[1] + rng.integers(-1, 2, (3, len(sites)))
        near = (rows * shape[1] + columns)[
            (rows >= 0) & (rows < shape[0]) & (columns >= 0) & (columns < shape[1])
        ]
        places = np.concatenate([places, near[np.isin(near, inside)]])
    places = np.unique(places)
    highest = max(top_photons if rng.random() < 0.5 else min(top_photons, 300.0), 10.0)
    heights = np.exp(rng.uniform(math.log(3), math.log(highest), len(places)))
    return places, heights.astype(np.float32), bool(rng.random() < 0.3)


def _zingers(rng: np.random.Generator, *, counting: bool) -> float:
    """Return their expected number in a frame: 0 to 60, of counters at most 6."""
    if rng.random() < 0.4:
        return 0.0
    return math.exp(rng.uniform(math.log(0.2), math.log(6 if counting else 60)))


def _tails(rng: np.random.Generator, counting: bool, wanted: bool) -> float:
    if counting or not wanted or rng.random() < 0.7:
        return 0.0
    return 10 ** rng.uniform(-5, -3)
