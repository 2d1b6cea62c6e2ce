"""The comments `# Key value` in PILATUS and EIGER files: read, and written for simulated shots."""

import re
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from deepfreak.formats.frame import Metadata
from deepfreak.formats.headers import NUMBER, metadata_from, number_after, times

if TYPE_CHECKING:
    from deepfreak.formats.shot_metadata import ShotMetadata

MISSING = -1


def dectris_metadata(text: str) -> Metadata:
    """Return what the `# Key value` comments of PILATUS and EIGER files say.

    Lengths are in metres there; `Beam_xy` is (fast, slow) in pixels. `Pedestal` stands in simulated
    files only.
    """
    beam = re.search(
        rf"Beam_xy[\s=:]{{0,40}}\(?\s{{0,40}}{NUMBER}\s{{0,40}},\s{{0,40}}{NUMBER}", text
    )
    return metadata_from(
        pedestal=number_after(text, "Pedestal"),
        saturation=number_after(text, "Count_cutoff"),
        beam_slow=(float(beam[2]), "Beam_xy") if beam else None,
        beam_fast=(float(beam[1]), "Beam_xy") if beam else None,
        pixel_size_mm=times(number_after(text, "Pixel_size"), 1e3),
        distance_mm=times(number_after(text, "Detector_distance"), 1e3),
        wavelength_A=number_after(text, "Wavelength"),
    )


def dectris_name(text: str) -> str | None:
    """Return the detector that the comments of a PILATUS or EIGER file name."""
    match = re.search(r"#[ \t]{0,10}Detector[ \t]{0,10}[:=][ \t]{0,10}([^\r\n,;]{1,80})", text)
    return match[1].strip() if match else None


def comments(header: "ShotMetadata") -> list[str]:
    """Return the header's lines; lengths are in metres, the beam is (fast, slow) in pixels."""
    pixel = f"{header.pixel_size_mm * 1e-3:.9g} m"
    slow, fast = header.beam_center_px
    return [
        f"# Detector: PILATUS-like, simulated by DeepFreak, recipe {header.recipe:.80}",
        f"# Pixel_size {pixel} x {pixel}",
        f"# Exposure_time {header.exposure_s:.7f} s",
        f"# Exposure_period {header.exposure_s:.7f} s",
        f"# Count_cutoff {header.saturation} counts",
        f"# Pedestal {header.pedestal:.9g} counts",
        f"# Wavelength {header.wavelength_A:.10g} A",
        f"# Detector_distance {header.distance_mm * 1e-3:.10g} m",
        f"# Beam_xy ({fast:.4f}, {slow:.4f}) pixels",
        f"# Start_angle {header.start_deg:.4f} deg.",
        f"# Angle_increment {header.range_deg:.4f} deg.",
    ]


def with_gaps(
    image: NDArray[np.uint16] | NDArray[np.float32], header: "ShotMetadata"
) -> NDArray[np.int32] | NDArray[np.float32]:
    """Return the image with what stands for "no measurement" in its missing pixels."""
    if image.dtype.kind == "f":
        return np.where(header.missing, np.float32(np.nan), image).astype(np.float32)
    return np.where(header.missing, np.int32(MISSING), image.astype(np.int32)).astype(np.int32)
