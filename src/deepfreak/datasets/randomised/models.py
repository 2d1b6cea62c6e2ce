"""Families of detectors: which models there are, how they are built and how they answer to light.

Sizes are from the makers' public figures, most of them as pyFAI, dxtbx and EXtra-geom have them
(docs/randomised.md lists model by model what is approximate). Responses are ranges around what
makers and users published, wider than one device's.
"""

from dataclasses import dataclass

from deepfreak.datasets.randomised.modules import ModuleLayout, grid, pinwheel

Range = tuple[float, float]


@dataclass(frozen=True, slots=True)
class DetectorModel:
    """One model of a detector, as it is sold."""

    name: str
    layout: ModuleLayout
    pixel_um: float  # of the final pixels, after binning
    weight: float = 1.0  # how often it is drawn in its family, in any unit
    stack: float = 0.0  # share of its files that hold the modules one below the other
    circle: bool = False  # whether the active area is a disc


@dataclass(frozen=True, slots=True, kw_only=True)
class FamilyResponse:
    """What a family makes of light; each range is drawn from log-uniformly."""

    counting: bool = False
    psf_um: Range  # FWHM of the core of the point spread
    tail_share: Range = (0.0, 0.0)  # of the light, in the tails of a fibre-optic taper
    noise_photons: Range = (0.0, 0.0)  # RMS of read-out
    gain: Range = (1.0, 1.0)  # counts of a photon
    pedestals: tuple[float, ...] = (0.0,)  # counts of a pixel without light, one of them
    # dtypes, fills: types of the counts, and what stands in gaps: a number, "max", "nan" or
    # "pedestal". What a type cannot hold becomes 0.
    dtypes: tuple[str, ...] = ("uint16",)
    fills: tuple[float | str, ...] = (0.0,)
    top_counts: tuple[float, ...] = (65535.0,)  # the largest count
    mask_share: float = 0.5  # of the files that have a mask
    tilt_deg: float = 0.0  # RMS of the modules' tilt in an assembled frame
    switches: bool = False


def _ccd(
    name: str,
    pixels: int,
    pixel_um: float,
    tapers: int,
    weight: float = 1.0,
    *,
    seam: int = 0,
    circle: bool = False,
) -> DetectorModel:
    """Return a CCD with tapers x tapers quadrants and a seam between them."""
    side = (pixels - (tapers - 1) * seam) // tapers
    layout = grid(tapers, tapers, (side, side), (seam, seam))
    return DetectorModel(name, layout, pixel_um, weight, circle=circle)


# Of one module: pixels, gaps and chips (slow, fast), and the pixels' size in um.
_MODULES = {
    "PILATUS": ((195, 487), (17, 7), (2, 8), 172),
    "Dectris EIGER": ((514, 1030), (37, 10), (2, 4), 75),
    "Dectris EIGER2": ((512, 1028), (38, 12), (2, 4), 75),
    "JUNGFRAU": ((512, 1024), (38, 12), (2, 4), 75),
}


def _tiled(name: str, rows: int, columns: int, weight: float, stack: float = 0.0) -> DetectorModel:
    """Return rows x columns of the modules that the name begins with."""
    module, gap, chips, pixel_um = _MODULES[name.rpartition(" ")[0]]
    layout = grid(rows, columns, module, gap, chips)
    return DetectorModel(name, layout, pixel_um, weight, stack)


