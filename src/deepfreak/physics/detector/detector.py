"""The detector: a canvas of pixels, its panels, its response, and what stands before them."""

from functools import lru_cache
from itertools import combinations
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Discriminator, Field, Tag

from deepfreak.physics.detector.obstacles import Obstacle
from deepfreak.physics.detector.panel import (
    Modules,
    Panel,
    PlacedPanel,
    Region,
    rectangle,
    unit_axes,
)
from deepfreak.settings import Count, Finite, Fraction, NonNegative, Positive, Vector, settings

SixteenBits = Annotated[int, Field(ge=1, le=65535)]

Array = NDArray[np.float64]

FAST_AXIS: Vector = (0.0, 0.0, 1.0)
SLOW_AXIS: Vector = (0.0, -1.0, 0.0)


@settings
class CCD:
    """A fibre-coupled CCD, as Appendix A simulates it.

    Parameters
    ----------
    calibration_rms, calibration_seed
        Relative RMS of the pixels' calibration error, and the seed of this device's fixed map.
    psf_fwhm_mm
        Full width at half maximum of the fibre's point spread (Holton et al. 2012); 0 for none.
    readout_noise_adu, adc_offset_adu, saturation_value
        RMS read-out noise, pedestal, and largest count; one count is one photon.
    """

    kind: Literal["ccd"] = "ccd"
    calibration_rms: NonNegative = 0.0
    calibration_seed: int = 0
    psf_fwhm_mm: NonNegative = 0.0
    readout_noise_adu: NonNegative = 0.0
    adc_offset_adu: NonNegative = 0.0
    saturation_value: SixteenBits = 65025


@settings
class PhotonCounting:
    """A hybrid pixel detector, which counts photons one by one: no read-out noise, no pedestal.

    After a photon a pixel is blind for the dead time. The model is one of a beam that is even
    over the exposure, as a synchrotron's. It is not made for single pulses of a free-electron
    laser: all photons of one arrive within any dead time, so that a counting pixel reports 0 or 1.
    """

    kind: Literal["photon-counting"]
    # calibration_rms, calibration_seed as those of `CCD`: pixels whose thresholds differ count
    # different shares of the photons
    calibration_rms: NonNegative = 0.0
    calibration_seed: int = 0
    # dead_time_ns, count_time_s: how long a pixel is blind after a photon, and how long it counts;
    # without dead time the latter does not matter
    dead_time_ns: NonNegative = 0.0
    count_time_s: Positive | None = None
    # Whether a photon that arrives in the dead time, itself not counted, starts it anew
    paralyzable: bool = False
    saturation_value: SixteenBits = 65535  # largest count

    def __post_init__(self) -> None:
        if self.dead_time_ns > 0 and self.count_time_s is None:
            raise ValueError(
                "dead_time_ns needs count_time_s, the exposure it is to be compared to"
            )

    @property
    def dead_share(self) -> float:
        """Dead time of one photon as a share of the exposure."""
        if self.count_time_s is None:
            return 0.0
        return self.dead_time_ns * 1e-9 / self.count_time_s


def _kind(response: object) -> str | None:
    if isinstance(response, dict):
        kind = response.get("kind", "ccd")
        return kind if isinstance(kind, str) else None
    return getattr(response, "kind", None)


# A recipe may leave out the kind of a CCD.
Response = Annotated[
    Annotated[CCD, Tag("ccd")] | Annotated[PhotonCounting, Tag("photon-counting")],
    Discriminator(
        _kind,
        custom_error_type="response_kind",
        custom_error_message="kind is one of ccd, photon-counting",
    ),
]


@settings
class BadPixels:
    """Pixels that do not see light, scattered at random but fixed for a device."""

    dead_fraction: Fraction = 0.0  # share of the pixels that report nothing: 0 counts
    # hot_fraction, hot_value: share of the pixels that always report the same, and what: the
    # saturation value by default
    hot_fraction: Fraction = 0.0
    hot_value: SixteenBits | None = None
    seed: int = 0  # of this device's map

    def __post_init__(self) -> None:
        if self.dead_fraction + self.hot_fraction > 1:
            raise ValueError(
                "dead_fraction and hot_fraction are at most 1 together, "
                f"found {self.dead_fraction} and {self.hot_fraction}"
            )


