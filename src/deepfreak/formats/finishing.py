"""From what a reader has read to the frame that is classified: what the user says beside it."""

from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import TypedDict

import numpy as np
from numpy.typing import NDArray

from deepfreak.errors import FrameError, GeometryError
from deepfreak.formats.frame import Frame, Valid, dimensions
from deepfreak.formats.geometry.geometry import FileMask, Geometry
from deepfreak.formats.geometry.layout import assemble
from deepfreak.formats.hdf5.reader import read_hdf5_array


class ReadOptions(TypedDict, total=False):
    """The keyword arguments of `read_frames` and `open_frames`; all may be left out.

    They can be pickled, so that another process reads with the same ones.
    """

    # true where a pixel is to be left out; of the frame's shape or of that of its raw data
    mask: Valid | None
    geometry: Geometry | None  # where the detector's panels are, or the beam
    # which of several images of a frame (energy thresholds) to take: its name, or its number from
    # 1; the first without it
    channel: str | None
    gain: float | None  # counts for each photon, in place of the header's
    pedestal: float | None  # counts of a pixel without light, in place of the header's
    # the same for each pixel; of the frame's shape or of that of its raw data, NaN where unknown
    dark: NDArray[np.float32] | None
    reasons: bool  # whether `Frame.missing` is filled


def finished(frame: Frame, options: ReadOptions) -> Frame:
    """Return `frame` with mask, dark, gain and pedestal given by hand, laid out by the geometry.

    Mask and dark have the shape of the raw data or of the image. They only add to what is missing;
    gain and pedestal stand in place of those that were found.

    Raises `GeometryError`: geometry, mask or dark do not fit the frame.
    """
    geometry = options.get("geometry")
    if not options.get("reasons"):
        frame = replace(frame, missing={})
    raw = frame.counts.shape
    for mask in geometry.masks if geometry is not None else ():
        if mask.file is not None:
            frame = _masked(frame, _mask_of_file(mask, raw), f"{mask.path} of {mask.file}", options)
    frame = _by_hand(frame, options)
    image = assemble(frame, geometry)
    if image.counts.shape != raw:
        image = _by_hand(image, options)
    shapes = {raw, image.counts.shape}
    for name, given in (("mask", options.get("mask")), ("dark", options.get("dark"))):
        if given is not None and given.shape not in shapes:
            raise GeometryError(
                f"expected a {name} of the frame's size {dimensions(image.counts.shape)}, found "
                f"one of {dimensions(given.shape)}: make it for this detector and binning"
            )
    return image if options.get("reasons") else replace(image, missing={})


def require_no_places(options: ReadOptions) -> None:
    """Raise `FrameError` where a geometry sends to places in a file that has none."""
    geometry = options.get("geometry")
    if geometry is None:
        return
    inside = [place.path for place in geometry.located.values()]
    inside += [mask.path for mask in geometry.masks if mask.file is None]
    if inside:
        raise FrameError(
            f"expected an HDF5 file, in which {geometry.source} looks for {inside[0]}, found "
            "another format: give the number itself in the geometry"
        )


def _by_hand(frame: Frame, options: ReadOptions) -> Frame:
    """Apply what has the frame's shape; numbers once, to the raw data."""
    mask, dark = options.get("mask"), options.get("dark")
    if mask is not None and mask.shape == frame.counts.shape:
        frame = _masked(frame, mask, "mask given by hand", options)
    if dark is not None and dark.shape == frame.counts.shape:
        known = np.isfinite(dark)
        frame = _masked(frame, ~known, "no dark", options)
        level = np.where(known, dark, 0).astype(np.float32)
        saturation = frame.saturation
        if saturation is not None and known.any():
            saturation = max(saturation - float(np.median(dark[known])), 1.0)
        frame = replace(
            frame,
            counts=frame.counts.astype(np.float32) - level,
            pedestal=0.0,
            saturation=saturation,
            origins={**frame.origins, "pedestal": "dark given by hand"},
        )
    for name in ("gain", "pedestal"):
        value = options.get(name)
        if value is not None:
            origins = {**frame.origins, name: "given by hand"}
            frame = replace(frame, origins=origins, **{name: float(value)})  # type: ignore[arg-type]
    return frame


def _masked(frame: Frame, mask: Valid, reason: str, options: ReadOptions) -> Frame:
    missing = frame.missing
    if options.get("reasons") and mask.any():
        missing = {**missing, reason: mask}
    return replace(frame, valid=frame.valid & ~mask, missing=missing)


@lru_cache(maxsize=8)
def _mask_of_file(mask: FileMask, shape: tuple[int, ...]) -> Valid:
    """Return a mask that a geometry names in a file of its own."""
    name = mask.file or ""
    places = [Path(name), Path(mask.folder, name)]
    path = next((place for place in places if place.is_file()), None)
    if path is None:
        raise GeometryError(f"expected the mask file {name}, as the geometry says, found none")
    values = read_hdf5_array(path, mask.path)
    while values.ndim > len(shape) and values.shape[0] == 1:
        values = values[0]
    if values.shape != shape:
        raise GeometryError(
            f"expected a mask of {dimensions(shape)} in {name}, found one of "
            f"{dimensions(values.shape)}"
        )
    return mask.masked(values)
