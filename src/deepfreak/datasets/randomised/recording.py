"""From expected photons to the frame that a reader makes of a device's file."""

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deepfreak.datasets.randomised.detectors import RandomisedDetector
from deepfreak.datasets.randomised.geometry import Geometry, log_uniform
from deepfreak.datasets.randomised.readout import (
    Electronics,
    count_photons,
    draw_photons,
    read_out,
    spread,
)
from deepfreak.formats.frame import Frame, Metadata
from deepfreak.formats.measured import make_frame

Float = NDArray[np.float32]
Places = NDArray[np.int64]

_CENTER_OFF_PX = (0.0, 0.5, 2.0, 6.0)  # RMS of a given beam centre, one of them
_ZINGER_MEDIAN = 60.0  # photons, log-normal with a spread of e
_STAMP = 5  # pixels: half width of the square that a zinger fills
_TOUCHED = 0.3  # photons of an event that spoil a pixel


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Recorded:
    """A frame, and what is expected of it; maps have the frame's shape."""

    frame: Frame
    detector: RandomisedDetector
    light: Float  # expected photons of the background after point spread
    # Expected counts without the crystal's spots: pedestals, steps, row noise and all, but neither
    # hot pixels nor chance events
    level: Float
    spots: Float  # expected counts of the crystal's spots after point spread
    # Pixels that measured light: valid, neither hot, dead nor noisy, not struck by an event
    usable: NDArray[np.bool_]
    zingers: int  # how many lone events struck