@settings
class Detector:
    """Square pixels on one canvas: a flat detector, or panels in any position and tilt.

    Parameters
    ----------
    image_size
        Pixels of the canvas, that is of the image, along (slow, fast).
    pixel_size_mm
        Side of a pixel.
    distance_mm
        Of a flat detector: from the crystal to where the beam meets its plane, along the beam.
    beam_center_px
        That point as (slow, fast) in pixels from the first pixel's outer corner; by default the
        canvas's middle.
    fast_axis, slow_axis
        Directions in which the indices grow; they need not have unit length.
    modules
        How gaps divide a flat detector; by default it has none.
    panels
        In place of all these: parts of the canvas, each with its own position. Pixels in none of
        them are gaps.
    obstacles
        What stands between crystal and detector.
    response, bad_pixels
        What turns expected photons into counts, and the pixels in which it fails.
    """

    image_size: tuple[Count, Count]
    pixel_size_mm: Positive
    distance_mm: Positive | None = None
    beam_center_px: tuple[Finite, Finite] | None = None
    fast_axis: Vector = FAST_AXIS
    slow_axis: Vector = SLOW_AXIS
    modules: Modules | None = None
    panels: tuple[PlacedPanel, ...] = ()
    obstacles: tuple[Obstacle, ...] = ()
    response: Response = CCD()
    bad_pixels: BadPixels = BadPixels()

    def __post_init__(self) -> None:
        if max(self.image_size) > 16384:
            raise ValueError(f"image_size is at most 16384 x 16384, found {self.image_size}")
        if self.panels:
            self._check_panels()
        else:
            self._check_flat()

    def _check_flat(self) -> None:
        if self.distance_mm is None:
            raise ValueError("distance_mm is missing; a detector has it, or panels")
        fast, slow = unit_axes(self.fast_axis, self.slow_axis)
        if abs(np.cross(fast, slow)[0]) < 1e-6:
            raise ValueError("fast_axis and slow_axis must not span a plane along the beam (x)")
        if self.modules is not None and self.modules.image_size != self.image_size:
            raise ValueError(
                f"modules and their gaps cover {self.modules.image_size} pixels, "
                f"found image_size {self.image_size}; make them equal"
            )

    def _check_panels(self) -> None:
        flat = {
            "distance_mm": self.distance_mm is not None,
            "beam_center_px": self.beam_center_px is not None,
            "fast_axis": self.fast_axis != FAST_AXIS,
            "slow_axis": self.slow_axis != SLOW_AXIS,
            "modules": self.modules is not None,
        }
        given = [name for name, is_given in flat.items() if is_given]
        if given:
            raise ValueError(
                f"panels say where each pixel is, found {given[0]} beside them; leave it out"
            )
        for number, panel in enumerate(self.panels):
            slow, fast = rectangle(panel.first, panel.image_size)
            if slow.stop > self.image_size[0] or fast.stop > self.image_size[1]:
                raise ValueError(
                    f"panels.{number} ends at pixel ({slow.stop}, {fast.stop}), outside "
                    f"image_size {self.image_size}"
                )
        for (a, one), (b, other) in combinations(enumerate(self.panels), 2):
            if all(
                one.first[axis] < other.first[axis] + other.image_size[axis]
                and other.first[axis] < one.first[axis] + one.image_size[axis]
                for axis in (0, 1)
            ):
                raise ValueError(f"panels.{a} and panels.{b} overlap; each pixel is in one panel")
        for number, obstacle in enumerate(self.obstacles):
            if obstacle.distance_mm is None:
                raise ValueError(
                    f"obstacles.{number} needs distance_mm, because panels have no common distance"
                )

    @classmethod
    def flat(
        cls,
        *,
        image_size: tuple[int, int],
        pixel_size_mm: float,
        distance_mm: float,
        response: Response | None = None,
    ) -> "Detector":
        """Return a detector facing the beam, which meets its middle."""
        return cls(
            image_size=image_size,
            pixel_size_mm=pixel_size_mm,
            distance_mm=distance_mm,
            response=response or CCD(),
        )

    def resolved_panels(self) -> tuple[Panel, ...]:
        """Return the panels in numbers; a flat detector is one, whatever modules divide it."""
        return _resolved_panels(self)

    def sensitive_regions(self) -> tuple[Region, ...]:
        """Return the parts of the canvas within which light can spread: modules or panels."""
        if self.modules is not None:
            return self.modules.regions
        return tuple(panel.region for panel in self.resolved_panels())

    @property
    def axes(self) -> tuple[Array, Array]:
        """Unit vectors along fast and slow of a flat detector."""
        panel = self._only_panel()
        return panel.fast_axis, panel.slow_axis

    @property
    def origin_mm(self) -> Array:
        """Outer corner of pixel [0, 0] of a flat detector, from the crystal."""
        return self._only_panel().origin_mm

    def pixel_positions_mm(self, *, subpixel: tuple[float, float] = (0.5, 0.5)) -> Array:
        """Return where each pixel is, (slow, fast, xyz), at `subpixel` (slow, fast) within it.

        Pixels between panels are nowhere: NaN.
        """
        positions = np.full((*self.image_size, 3), np.nan)
        for panel in self.resolved_panels():
            positions[panel.region] = panel.pixel_positions_mm(subpixel=subpixel)
        return positions

    def _only_panel(self) -> Panel:
        if self.panels:
            raise ValueError(
                f"a detector of {len(self.panels)} panels has no single position; "
                "ask each of resolved_panels()"
            )
        return self.resolved_panels()[0]


@lru_cache(maxsize=8)
def _resolved_panels(detector: Detector) -> tuple[Panel, ...]:
    if detector.panels:
        return tuple(panel.panel(detector.pixel_size_mm) for panel in detector.panels)
    fast, slow = unit_axes(detector.fast_axis, detector.slow_axis)
    center = detector.beam_center_px or (detector.image_size[0] / 2, detector.image_size[1] / 2)
    beam_mm = detector.pixel_size_mm * (center[0] * slow + center[1] * fast)
    panel = Panel(
        image_size=detector.image_size,
        origin_mm=np.array([detector.distance_mm, 0.0, 0.0]) - beam_mm,
        fast_axis=fast,
        slow_axis=slow,
        pixel_size_mm=detector.pixel_size_mm,
    )
    return (panel,)
