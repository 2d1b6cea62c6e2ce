"""How a detector frame was read, for the user to check."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from deepfreak.evidence import Evidence
from deepfreak.formats.frame import Frame
from deepfreak.formats.measured import counted


def describe(frame: Frame, frames: int, evidence: Evidence | None = None) -> dict[str, Any]:
    """Return how `frame`, one of `frames` in its file, was read, as JSON values.

    Read the frame with `reasons`, or `missing` is empty.

    Returns
    -------
    dict
        `file` (as `os.fsdecode` has it), `frame`, `frames`; `shape` [slow, fast] and `dtype` of
        the counts; `valid`, the number of pixels that measured something; `missing`, the number of
        others by reason;
        `saturated`, the number of valid pixels at `saturation` or above; `gain` (counts for each
        photon), `pedestal` and `saturation` (counts), `beam_center_px` (slow, fast),
        `pixel_size_mm`, `distance_mm`, `wavelength_A`, `detector`; `from`, where each value was
        found; `notes`; `evidence` (`describe_evidence`). What is unknown is None.
    """
    saturated = None
    if frame.saturation is not None:
        saturated = int(np.count_nonzero((frame.counts >= frame.saturation) & frame.valid))
    pedestal = frame.pedestal if "pedestal" in frame.origins else None
    center = frame.beam_center_px
    return {
        "file": frame.file,
        "frame": frame.index,
        "frames": frames,
        "shape": list(frame.counts.shape),
        "dtype": str(frame.counts.dtype),
        "valid": int(np.count_nonzero(frame.valid)),
        "missing": counted(frame.missing),
        "saturated": saturated,
        "gain": frame.gain,
        "pedestal": pedestal,
        "saturation": frame.saturation,
        "beam_center_px": None if center is None else [float(center[0]), float(center[1])],
        "pixel_size_mm": frame.pixel_size_mm,
        "distance_mm": frame.distance_mm,
        "wavelength_A": frame.wavelength_A,
        "detector": frame.detector,
        "from": dict(frame.origins),
        "notes": list(frame.notes),
        "evidence": None if evidence is None else describe_evidence(evidence),
    }


def describe_evidence(evidence: Evidence) -> dict[str, Any]:
    """Return what a crystallographer can check of the evidence, as JSON has it.

    Returns
    -------
    dict
        `peaks`, their number with z of 5, 7 and 10 by these words; `peaks_off_rings`, the same;
        `hot_pixels` and `crests`, what was left out; `ring_share`, `ring_center_px` (slow, fast),
        `ring_center_origin` ("given", "found", "unknown"), `rings`, how many; `texture`;
        `lattice_score` and `lattices`; `d_min_A`; `photon`, counts of one photon, and
        `photon_origin` ("header", "estimated"); `noise`, counts. What is unknown is None.
    """
    rings, lattices = evidence.rings, evidence.lattices
    center = rings.center_px
    return {
        "peaks": _over(evidence.peaks.z),
        "peaks_off_rings": _over(evidence.off_rings.z),
        "hot_pixels": evidence.hot_pixels,
        "crests": evidence.crests,
        "ring_share": round(rings.share, 4),
        "ring_center_px": None if center is None else [round(float(x), 2) for x in center],
        "ring_center_origin": rings.origin,
        "rings": len(rings.radii_px),
        "texture": round(rings.texture, 4),
        "lattice_score": round(lattices.score, 2),
        "lattices": lattices.number,
        "d_min_A": None if evidence.d_min_A is None else round(evidence.d_min_A, 3),
        "photon": evidence.photon,
        "photon_origin": "header" if evidence.photon_known else "estimated",
        "noise": evidence.noise,
    }


def _over(z: NDArray[np.float64]) -> dict[str, int]:
    return {str(least): int(np.count_nonzero(z >= least)) for least in (5, 7, 10)}
