"""Families of detectors: how they are built, how they answer to light, and the draw of one.

Sizes are from the makers' public figures, most of them as pyFAI, dxtbx and EXtra-geom have them
(docs/varied.md lists model by model what is approximate). Responses are ranges around what makers
and users published, wider than one device's.
"""

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from deepfreak.datasets.randomised.faults import Faults, Nuisances, draw_faults
from deepfreak.datasets.randomised.modules import Layout, Placed, grid, pinwheel, place
from deepfreak.datasets.randomised.photons import gaussian_taps

Float = NDArray[np.float32]
Range = tuple[float, float]

_KNOWN_SHARE = 0.6  # of the devices that integrate whose header has pedestal, of those with gain

_MIN_CCD_NOISE = 0.7  # counts: makers choose the gain so that the noise shows


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """One model: what is built and sold.

    Attributes
    ----------
    pixel_um
        Of the final pixels, after binning.
    weight
        How often it is drawn in its family, in any unit.
    stack
        Share of its files that hold the modules one below the other.
    circle
        Whether the active area is a disc.
    """

    name: str
    layout: Layout
    pixel_um: float
    weight: float = 1.0
    stack: float = 0.0
    circle: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Response:
    """What a family makes of light; each range is drawn from log-uniformly.

    Attributes
    ----------
    psf_um
        FWHM of the core of the point spread.
    tail_share
        Of the light, in the tails of a fibre-optic taper.
    noise_photons
        RMS of read-out.
    gain
        Counts of a photon.
    pedestals
        Counts of a pixel without light, one of them.
    dtypes, fills
        Types of the counts, and what stands in gaps: a number, "max", "nan" or "pedestal". What a
        type cannot hold becomes 0.
    top_counts
        The largest count.
    mask_share
        Of the files that have a mask.
    tilt_deg
        RMS of the modules' tilt in an assembled frame.
    """

    counting: bool = False
    psf_um: Range
    tail_share: Range = (0.0, 0.0)
    noise_photons: Range = (0.0, 0.0)
    gain: Range = (1.0, 1.0)
    pedestals: tuple[float, ...] = (0.0,)
    dtypes: tuple[str, ...] = ("uint16",)
    fills: tuple[float | str, ...] = (0.0,)
    top_counts: tuple[float, ...] = (65535.0,)
    mask_share: float = 0.5
    tilt_deg: float = 0.0
    switches: bool = False


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class VariedDetector:
    """One device, as it stands for a run of frames. Maps have the frame's shape.

    Attributes
    ----------
    shape
        The assembled canvas (slow, fast), on which light is given.
    sensitive
        Pixels of the canvas that measure.
    placed
        Where the frame's pixels lie on the canvas.
    psf_px, taps, tail_share, tail_px
        FWHM of the point spread's core, its shares of light in pixels, and its tails.
    gain
        Counts of a photon.
    noise_photons
        RMS of read-out in photons; 0 for counters.
    switch_photons, switch_off, switch_noise
        Photons from which a pixel takes its low gain (infinite for none), the counts by which that
        is off, and its noise over that of the high gain.
    lowest, top
        Counts are cut off there.
    fill
        What stands in gaps and, where the header knows them, in bad pixels.
    faults
        What is wrong with this device.
    header
        What files of this device say of it: names of fields of `Frame`; "name", "mask".
    """

    family: str
    model: str
    shape: tuple[int, int]
    pixel_mm: float
    sensitive: NDArray[np.bool_]
    placed: Placed
    counting: bool
    psf_px: float
    taps: Float
    tail_share: float
    tail_px: float
    gain: float
    noise_photons: float
    pedestal: float
    switch_photons: float
    switch_off: float
    switch_noise: float
    dtype: str
    lowest: float
    top: float
    fill: float
    faults: Faults
    nuisances: Nuisances
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


def _plate(
    name: str,
    pixels: int,
    pixel_um: float,
    tapers: int,
    weight: float = 1.0,
    *,
    seam: int = 0,
    circle: bool = False,
) -> Model:
    """Return a CCD with tapers x tapers quadrants and a seam between them."""
    side = (pixels - (tapers - 1) * seam) // tapers
    layout = grid(tapers, tapers, (side, side), (seam, seam))
    return Model(name=name, layout=layout, pixel_um=pixel_um, weight=weight, circle=circle)


