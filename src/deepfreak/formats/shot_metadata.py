"""The metadata of a simulated shot, in our units and our laboratory frame."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from deepfreak.errors import InputError
from deepfreak.physics.detector import Panel, PhotonCounting, missing_pixels, transmission_map
from deepfreak.physics.shot import Shot

Array = NDArray[np.float64]

# A shot is one pulse. Headers that must state an exposure state this one, as nanoBragg is run: a
# pulse's photons in one second.
NOMINAL_EXPOSURE_S = 1.0
# Cosine of the angle to the beam at which a panel's plane is too oblique to give a distance.
MAX_OBLIQUE = 1e-3
# Share of the light that passes an obstacle, below which a pixel is called shaded.
MAX_SHADED = 0.5


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ShotMetadata:
    """What is known of a shot and its detector."""

    # the experiment's name and the shot's place in its series
    recipe: str
    index: int
    wavelength_A: float
    exposure_s: float
    # of the spindle
    start_deg: float
    range_deg: float
    image_size: tuple[int, int]
    pixel_size_mm: float
    # all of the detector's. Formats that know of one plane get that of the panel that faces the
    # beam most
    panels: tuple[Panel, ...]
    # largest count, and counts of a pixel without light
    saturation: int
    pedestal: float
    # (slow, fast); true where a pixel measures nothing, and where a beamstop or another obstacle
    # takes most of the light
    missing: NDArray[np.bool_] = field(repr=False)
    shaded: NDArray[np.bool_] = field(repr=False)

    @property
    def main_panel(self) -> Panel:
        """The panel that faces the beam most."""
        return max(self.panels, key=lambda panel: float(panel.normal[0]))

    @property
    def distance_mm(self) -> float:
        """From the crystal to the main panel's plane along the beam."""
        return float(self.main_panel.close_distance_mm / self.main_panel.normal[0])

    @property
    def beam_center_px(self) -> tuple[float, float]:
        """Where the beam meets that plane, (slow, fast) in pixels from the image's outer corner."""
        return self._on_image(np.array([self.distance_mm, 0.0, 0.0]))

    @property
    def closest_px(self) -> tuple[float, float]:
        """The point of that plane next to the crystal, as `beam_center_px`."""
        return self._on_image(self.main_panel.close_distance_mm * self.main_panel.normal)

    @property
    def origin_mm(self) -> Array:
        """Outer corner of the image's pixel [0, 0] in that plane, from the crystal."""
        panel = self.main_panel
        to_first = panel.first[0] * panel.slow_axis + panel.first[1] * panel.fast_axis
        return np.asarray(panel.origin_mm - self.pixel_size_mm * to_first)

    def _on_image(self, point_mm: Array) -> tuple[float, float]:
        inside = (point_mm - self.origin_mm) / self.pixel_size_mm
        panel = self.main_panel
        return float(inside @ panel.slow_axis), float(inside @ panel.fast_axis)


def metadata_of(shot: Shot) -> ShotMetadata:
    """Return what is known of `shot`.

    Raises `InputError`: all panels lie along the beam, so that there is no distance to state.
    """
    detector, spindle = shot.experiment.detector, shot.experiment.crystal.spindle
    response = detector.response
    panels = detector.resolved_panels()
    if max(float(panel.normal[0]) for panel in panels) < MAX_OBLIQUE:
        raise InputError("expected a panel that faces the beam, which image files need; found none")
    exposure_s, pedestal = NOMINAL_EXPOSURE_S, 0.0
    if isinstance(response, PhotonCounting):
        exposure_s = response.count_time_s or NOMINAL_EXPOSURE_S
    else:
        pedestal = response.adc_offset_adu
    return ShotMetadata(
        recipe=shot.experiment.name,
        index=shot.index,
        wavelength_A=shot.wavelength_A,
        exposure_s=exposure_s,
        start_deg=spindle.start_deg,
        range_deg=spindle.range_deg,
        image_size=detector.image_size,
        pixel_size_mm=detector.pixel_size_mm,
        panels=panels,
        saturation=response.saturation_value,
        pedestal=pedestal,
        missing=missing_pixels(detector),
        shaded=transmission_map(detector) < MAX_SHADED,
    )
