"""A frame as MessagePack in the form of OM (OnDA Monitor), which CrystFEL reads.

::

    detector_data      {type: "<f4", shape: [slow, fast], data}: counts, NaN where not valid, which
                       CrystFEL takes for bad pixels
    peak_list          {num_peaks, fs, ss, intensity}: lists; whole numbers are pixels' centres,
                       intensities are photons
    beam_energy        eV
    detector_distance  mm
    event_id           "SERIES//NUMBER"
    timestamp          seconds since 1970, of receipt
    source             "deepfreak"

and beside what OM sends: series, number, decision ("keep" or "unsure"), reasons, label, p_crystal.
`beam_energy` and `detector_distance` are missing where the frame does not say them. A CrystFEL
geometry names these as it names places in a file: `data = detector_data`, `peak_list = peak_list`,
`photon_energy = beam_energy eV`, `clen = detector_distance mm`.

CrystFEL compares a name that it looks for with as much of it as each key is long, so that no key
may be the beginning of another; and it takes every peak's numbers for floats without looking.
"""

from typing import TYPE_CHECKING

import numpy as np

from deepfreak.live.messages import BraggPeaks, Hit

if TYPE_CHECKING:
    from deepfreak.formats.frame import Frame

HC_EV_A = 12398.419843320026  # photon energy times wavelength, exact in the SI


def pack_hit(hit: Hit) -> bytes:
    """Return the message of a hit.

    Raises
    ------
    FrameError
        The frame cannot be decoded.
    """
    import msgpack

    frame, outcome = hit.frame(), hit.outcome
    message: dict[str, object] = {
        "detector_data": _detector_data(frame),
        "peak_list": _peak_list(hit.peaks),
        "event_id": _text(f"{outcome.series}//{outcome.number}"),
        "timestamp": float(outcome.received),
        "source": "deepfreak",
        "series": _text(outcome.series),
        "number": outcome.number,
        "decision": outcome.decision,
        "reasons": list(outcome.reasons),
        "label": outcome.label,
        "p_crystal": outcome.p_crystal,
    }
    if frame.wavelength_A is not None:
        message["beam_energy"] = float(HC_EV_A / frame.wavelength_A)
    if frame.distance_mm is not None:
        message["detector_distance"] = float(frame.distance_mm)
    packed: bytes = msgpack.packb(message, use_bin_type=True)
    return packed


def _detector_data(frame: "Frame") -> dict[bytes, object]:
    """Return the image as the package msgpack-numpy writes arrays."""
    image = frame.counts.astype("<f4")
    image[~frame.valid] = np.nan
    return {
        b"nd": True,
        b"type": "<f4",
        b"kind": b"",
        b"shape": list(image.shape),
        b"data": image.tobytes(),
    }


def _peak_list(peaks: BraggPeaks) -> dict[str, object]:
    return {
        "num_peaks": len(peaks),
        "fs": (np.asarray(peaks.fast, np.float64) - 0.5).tolist(),
        "ss": (np.asarray(peaks.slow, np.float64) - 0.5).tolist(),
        "intensity": np.asarray(peaks.photons, np.float64).tolist(),
    }


def _text(name: str) -> str:
    """Return `name` as UTF-8 can have it."""
    return name.encode("utf-8", "backslashreplace").decode()