def _pilatus(name: str, rows: int, columns: int, weight: float) -> Model:
    layout = grid(rows, columns, (195, 487), (17, 7), (2, 8))
    return Model(name=f"PILATUS {name}", layout=layout, pixel_um=172, weight=weight)


def _eiger(name: str, rows: int, columns: int, weight: float, *, second: bool) -> Model:
    module, gap = ((512, 1028), (38, 12)) if second else ((514, 1030), (37, 10))
    maker = "Dectris EIGER2" if second else "Dectris EIGER"
    layout = grid(rows, columns, module, gap, (2, 4))
    return Model(name=f"{maker} {name}", layout=layout, pixel_um=75, weight=weight)


_JUNGFRAU_CHIPS = (512, 1024)
_SIZES = {
    "PILATUS": (
        _pilatus("300K", 3, 1, 2),
        _pilatus("1M", 5, 2, 2),
        _pilatus("2M", 8, 3, 2),
        _pilatus("6M", 12, 5, 0.3),
    ),
    "EIGER": (
        _eiger("500K", 1, 1, 2, second=True),
        _eiger("1M", 2, 1, 2, second=False),
        _eiger("1M", 2, 1, 2, second=True),
        _eiger("4M", 4, 2, 1.2, second=False),
        _eiger("4M", 4, 2, 1.2, second=True),
        _eiger("9M", 6, 3, 0.1, second=False),
        _eiger("9M", 6, 3, 0.1, second=True),
        _eiger("16M", 8, 4, 0.05, second=False),
        _eiger("16M", 8, 4, 0.05, second=True),
    ),
    "JUNGFRAU": (
        Model(
            name="JUNGFRAU 0.5M",
            layout=grid(1, 1, _JUNGFRAU_CHIPS, chips=(2, 4)),
            pixel_um=75,
            weight=2,
        ),
        Model(
            name="JUNGFRAU 1M",
            layout=grid(2, 1, _JUNGFRAU_CHIPS, (38, 12), (2, 4)),
            pixel_um=75,
            weight=2,
            stack=0.4,
        ),
        Model(
            name="JUNGFRAU 4M",
            layout=grid(4, 2, _JUNGFRAU_CHIPS, (38, 12), (2, 4)),
            pixel_um=75,
            stack=0.4,
        ),
    ),
    "SLAC-XFEL": (
        Model(
            name="ePix10k2M",
            layout=pinwheel(2, 2, (352, 384), 22, 90, (2, 2)),
            pixel_um=100,
            weight=1.5,
            stack=0.5,
        ),
        Model(
            name="CSPAD",
            layout=pinwheel(4, 2, (185, 388), 24, 90, (1, 2)),
            pixel_um=109.92,
            weight=1.5,
            stack=0.5,
        ),
        Model(name="ePix100", layout=grid(1, 1, (704, 768), chips=(2, 2)), pixel_um=50, weight=0.8),
        Model(
            name="AGIPD 1M",
            layout=pinwheel(1, 4, (512, 128), 29, 60, (8, 1), turned=False),
            pixel_um=200,
            weight=1.5,
            stack=0.6,
        ),
    ),
    "Rayonix": (
        _plate("Rayonix MX225-HE 2x2", 3072, 73.24, 3, 0.3),
        _plate("Rayonix MX225-HE 4x4", 1536, 146.5, 3),
        _plate("Rayonix MX225-HE 8x8", 768, 293.0, 3),
        _plate("Rayonix MX170-HS 2x2", 1920, 88.54, 2),
        _plate("Rayonix MX170-HS 4x4", 960, 177.1, 2),
        _plate("Rayonix MX340-HS 2x2", 3840, 88.54, 4, 0.1),
        _plate("Rayonix MX340-HS 4x4", 1920, 177.1, 4),
        _plate("Rayonix MX340-HS 8x8", 960, 354.2, 4),
    ),
    "MarCCD": (
        _plate("MarCCD 165", 2048, 79.1, 2, circle=True),
        _plate("MarCCD 165 binned", 1024, 158.2, 2, circle=True),
        _plate("MarCCD 225", 3072, 73.24, 3, 0.2),
        _plate("MarCCD 225 binned", 1536, 146.5, 3),
        _plate("MarCCD 325", 4096, 79.4, 4, 0.05),
        _plate("MarCCD 325 binned", 2048, 158.8, 4, 0.6),
    ),
    "ADSC": (
        _plate("ADSC Quantum 4", 2304, 81.6, 2, 0.7, seam=4),
        _plate("ADSC Quantum 4 binned", 1152, 163.2, 2, seam=2),
        _plate("ADSC Quantum 210 binned", 2048, 102.4, 2),
        _plate("ADSC Quantum 210", 4096, 51.2, 2, 0.05),
        _plate("ADSC Quantum 315 binned", 3072, 102.6, 3, 0.3),
    ),
    "Timepix": (
        Model(name="Medipix3 256", layout=grid(1, 1, (256, 256)), pixel_um=55),
        Model(name="Timepix quad", layout=grid(2, 2, (256, 256)), pixel_um=55),
        Model(name="Merlin Medipix3 quad", layout=grid(2, 2, (256, 256), (2, 2)), pixel_um=55),
        Model(name="MAXIPIX 5x1", layout=grid(1, 5, (256, 256), (0, 4)), pixel_um=55),
        Model(name="Lambda 750K", layout=grid(1, 1, (516, 1556), chips=(2, 6)), pixel_um=55),
        Model(name="Timepix3 4x4", layout=grid(2, 2, (512, 512), (6, 6), (2, 2)), pixel_um=55),
    ),
    "MPCCD": (
        Model(
            name="MPCCD octal",
            layout=pinwheel(2, 1, (512, 1024), 6, 60, (1, 2), turned=False),
            pixel_um=50,
            stack=0.6,
        ),
        Model(name="MPCCD dual", layout=grid(2, 1, (512, 1024), (6, 0), (1, 2)), pixel_um=50),
    ),
    "small CCD": (
        _plate("small CCD", 512, 120.0, 1),
        _plate("small CCD", 1024, 60.0, 1),
        _plate("small CMOS", 768, 135.0, 2),
        _plate("small CCD", 640, 110.0, 1),
    ),
}

