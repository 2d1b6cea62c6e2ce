"""Reads reference images of the original programs and renders the same with deepfreak."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from deepfreak.detector import polarization_factor, solid_angle
from deepfreak.scattering.bragg import Lattice, Panel, bragg_intensity
from deepfreak.scattering.constants import R_E_SQR_M2

SHAPES = {0: "square", 1: "round", 2: "gauss", 3: "tophat"}


@dataclass(frozen=True, kw_only=True, eq=False)
class BraggCase:
    """One nanoBragg image and everything it was made from."""

    name: str
    image: np.ndarray
    lattice: Lattice
    panel: Panel
    sources: np.ndarray
    oversample: int
    fluence: float
    close_distance_mm: float
    polarization: float
    polarization_axis: np.ndarray

    def render(self, *, follow_landings: bool | None = None) -> np.ndarray:
        """Return our expected photons of one domain, as nanoBragg counts them."""
        intensity = bragg_intensity(
            self.lattice,
            self.panel,
            sources=self.sources,
            oversample=self.oversample,
            follow_landings=follow_landings,
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


def read_bragg_case(folder: Path, name: str) -> BraggCase:
    """Read NAME.json and NAME.npz."""
    about = json.loads((folder / f"{name}.json").read_text())
    state = about["state"]
    with np.load(folder / f"{name}.npz") as arrays:
        data = dict(arrays)
    F, hkl_min = _amplitudes(folder, data, default_F=state["default_F"])
    axes_A = 1e10 * np.array([state["a0"], state["b0"], state["c0"]])
    sources = np.array(
        [[-x, -y, -z, 1e10 * wave, 1.0] for x, y, z, _, wave in state["source_list_XYZ_I_lambda"]]
    )
    return BraggCase(
        name=name,
        image=data["image"],
        lattice=Lattice(
            F=F,
            hkl_min=hkl_min,
            real_axes=axes_A[None],
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
    folder: Path, data: dict[str, np.ndarray], *, default_F: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return amplitudes dense over Miller indices and the first index."""
    if "hkl" in data:
        largest = np.abs(data["hkl"]).max(axis=0)
        F = np.full(2 * largest + 1, default_F, dtype=np.float32)
        F[tuple((data["hkl"] + largest).T)] = data["F"]
    else:
        with np.load(folder / "psii_F_octant_milli.npz") as arrays:
            octant = arrays["F_milli"] / 1000
        largest = np.array(octant.shape) - 1
        absolute = [np.abs(np.arange(-n, n + 1)) for n in largest]
        F = octant[np.ix_(*absolute)].astype(np.float32)
    return F, -largest