MODELS: dict[str, tuple[DetectorModel, ...]] = {
    "PILATUS": (
        _tiled("PILATUS 300K", 3, 1, 2),
        _tiled("PILATUS 1M", 5, 2, 2),
        _tiled("PILATUS 2M", 8, 3, 2),
        _tiled("PILATUS 6M", 12, 5, 0.3),
    ),
    "EIGER": (
        _tiled("Dectris EIGER2 500K", 1, 1, 2),
        _tiled("Dectris EIGER 1M", 2, 1, 2),
        _tiled("Dectris EIGER2 1M", 2, 1, 2),
        _tiled("Dectris EIGER 4M", 4, 2, 1.2),
        _tiled("Dectris EIGER2 4M", 4, 2, 1.2),
        _tiled("Dectris EIGER 9M", 6, 3, 0.1),
        _tiled("Dectris EIGER2 9M", 6, 3, 0.1),
        _tiled("Dectris EIGER 16M", 8, 4, 0.05),
        _tiled("Dectris EIGER2 16M", 8, 4, 0.05),
    ),
    "JUNGFRAU": (
        _tiled("JUNGFRAU 0.5M", 1, 1, 2),
        _tiled("JUNGFRAU 1M", 2, 1, 2, 0.4),
        _tiled("JUNGFRAU 4M", 4, 2, 1, 0.4),
    ),
    "SLAC-XFEL": (
        DetectorModel("ePix10k2M", pinwheel(2, 2, (352, 384), 22, 90, (2, 2)), 100, 1.5, 0.5),
        DetectorModel("CSPAD", pinwheel(4, 2, (185, 388), 24, 90, (1, 2)), 109.92, 1.5, 0.5),
        DetectorModel("ePix100", grid(1, 1, (704, 768), chips=(2, 2)), 50, 0.8),
        DetectorModel(
            "AGIPD 1M", pinwheel(1, 4, (512, 128), 29, 60, (8, 1), turned=False), 200, 1.5, 0.6
        ),
    ),
    "Rayonix": (
        _ccd("Rayonix MX225-HE 2x2", 3072, 73.24, 3, 0.3),
        _ccd("Rayonix MX225-HE 4x4", 1536, 146.5, 3),
        _ccd("Rayonix MX225-HE 8x8", 768, 293.0, 3),
        _ccd("Rayonix MX170-HS 2x2", 1920, 88.54, 2),
        _ccd("Rayonix MX170-HS 4x4", 960, 177.1, 2),
        _ccd("Rayonix MX340-HS 2x2", 3840, 88.54, 4, 0.1),
        _ccd("Rayonix MX340-HS 4x4", 1920, 177.1, 4),
        _ccd("Rayonix MX340-HS 8x8", 960, 354.2, 4),
    ),
    "MarCCD": (
        _ccd("MarCCD 165", 2048, 79.1, 2, circle=True),
        _ccd("MarCCD 165 binned", 1024, 158.2, 2, circle=True),
        _ccd("MarCCD 225", 3072, 73.24, 3, 0.2),
        _ccd("MarCCD 225 binned", 1536, 146.5, 3),
        _ccd("MarCCD 325", 4096, 79.4, 4, 0.05),
        _ccd("MarCCD 325 binned", 2048, 158.8, 4, 0.6),
    ),
    "ADSC": (
        _ccd("ADSC Quantum 4", 2304, 81.6, 2, 0.7, seam=4),
        _ccd("ADSC Quantum 4 binned", 1152, 163.2, 2, seam=2),
        _ccd("ADSC Quantum 210 binned", 2048, 102.4, 2),
        _ccd("ADSC Quantum 210", 4096, 51.2, 2, 0.05),
        _ccd("ADSC Quantum 315 binned", 3072, 102.6, 3, 0.3),
    ),
    "Timepix": (
        DetectorModel("Medipix3 256", grid(1, 1, (256, 256)), 55),
        DetectorModel("Timepix quad", grid(2, 2, (256, 256)), 55),
        DetectorModel(
            name="Merlin Medipix3 quad", layout=grid(2, 2, (256, 256), (2, 2)), pixel_um=55
        ),
        DetectorModel("MAXIPIX 5x1", grid(1, 5, (256, 256), (0, 4)), 55),
        DetectorModel(
            name="Lambda 750K", layout=grid(1, 1, (516, 1556), chips=(2, 6)), pixel_um=55
        ),
        DetectorModel(
            name="Timepix3 4x4", layout=grid(2, 2, (512, 512), (6, 6), (2, 2)), pixel_um=55
        ),
    ),
    "MPCCD": (
        DetectorModel(
            "MPCCD octal", pinwheel(2, 1, (512, 1024), 6, 60, (1, 2), turned=False), 50, stack=0.6
        ),
        DetectorModel(
            name="MPCCD dual", layout=grid(2, 1, (512, 1024), (6, 0), (1, 2)), pixel_um=50
        ),
    ),
    "small CCD": (
        _ccd("small CCD", 512, 120.0, 1),
        _ccd("small CCD", 1024, 60.0, 1),
        _ccd("small CMOS", 768, 135.0, 2),
        _ccd("small CCD", 640, 110.0, 1),
    ),
}

