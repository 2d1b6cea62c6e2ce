"""One device of any family, drawn at random."""

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from deepfreak.datasets.randomised.faults import Faults, Nuisances, draw_faults
from deepfreak.datasets.randomised.geometry import log_uniform
from deepfreak.datasets.randomised.models import (
    FAMILIES,
    MODELS,
    RESPONSES,
    DetectorModel,
    FamilyResponse,
)
from deepfreak.datasets.randomised.modules import PlacedModules, place
from deepfreak.datasets.randomised.readout import gaussian_taps

Float = NDArray[np.float32]

_KNOWN_SHARE = 0.6  # of the devices that integrate whose header has pedestal, of those with gain

_MIN_CCD_NOISE = 0.7  # counts: makers choose the gain so that the noise shows


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RandomisedDetector:
    """One device, the same for a run of frames. Maps have the frame's shape."""

    family: str
    model: str
    shape: tuple[int, int]  # the assembled canvas (slow, fast), on which light is given
    pixel_mm: float
    sensitive: NDArray[np.bool_]  # pixels of the canvas that measure
    placed: PlacedModules  # where the frame's pixels lie on the canvas
    counting: bool
    # psf_px, taps, tail_share, tail_px: FWHM of the point spread's core, its shares of light in
    # pixels, and its tails
    psf_px: float
    taps: Float
    tail_share: float
    tail_px: float
    gain: float  # counts of a photon
    noise_photons: float  # RMS of read-out in photons; 0 for counters
    pedestal: float
    # switch_photons, switch_off, switch_noise: photons from which a pixel takes its low gain
    # (infinite for none), the counts by which that is off, and its noise over that of the high gain
    switch_photons: float
    switch_off: float
    switch_noise: float
    dtype: str
    # lowest, top: counts are cut off there
    lowest: float
    top: float
    fill: float  # what stands in gaps and, where the header knows them, in bad pixels
    faults: Faults  # what is wrong with this device
    nuisances: Nuisances
    # What the device's files state: names of fields of `Frame`; "name", "mask"
    header: frozenset[str]

    @property
    def frame_shape(self) -> tuple[int, int]:
        """Shape of the counts in a file: the canvas, or a stack of modules."""
        slow, fast = self.placed.chip.shape
        return slow, fast

    @property
    def assembled(self) -> bool:
        """Whether frames are the canvas."""
        return self.placed.places is None


def draw_detector(
    rng: np.random.Generator,
    *,
    family: str | None = None,
    model: DetectorModel | None = None,
    nuisances: Nuisances | None = None,
) -> RandomisedDetector:
    """Return a device of `family` (of any, each as often), of `model` where one is given.

    Each nuisance has a random generator of its own: a device without one of them is otherwise the
    same.
    """
    chosen = FAMILIES[int(rng.integers(len(FAMILIES)))]
    family = chosen if family is None else family
    nuisances = nuisances or Nuisances()
    models, response = MODELS[family], RESPONSES[family]
    weights = np.array([each.weight for each in models])
    drawn = models[int(rng.choice(len(models), p=weights / weights.sum()))]
    model = drawn if model is None else model
    rng, seed = np.random.default_rng(rng.integers(2**63)), int(rng.integers(2**62))
    assembled = bool(rng.random() >= model.stack)
    tilt = response.tilt_deg * log_uniform(rng, 0.1, 2) if rng.random() < 0.7 else 0.0
    if len(model.layout.centers) == 1 or not nuisances.tilted_modules:
        tilt = 0.0
    placed = place(
        model.layout,
        assembled=assembled,
        tilt_deg=tilt,
        shift_px=1.0 if tilt > 0 else 0.0,
        rng=np.random.default_rng([seed, 0]),
    )
    if model.circle:
        placed = _within_circle(placed)
    dtype = str(rng.choice(response.dtypes))
    gain = log_uniform(rng, *response.gain)
    pedestal = float(rng.choice(response.pedestals))
    fill = _fill(response.fills[int(rng.integers(len(response.fills)))], dtype, pedestal)
    top = float(min(rng.choice(response.top_counts), _largest(dtype) - (2 if fill > 4096 else 0)))
    switches = response.switches and rng.random() < 0.7
    switch_photons, switch_off = rng.uniform(15, 60), gain * rng.normal(0, 2)
    switches &= nuisances.gain_switching
    pixel_mm = model.pixel_um / 1000
    psf_px = log_uniform(rng, *response.psf_um) / model.pixel_um
    noise = log_uniform(rng, *response.noise_photons)
    if response.tail_share[0] > 0:
        noise = max(noise, _MIN_CCD_NOISE / gain)
    faults = draw_faults(
        placed,
        counting=response.counting,
        gain=gain,
        noise=noise * gain,
        pedestal=pedestal,
        top=top,
        quadrants=len(model.layout.centers) > 1,
        nuisances=nuisances,
        seed=seed,
    )
    tail_share = log_uniform(rng, *response.tail_share)
    return RandomisedDetector(
        family=family,
        model=model.name,
        shape=placed.shape,
        pixel_mm=pixel_mm,
        sensitive=placed.sensitive,
        placed=placed,
        counting=response.counting,
        psf_px=psf_px,
        taps=gaussian_taps(psf_px),
        tail_share=tail_share,
        tail_px=max(5 * psf_px, 8.0),
        gain=gain,
        noise_photons=noise,
        pedestal=pedestal,
        switch_photons=switch_photons if switches else math.inf,
        switch_off=switch_off if switches else 0.0,
        switch_noise=log_uniform(rng, 3, 30),
        dtype=dtype,
        lowest=_lowest(dtype),
        top=top,
        fill=fill,
        faults=faults,
        nuisances=nuisances,
        header=_header(rng, response, fill=fill, assembled=assembled),
    )


def _header(
    rng: np.random.Generator, response: FamilyResponse, *, fill: float, assembled: bool
) -> frozenset[str]:
    """Return the names of what the device's files state."""
    shares = {
        "name": 0.75,
        "mask": response.mask_share,
        "gain": 0.0 if response.counting else 0.3,
        "pedestal": 0.0 if response.counting else _KNOWN_SHARE,
        "saturation": 0.7,
        "beam_center_px": 0.7 if assembled else 0.0,
        "geometry": 0.8 if assembled else 0.0,
    }
    said = {name for name, share in shares.items() if rng.random() < share}
    if math.isnan(fill) or (response.counting and fill != 0):
        said.add("bad pixels")  # marked as the gaps are
    return frozenset(said)


def _within_circle(placed: PlacedModules) -> PlacedModules:
    rows, columns = placed.shape
    slow = (np.arange(rows) + 0.5 - rows / 2) / rows
    fast = (np.arange(columns) + 0.5 - columns / 2) / columns
    inside = slow[:, None] ** 2 + fast[None, :] ** 2 < 0.25
    return replace(
        placed,
        sensitive=placed.sensitive & inside,
        chip=np.where(inside, placed.chip, 0).astype(np.uint16),
    )


def _fill(fill: float | str, dtype: str, pedestal: float) -> float:
    if fill == "max":
        return _largest(dtype)
    if fill == "nan":
        return math.nan if dtype == "float32" else 0.0
    value = pedestal if fill == "pedestal" else float(fill)
    return 0.0 if value < 0 and dtype.startswith("u") else value


def _largest(dtype: str) -> float:
    if dtype == "float32":
        return 4.0e6
    return float(np.iinfo(dtype).max)


def _lowest(dtype: str) -> float:
    if dtype.startswith("int"):
        return float(np.iinfo(dtype).min) + 1
    return 0.0 if dtype.startswith("u") else -math.inf
