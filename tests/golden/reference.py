"""Reads reference images of the original programs and renders the same with deepfreak.

A case is NAME.json + NAME.npz; their contents show the kind.
"""

import json
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from deepfreak.physics.beam import Beam, Pulse
from deepfreak.physics.crystal import rotation_about
from deepfreak.physics.detector import (
    Detector,
    Panel,
    polarization_factor,
    solid_angle,
)
from deepfreak.physics.scattering.amorphous import photons_from_table
from deepfreak.physics.scattering.atoms import AVOGADRO, R_E_SQR_M2
from deepfreak.physics.scattering.bragg import Method, bragg_intensity
from deepfreak.physics.scattering.by_pixel import GAUSS, ROUND, SQUARE, TOPHAT, RenderedCrystal

SHAPES = (SQUARE, ROUND, GAUSS, TOPHAT)  # as the originals number them
OCTANT = "psii_F_octant_milli"


@dataclass(frozen=True, kw_only=True, eq=False)
class BraggCase:
    """One nanoBragg image and all its inputs."""

    image: np.ndarray
    lattice: RenderedCrystal
    panel: Panel
    sources: np.ndarray
    oversample: int
    fluence: float
    close_distance_mm: float
    polarization: float
    polarization_axis: np.ndarray

    def render(self, *, method: Method | None = None) -> np.ndarray:
        """Return our expected photons of one domain, as nanoBragg counts them."""
        intensity = bragg_intensity(
            self.lattice,
            self.panel,
            sources=self.sources,
            oversample=self.oversample,
            method=method,
        )
        return R_E_SQR_M2 * self.fluence * intensity * self._factors()

    def _factors(self) -> np.ndarray:
        """Return solid angle times polarization at each pixel's first subpixel."""
        panel = self.panel
        slow, fast = ((np.arange(n) + 0.5 / self.oversample) for n in panel.image_size)
        positions = (
            panel.origin_mm
            + slow[:, None, None] * panel.pixel_size_mm * panel.slow_axis
            + fast[None, :, None] * panel.pixel_size_mm * panel.fast_axis
        )
        return solid_angle(
            positions,
            pixel_size_mm=panel.pixel_size_mm,
            close_distance_mm=self.close_distance_mm,
        ) * polarization_factor(
            positions,
            incident=self.sources[0, :3],
            polarization=self.polarization,
            polarization_axis=self.polarization_axis,
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class AmorphousCase:
    """One nonBragg image, its table and the settings of its command line."""

    image: np.ndarray
    stol: np.ndarray
    options: dict[str, str]

    def render(self) -> np.ndarray:
        """Return our expected photons."""
        number = {name: float(value) for name, value in self.options.items() if _is_number(value)}
        beam = Beam(
            wavelength_A=number["lambda"],
            photons_per_pulse=number["flux"] * number["exposure"],
            size_mm=number["beamsize"],
            polarization=number.get("polar", 0.0),
        )
        # nonBragg's -Ybeam counts along fast and -Xbeam along slow
        detector = Detector(
            image_size=self.image.shape,
            pixel_size_mm=number["pixel"],
            distance_mm=number["distance"],
            beam_center_px=(number["Xbeam"] / number["pixel"], number["Ybeam"] / number["pixel"]),
        )
        volume_cm3 = beam.area_mm2 * number["thick"] * 1e-3
        molecules = volume_cm3 * number["density"] * AVOGADRO / number["MW"]
        pulse = Pulse(beam=beam, photons=beam.photons_per_pulse, wavelength_A=number["lambda"])
        return photons_from_table(
            pulse,
            detector,
            stol=np.ascontiguousarray(self.stol[:, 0]),
            F=np.ascontiguousarray(self.stol[:, 1]),
            strength=R_E_SQR_M2 * pulse.fluence * molecules,
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class NoiseCase:
    """The stages of one noisify run, as far as they were stored, and its settings."""

    stages: dict[str, np.ndarray]
    calibration: float
    readout: float
    offset: float
    psf_fwhm_mm: float
    pixel_size_mm: float


def find_cases(folder: Path) -> list[str]:
    """Return the names of the cases in a folder."""
    return sorted(f.stem for f in folder.glob("*.json") if f.with_suffix(".npz").exists())


def read_case(
    folder: Path, name: str, *, octant_folder: Path | None = None
) -> BraggCase | AmorphousCase | NoiseCase:
    """Read NAME.json and NAME.npz.

    Structure factors that a case shares with others are looked for in `octant_folder` where its
    own does not have them.
    """
    about = json.loads((folder / f"{name}.json").read_text())
    with np.load(folder / f"{name}.npz") as arrays:
        data = dict(arrays)
    if "state" in about:
        octant = folder / f"{OCTANT}.npz"
        if not octant.exists() and octant_folder is not None:
            octant = octant_folder / octant.name
        return _bragg_case(about["state"], data, octant)
    options = _options(about["command"])
    if "stol" in data:
        return AmorphousCase(image=data["image"], stol=data["stol"], options=options)
    return NoiseCase(
        stages=data,
        calibration=float(options.get("calibration", 0)),
        readout=float(options.get("readout", 0)),
        offset=float(options.get("adc", 0)),
        psf_fwhm_mm=float(options.get("psf_fwhm", 0)) / 1000,
        pixel_size_mm=float(options["pixel"]),
    )


def _bragg_case(state: dict, data: dict[str, np.ndarray], octant: Path) -> BraggCase:
    if state["interpolate"]:
        raise ValueError("tricubic interpolation between reflections is not offered")
    F, hkl_min = _amplitudes(data, octant, default_F=state["default_F"])
    axes_A = 1e10 * np.array([state["a0"], state["b0"], state["c0"]])
    steps = state["phi0"] + state["phistep"] * np.arange(int(state["phisteps"]))
    spindle = np.array(state["spindle_vector"])
    sources = np.array(
        [[-x, -y, -z, 1e10 * wave, 1.0] for x, y, z, _, wave in state["source_list_XYZ_I_lambda"]]
    )
    return BraggCase(
        image=data["image"],
        lattice=RenderedCrystal(
            F=F,
            hkl_min=hkl_min,
            real_axes=np.array([axes_A @ rotation_about(spindle, phi).T for phi in steps]),
            domains=data["umats"],
            cells=np.array([state["Na"], state["Nb"], state["Nc"]]),
            shape=SHAPES[int(state["xtal_shape"])],
            default_F=state["default_F"],
        ),
        panel=Panel(
            image_size=data["image"].shape,
            origin_mm=1e3 * np.array(state["pix0_vector"]),
            fast_axis=np.array(state["fdet_vector"]),
            slow_axis=np.array(state["sdet_vector"]),
            pixel_size_mm=1e3 * state["pixel_size"],
        ),
        sources=sources,
        oversample=int(state["oversample"]),
        fluence=state["fluence"],
        close_distance_mm=1e3 * state["close_distance"],
        polarization=state["polarization"],
        polarization_axis=np.array(state["polar_vector"]),
    )


def _amplitudes(
    data: dict[str, np.ndarray], octant: Path, *, default_F: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return amplitudes dense over Miller indices and the first index."""
    if "hkl" in data:
        largest = np.abs(data["hkl"]).max(axis=0)
        F = np.full(2 * largest + 1, default_F, dtype=np.float32)
        F[tuple((data["hkl"] + largest).T)] = data["F"]
    else:
        with np.load(octant) as arrays:
            positive = arrays["F_milli"] / 1000
        largest = np.array(positive.shape) - 1
        absolute = [np.abs(np.arange(-n, n + 1)) for n in largest]
        F = np.ascontiguousarray(positive[np.ix_(*absolute)].astype(np.float32))
    return F, -largest


def _options(command: str) -> dict[str, str]:
    """Return the options of a command line of the form -name value."""
    return dict(re.findall(r"-([A-Za-z_]\w*) (\S+)", command))


def _is_number(text: str) -> bool:
    return re.fullmatch(r"[-+]?[\d.]+(e[-+]?\d+)?", text) is not None
