"""A frame to keep as a record of a draft, and what frames of one file have in common."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deepfreak.errors import FrameError
from deepfreak.formats.frame import Frame, Valid
from deepfreak.live.messages import Hit
from deepfreak.live.receive.dectris.compression import encode

# What is true of all frames of one file; a frame of which it is not begins another.
FileSetup = dict[str, Any]

MASK_TYPE = np.dtype("<u4")
MISSING = 1  # bit 0: a gap in NXmx's pixel mask, an invalid pixel in CXI's


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class HitRecord:
    """What a file holds of one frame.

    Attributes
    ----------
    series
        As `spelled`.
    wavelength_A
        NaN where the frame does not say it.
    probabilities
        In the order of the setup's classes.
    peaks
        (n, 3) float64: fast and slow coordinates of pixels whose centres are whole numbers, and
        photons.
    image, mask
        The frame and its missing pixels as HDF5 stores them; an empty mask is that of the record
        before.
    """

    series: str
    number: int
    label: str
    probabilities: tuple[float, ...]
    p_crystal: float
    received: float
    wavelength_A: float
    peaks: NDArray[np.float64] = field(repr=False)
    image: bytes = field(repr=False)
    mask: bytes = field(repr=False)

    def pack(self) -> bytes:
        """Return it as bytes, `unpack` backwards."""
        import msgpack

        packed: bytes = msgpack.packb(
            [
                self.series,
                self.number,
                self.label,
                self.probabilities,
                self.p_crystal,
                self.received,
                self.wavelength_A,
                self.peaks.astype("<f8").tobytes(),
                self.image,
                self.mask,
            ]
        )
        return packed


def unpack(packed: bytes) -> HitRecord:
    """Return the record that `HitRecord.pack` made bytes of."""
    import msgpack

    series, number, label, probabilities, p_crystal, received, wavelength, peaks, image, mask = (
        msgpack.unpackb(packed)
    )
    return HitRecord(
        series=series,
        number=number,
        label=label,
        probabilities=tuple(probabilities),
        p_crystal=p_crystal,
        received=received,
        wavelength_A=wavelength,
        peaks=np.frombuffer(peaks, "<f8").reshape(-1, 3),
        image=image,
        mask=mask,
    )


def setup_of(frame: Frame, *, form: str, classes: tuple[str, ...]) -> FileSetup:
    """Return what the file of `frame` must say, as JSON has it.

    Raises
    ------
    FrameError
        Its counts are not an image of numbers.
    """
    if frame.counts.ndim != 2 or frame.counts.dtype.kind not in "iuf":
        raise FrameError(
            f"expected counts [slow, fast] of integers or floats, found {frame.counts.ndim} axes "
            f"of {frame.counts.dtype}: give the detector's geometry"
        )
    center = frame.beam_center_px
    return {
        "form": form,
        "classes": list(classes),
        "shape": list(frame.counts.shape),
        "dtype": _stored_type(frame).str,
        "pedestal": float(frame.pedestal),
        "gain": float(frame.counts_per_photon),
        "saturation": _number(frame.saturation),
        "beam_center_px": None if center is None else [float(center[0]), float(center[1])],
        "pixel_size_mm": _number(frame.pixel_size_mm),
        "distance_mm": _number(frame.distance_mm),
    }


def record_of(hit: Hit, frame: Frame, *, image: bytes, mask: bytes) -> HitRecord:
    """Return the record of a hit, whose frame and missing pixels are compressed already."""
    outcome, peaks = hit.outcome, hit.peaks
    columns = [peaks.fast - 0.5, peaks.slow - 0.5, peaks.photons]
    return HitRecord(
        series=spelled(outcome.series),
        number=outcome.number,
        label=outcome.label or "",
        probabilities=tuple(map(float, outcome.probabilities)),
        p_crystal=float("nan") if outcome.p_crystal is None else float(outcome.p_crystal),
        received=float(outcome.received),
        wavelength_A=float("nan") if frame.wavelength_A is None else float(frame.wavelength_A),
        peaks=np.stack(columns, axis=-1).astype(np.float64).reshape(-1, 3),
        image=image,
        mask=mask,
    )


def stored_image(frame: Frame, setup: FileSetup) -> bytes:
    """Return the chunk of the counts in the type of the file."""
    return bytes(encode(frame.counts.astype(setup["dtype"], copy=False)).data)


def stored_mask(valid: Valid) -> bytes:
    """Return the chunk of the mask of the file: `MISSING` where not valid."""
    return bytes(encode(np.where(valid, 0, MISSING).astype(MASK_TYPE)).data)


def spelled(series: str) -> str:
    """Return the name of a series as HDF5 can have it: UTF-8 without zeros."""
    return series.encode("utf-8", "backslashreplace").decode().replace("\0", "\\0")


def _stored_type(frame: Frame) -> "np.dtype[Any]":
    """Return the little-endian type that the frame is stored as.

    In such files the largest of an unsigned type stands for "no measurement". Where it may be a
    count, the next larger type has it; bitshuffle and LZ4 make nothing of the empty bits.
    """
    dtype = frame.counts.dtype
    if dtype.kind == "u" and dtype.itemsize <= 2:
        top = np.iinfo(dtype).max
        if frame.saturation is None or frame.saturation >= top:
            return np.dtype(f"<u{2 * dtype.itemsize}")
    return dtype.newbyteorder("<")


def _number(value: float | None) -> float | None:
    return None if value is None else float(value)
