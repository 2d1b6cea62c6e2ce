"""Headers and images for tests of the writers."""

import numpy as np
from numpy.typing import NDArray

from deepfreak.formats.shot_metadata import ShotMetadata
from deepfreak.physics.detector import Detector, missing_pixels, transmission_map

OFF_CENTRE = Detector(
    image_size=(70, 90), pixel_size_mm=0.172, distance_mm=83.25, beam_center_px=(20.25, 61.5)
)


def header_for(
    detector: Detector = OFF_CENTRE, *, index: int = 7, pedestal: float = 10.0
) -> ShotMetadata:
    """Return a header as `metadata_of` makes it, for a shot of this detector."""
    return ShotMetadata(
        recipe="toy",
        index=index,
        wavelength_A=1.4876543,
        exposure_s=1.0,
        start_deg=0.0,
        range_deg=0.0,
        image_size=detector.image_size,
        pixel_size_mm=detector.pixel_size_mm,
        panels=detector.resolved_panels(),
        saturation=65025,
        pedestal=pedestal,
        missing=missing_pixels(detector),
        shaded=transmission_map(detector) < 0.5,
    )


def counts_for(detector: Detector = OFF_CENTRE, *, seed: int = 0) -> NDArray[np.uint16]:
    """Return counts from zero to the maximum, with no two equal neighbours."""
    rng = np.random.default_rng(seed)
    counts = rng.poisson(200, detector.image_size).astype(np.uint16)
    counts[0, 0], counts[0, 1], counts[-1, -1] = 0, 65025, 4097
    return counts