_RESPONSES = {
    # the threshold at half of a photon's energy leaves each photon in one pixel
    "PILATUS": Response(
        counting=True,
        psf_um=(20, 70),
        dtypes=("int32", "int32", "uint32", "uint16", "int16"),
        fills=(-1, -1, -2, 0, "max"),
        top_counts=(1048575.0,),
        mask_share=0.25,
    ),
    "EIGER": Response(
        counting=True,
        psf_um=(15, 50),
        dtypes=("uint32", "uint16", "int32"),
        fills=("max", "max", "max", 0, -1, -2),
        top_counts=(65534.0, 4.0e6),
        mask_share=0.6,
    ),
    # 83 electrons, 1 or 12.4 (keV) or 41 counts a photon; G0 switches at about 25 photons of 12 keV
    "JUNGFRAU": Response(
        psf_um=(15, 45),
        noise_photons=(0.02, 0.2),
        gain=(1, 45),
        dtypes=("float32", "int32", "int16", "int16"),
        fills=(0, "nan", -1, "max", 0),
        top_counts=(32766.0, 4.0e5),
        mask_share=0.6,
        tilt_deg=0.05,
        switches=True,
    ),
    # ePix10k 42 and 128 counts a photon of 8 keV, CSPAD about 20 to 30, AGIPD calibrated in keV
    "SLAC-XFEL": Response(
        psf_um=(20, 60),
        noise_photons=(0.03, 0.5),
        gain=(1, 140),
        pedestals=(0.0, 0.0, 0.0, 1000.0),
        dtypes=("float32", "int16", "int32", "float32"),
        fills=(0, 0, "nan", -1, "pedestal"),
        top_counts=(16383.0, 32766.0),
        tilt_deg=0.3,
        switches=True,
    ),
    "Rayonix": Response(
        psf_um=(70, 140),
        tail_share=(0.02, 0.15),
        noise_photons=(0.05, 0.6),
        gain=(0.3, 4),
        pedestals=(10.0, 10.0, 0.0),
        fills=(0.0,),
        mask_share=0.1,
    ),
    "MarCCD": Response(
        psf_um=(90, 170),
        tail_share=(0.02, 0.2),
        noise_photons=(0.2, 1.5),
        gain=(0.3, 6),
        pedestals=(10.0, 10.0, 0.0, 40.0),
        fills=(0.0, 10.0),
        mask_share=0.05,
    ),
    "ADSC": Response(
        psf_um=(90, 150),
        tail_share=(0.02, 0.2),
        noise_photons=(0.3, 2.0),
        gain=(0.5, 5),
        pedestals=(40.0, 40.0, 0.0),
        fills=(0.0, 40.0, "pedestal"),
        mask_share=0.05,
    ),
    "Timepix": Response(
        counting=True,
        psf_um=(30, 70),
        dtypes=("uint16", "uint16", "int32", "uint32", "float32"),
        fills=(0, "max", -1, 0, "nan"),
        top_counts=(11810.0, 4095.0, 65535.0),
        mask_share=0.3,
    ),
    "MPCCD": Response(
        psf_um=(15, 50),
        noise_photons=(0.08, 0.4),
        gain=(5, 60),
        pedestals=(0.0, 0.0, 100.0),
        dtypes=("float32", "int16", "int32"),
        fills=(0, "nan", -1, 0),
        top_counts=(65535.0, 32766.0),
        tilt_deg=0.15,
    ),
    "small CCD": Response(
        psf_um=(70, 250),
        tail_share=(0.02, 0.2),
        noise_photons=(0.05, 1.5),
        gain=(1, 100),
        pedestals=(0.0, 10.0, 40.0, 200.0, 1000.0),
        dtypes=("uint16", "uint16", "int32", "uint32"),
        fills=(0.0,),
        mask_share=0.02,
    ),
}