# One family's numbers beside each other:
# fmt: off
RESPONSES = {
    # the threshold at half of a photon's energy leaves each photon in one pixel
    "PILATUS": FamilyResponse(
        counting=True, psf_um=(20, 70), dtypes=("int32", "int32", "uint32", "uint16", "int16"),
        fills=(-1, -1, -2, 0, "max"), top_counts=(1048575.0,), mask_share=0.25,
    ),
    "EIGER": FamilyResponse(
        counting=True, psf_um=(15, 50), dtypes=("uint32", "uint16", "int32"),
        fills=("max", "max", "max", 0, -1, -2), top_counts=(65534.0, 4.0e6), mask_share=0.6,
    ),
    # 83 electrons, 1 or 12.4 (keV) or 41 counts a photon; G0 switches at about 25 photons of 12 keV
    "JUNGFRAU": FamilyResponse(
        psf_um=(15, 45), noise_photons=(0.02, 0.2), gain=(1, 45),
        dtypes=("float32", "int32", "int16", "int16"), fills=(0, "nan", -1, "max", 0),
        top_counts=(32766.0, 4.0e5), mask_share=0.6, tilt_deg=0.05, switches=True,
    ),
    # ePix10k 42 and 128 counts a photon of 8 keV, CSPAD about 20 to 30, AGIPD calibrated in keV
    "SLAC-XFEL": FamilyResponse(
        psf_um=(20, 60), noise_photons=(0.03, 0.5), gain=(1, 140),
        pedestals=(0.0, 0.0, 0.0, 1000.0), dtypes=("float32", "int16", "int32", "float32"),
        fills=(0, 0, "nan", -1, "pedestal"), top_counts=(16383.0, 32766.0), tilt_deg=0.3,
        switches=True,
    ),
    "Rayonix": FamilyResponse(
        psf_um=(70, 140), tail_share=(0.02, 0.15), noise_photons=(0.05, 0.6), gain=(0.3, 4),
        pedestals=(10.0, 10.0, 0.0), fills=(0.0,), mask_share=0.1,
    ),
    "MarCCD": FamilyResponse(
        psf_um=(90, 170), tail_share=(0.02, 0.2), noise_photons=(0.2, 1.5), gain=(0.3, 6),
        pedestals=(10.0, 10.0, 0.0, 40.0), fills=(0.0, 10.0), mask_share=0.05,
    ),
    "ADSC": FamilyResponse(
        psf_um=(90, 150), tail_share=(0.02, 0.2), noise_photons=(0.3, 2.0), gain=(0.5, 5),
        pedestals=(40.0, 40.0, 0.0), fills=(0.0, 40.0, "pedestal"), mask_share=0.05,
    ),
    "Timepix": FamilyResponse(
        counting=True, psf_um=(30, 70), dtypes=("uint16", "uint16", "int32", "uint32", "float32"),
        fills=(0, "max", -1, 0, "nan"), top_counts=(11810.0, 4095.0, 65535.0), mask_share=0.3,
    ),
    "MPCCD": FamilyResponse(
        psf_um=(15, 50), noise_photons=(0.08, 0.4), gain=(5, 60), pedestals=(0.0, 0.0, 100.0),
        dtypes=("float32", "int16", "int32"), fills=(0, "nan", -1, 0),
        top_counts=(65535.0, 32766.0), tilt_deg=0.15,
    ),
    "small CCD": FamilyResponse(
        psf_um=(70, 250), tail_share=(0.02, 0.2), noise_photons=(0.05, 1.5), gain=(1, 100),
        pedestals=(0.0, 10.0, 40.0, 200.0, 1000.0), dtypes=("uint16", "uint16", "int32", "uint32"),
        fills=(0.0,), mask_share=0.02,
    ),
}
# fmt: on

FAMILIES: tuple[str, ...] = tuple(MODELS)