def frame_places(
    detector: RandomisedDetector, slow: NDArray[np.float64], fast: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the places in the frame of places on the canvas; NaN where no pixel measures.

    In a stack of modules they are known to the pixel.
    """
    slow, fast = np.asarray(slow, dtype=np.float64), np.asarray(fast, dtype=np.float64)
    height, width = detector.shape
    inside = (slow >= 0) & (slow < height) & (fast >= 0) & (fast < width)
    at = np.where(inside, slow, 0).astype(np.int64), np.where(inside, fast, 0).astype(np.int64)
    inside &= detector.sensitive[at]
    frame_of = detector.placed.frame_of
    if frame_of is not None:
        flat = frame_of[at]
        columns = detector.frame_shape[1]
        slow = (flat // columns).astype(np.float64) + 0.5
        fast = (flat % columns).astype(np.float64) + 0.5
    return np.where(inside, slow, np.nan), np.where(inside, fast, np.nan)


def record(
    detector: RandomisedDetector,
    background: Float,
    spots: Float,
    rng: np.random.Generator,
    *,
    geometry: Geometry,
    file: str = "",
    index: int = 0,
) -> Recorded:
    """Return the frame that `detector` makes of light, a function of the state of `rng`.

    `background` and `spots` are expected photons of each pixel of the canvas (slow, fast), without
    point spread: of all but the crystal's spots, and of these alone. The header may have the
    `geometry`, with the beam's place not quite right. Raises `ValueError` for light of another
    shape than the canvas's.
    """
    if background.shape != detector.shape or spots.shape != detector.shape:
        raise ValueError(
            f"expected light of {detector.shape} pixels, found {background.shape} and {spots.shape}"
        )
    background = np.ascontiguousarray(background, dtype=np.float32)
    spots = np.ascontiguousarray(spots, dtype=np.float32)
    seed = int(rng.integers(2**62))
    chance, header, zingers, tracks, rows = (np.random.default_rng([seed, n]) for n in range(5))
    faults = detector.faults
    words = np.random.SeedSequence(seed).generate_state(2, np.uint64)
    light = _on_frame(detector, _spread(detector, background))
    spots_seen = _on_frame(detector, _spread(detector, spots))
    if detector.counting:
        values = count_photons(light, spots_seen, faults.flat, faults.static, words[0])
    else:
        drawn = draw_photons(background, spots, words[0])
        values = _on_frame(detector, _spread(detector, drawn))
    _add_faults(values, detector, chance)
    events = int(zingers.poisson(detector.faults.zingers))
    struck = np.concatenate(
        [_add_zingers(values, detector, events, zingers), _add_tracks(values, detector, tracks)]
    )
    level = light
    if not detector.counting:
        steps = faults.step_rms * rows.standard_normal(faults.chips)
        electronics = Electronics(
            flat=faults.flat,
            static=faults.static,
            chip=detector.placed.chip,
            steps=steps.astype(np.float32),
            rows=(faults.row_rms * rows.standard_normal((values.shape[0], 2))).astype(np.float32),
            gain=detector.gain,
            noise=detector.gain * detector.noise_photons,
            lowest=detector.lowest,
            switch_photons=detector.switch_photons,
            switch_off=detector.switch_off,
            switch_noise=detector.switch_noise,
        )
        level = read_out(values, light, spots_seen, electronics, words[1])
        struck = np.concatenate([struck, _add_tails(values, detector, chance)])
    counts = _as_written(values, detector)
    frame = _as_read(counts, detector, header, geometry=geometry, file=file, index=index)
    usable = frame.valid.copy()
    for places in (faults.gaps, faults.dead, faults.hot, faults.noisy, struck):
        usable.reshape(-1)[places] = False
    return Recorded(
        frame=frame,
        detector=detector,
        light=light,
        level=level,
        spots=spots_seen,
        usable=usable,
        zingers=events,
    )


def _spread(detector: RandomisedDetector, image: Float) -> Float:
    return spread(image, detector.taps, detector.tail_share, detector.tail_px)


def _on_frame(detector: RandomisedDetector, canvas: Float) -> Float:
    places = detector.placed.places
    return canvas if places is None else canvas.reshape(-1)[places]


def _add_faults(photons: Float, detector: RandomisedDetector, rng: np.random.Generator) -> None:
    """Add the light of hot and noisy pixels."""
    faults, flat = detector.faults, photons.reshape(-1)
    if faults.stuck:
        flat[faults.hot] = faults.hot_photons
    else:
        flat[faults.hot] += rng.poisson(faults.hot_photons)
    if detector.counting:
        flat[faults.noisy] += rng.poisson(faults.noisy_photons)
    else:
        flat[faults.noisy] += faults.noisy_photons * rng.standard_normal(len(faults.noisy))


def _add_zingers(
    photons: Float, detector: RandomisedDetector, count: int, rng: np.random.Generator
) -> Places:
    """Add lone events and return the places they spoil.

    In a CCD they light the phosphor and are as wide as the point spread; in a sensor that detects
    directly they hit one pixel or two.
    """
    height, width = photons.shape
    wide = detector.tail_share > 0
    spoiled = [np.zeros(0, np.int64)]
    for _ in range(count):
        place = rng.uniform(0, height), rng.uniform(0, width)
        if wide:
            sigma = max(detector.psf_px * rng.uniform(0.6, 1.2) / 2.355, 0.2)
            light = _ZINGER_MEDIAN * math.exp(rng.standard_normal())
            spoiled.append(_add_blob(photons, place, sigma, light))
            continue
        light = log_uniform(rng, 2, 100) if detector.counting else log_uniform(rng, 3, 1000)
        top, left = int(place[0]), int(place[1])
        pixels = [(top, left)]
        if rng.random() < 0.4:
            step = int(rng.integers(2))
            pixels.append((min(top + step, height - 1), min(left + 1 - step, width - 1)))
        for k, (i, j) in enumerate(pixels):
            share = light if k == 0 else light * rng.random()
            photons[i, j] += np.rint(share) if detector.counting else share
            spoiled.append(np.array([i * width + j]))
    return np.concatenate(spoiled)


def _add_blob(photons: Float, place: tuple[float, float], sigma: float, light: float) -> Places:
    """Add a Gaussian of `light` photons about a place; return the pixels that got much of it."""
    height, width = photons.shape
    top, left = int(place[0]), int(place[1])
    rows = np.arange(max(top - _STAMP, 0), min(top + _STAMP + 1, height))
    columns = np.arange(max(left - _STAMP, 0), min(left + _STAMP + 1, width))
    slow = np.exp(-0.5 * ((rows + 0.5 - place[0]) / sigma) ** 2)
    fast = np.exp(-0.5 * ((columns + 0.5 - place[1]) / sigma) ** 2)
    shape = slow[:, None] * fast
    shape *= light / shape.sum()
    photons[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1] += shape.astype(np.float32)
    i, j = np.nonzero(shape > _TOUCHED)
    places: Places = rows[i] * width + columns[j]
    return places


def _add_tracks(photons: Float, detector: RandomisedDetector, rng: np.random.Generator) -> Places:
    """Add tracks of muons and electrons and blobs of alpha particles; return their places."""
    height, width = photons.shape
    spoiled = [np.zeros(0, np.int64)]
    for _ in range(int(rng.poisson(detector.faults.tracks))):
        row, column = rng.uniform(0, height), rng.uniform(0, width)
        if rng.random() < 0.15:
            wide = rng.uniform(1.2, 3.0)
            slow, fast = np.mgrid[-3:4, -3:4]
            inside = slow**2 + fast**2 <= wide**2
            rows, columns = int(row) + slow[inside], int(column) + fast[inside]
        else:
            angle = rng.uniform(0, 2 * math.pi)
            along = np.arange(0, log_uniform(rng, 3, 60), 0.7)
            bend = rng.normal(0, 0.01) * along**2  # electrons are scattered on their way
            rows = np.floor(row + along * math.sin(angle) + bend * math.cos(angle)).astype(int)
            columns = np.floor(column + along * math.cos(angle) - bend * math.sin(angle))
            columns = columns.astype(int)
        inside = (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
        places = np.unique(rows[inside] * width + columns[inside])
        # a counter counts a particle once a pixel
        light = (
            np.ones(len(places))
            if detector.counting
            else 5 * np.exp(0.6 * rng.standard_normal(len(places)))
        )
        photons.reshape(-1)[places] += light
        spoiled.append(places)
    return np.concatenate(spoiled)


def _add_tails(counts: Float, detector: RandomisedDetector, rng: np.random.Generator) -> Places:
    """Take much from a few pixels, as wrong gains and pedestals do; return their places."""
    places = rng.integers(0, counts.size, rng.poisson(detector.faults.tails * counts.size))
    scale = detector.gain * max(5 * detector.noise_photons, 0.5)
    flat = counts.reshape(-1)
    flat[places] = np.maximum(
        flat[places] - scale * rng.exponential(2.0, len(places)), detector.lowest
    )
    return places


def _as_written(values: Float, detector: RandomisedDetector) -> NDArray[Any]:
    """Return the counts in the type of the file; the gaps filled."""
    dtype = np.dtype(detector.dtype)
    np.minimum(values, np.float32(detector.top), out=values)
    if dtype.kind == "f":
        counts: NDArray[Any] = values
    else:
        np.rint(values, out=values)
        counts = values.astype(dtype)
        if detector.top > 2**24:  # beyond float32's whole numbers
            np.minimum(counts, int(detector.top), out=counts)
    flat, faults = counts.reshape(-1), detector.faults
    flat[faults.dead] = 0
    fill = detector.fill if dtype.kind == "f" else int(detector.fill)
    flat[faults.gaps] = fill
    if "bad pixels" in detector.header:
        flat[faults.known_bad] = fill
    return counts


def _as_read(
    counts: NDArray[Any],
    detector: RandomisedDetector,
    rng: np.random.Generator,
    *,
    geometry: Geometry,
    file: str,
    index: int,
) -> Frame:
    """Return what a reader makes of the counts and of what the header says."""
    said, facts = detector.header, Metadata()
    if "gain" in said:
        facts["gain"] = detector.gain
    if "pedestal" in said:
        facts["pedestal"] = detector.pedestal
    if "saturation" in said:
        facts["saturation"] = detector.top
    if "geometry" in said:
        facts["pixel_size_mm"] = detector.pixel_mm
        facts["distance_mm"] = geometry.distance_mm
        facts["wavelength_A"] = geometry.wavelength_A
    if "beam_center_px" in said:
        off = rng.choice(_CENTER_OFF_PX) * rng.standard_normal(2)
        slow, fast = geometry.beam_center_px
        facts["beam_center_px"] = (slow + off[0], fast + off[1])
    mask = None
    if "mask" in said:
        mask = np.zeros(counts.shape, dtype=np.bool_)
        mask.reshape(-1)[detector.faults.gaps] = True
        mask.reshape(-1)[detector.faults.known_bad] = True
    names = (detector.model,) if "name" in said else ()
    frame = make_frame(counts, file=file, index=index, metadata=facts, names=names, mask=mask)
    return replace(frame, missing={})