FAMILIES: tuple[str, ...] = tuple(_SIZES)


def models(family: str) -> tuple[Model, ...]:
    """Return the models of a family."""
    return _SIZES[family]


def draw_detector(
    rng: np.random.Generator,
    *,
    family: str | None = None,
    model: Model | None = None,
    nuisances: Nuisances | None = None,
) -> VariedDetector:
    """Return a device of `family` (of any, each as often), of `model` where one is given.

    Each nuisance has a random generator of its own: a device without one of them is otherwise the
    same.
    """
    chosen = FAMILIES[int(rng.integers(len(FAMILIES)))]
    family = chosen if family is None else family
    nuisances = nuisances or Nuisances()
    sizes, response = _SIZES[family], _RESPONSES[family]
    weights = np.array([size.weight for size in sizes])
    drawn = sizes[int(rng.choice(len(sizes), p=weights / weights.sum()))]
    model = drawn if model is None else model
    rng, seed = np.random.default_rng(rng.integers(2**63)), int(rng.integers(2**62))
    assembled = bool(rng.random() >= model.stack)
    tilt = response.tilt_deg * log_uniform(rng, (0.1, 2)) if rng.random() < 0.7 else 0.0
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
    gain = log_uniform(rng, response.gain)
    pedestal = float(rng.choice(response.pedestals))
    fill = _fill(response.fills[int(rng.integers(len(response.fills)))], dtype, pedestal)
    top = float(min(rng.choice(response.top_counts), _largest(dtype) - (2 if fill > 4096 else 0)))
    switches = response.switches and rng.random() < 0.7
    switch_photons, switch_off = rng.uniform(15, 60), gain * rng.normal(0, 2)
    switches &= nuisances.gain_switching
    pixel_mm = model.pixel_um / 1000
    psf_px = log_uniform(rng, response.psf_um) / model.pixel_um
    noise = log_uniform(rng, response.noise_photons)
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
    tail_share = log_uniform(rng, response.tail_share)
    return VariedDetector(
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
        switch_noise=log_uniform(rng, (3, 30)),
        dtype=dtype,
        lowest=float(np.iinfo(dtype).min) + 1 if dtype.startswith("int") else _floor(dtype),
        top=top,
        fill=fill,
        faults=faults,
        nuisances=nuisances,
        header=_header(rng, response, fill=fill, assembled=assembled),
    )


def _header(
    rng: np.random.Generator, response: Response, *, fill: float, assembled: bool
) -> frozenset[str]:
    """Return what is told of the device in its files."""
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


def _within_circle(placed: Placed) -> Placed:
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


def _floor(dtype: str) -> float:
    return 0.0 if dtype.startswith("u") else -math.inf


def log_uniform(rng: np.random.Generator, limits: Range) -> float:
    """Return a number between two limits, its logarithm evenly; 0 where the first one is."""
    if limits[0] <= 0:
        return 0.0
    return float(np.exp(rng.uniform(math.log(limits[0]), math.log(limits[1]))))
