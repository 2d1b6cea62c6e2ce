"""HDF5: NXmx and EIGER masters, CXI, plain stacks, and our own data sets.

An NXmx master holds no images; `/entry/data/data_000001`, ... link to the files that do. Other
files hold one stack of frames, in a place that depends on who wrote it (`hdf5_search`).
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import h5py
import numpy as np

from deepfreak.errors import FrameError
from deepfreak.frames.detector_group import facts_beside, mask_beside, wavelengths_beside
from deepfreak.frames.frame import Counts, Frame, FrameFile, Valid, require_shape
from deepfreak.frames.geometry import Geometry
from deepfreak.frames.hdf5_search import Part, find_parts
from deepfreak.frames.headers import facts
from deepfreak.frames.missing import counts_photons, sentinels, unlit
from deepfreak.frames.plain import from_root

_MAGIC = b"\x89HDF\r\n\x1a\n"
_GAP_SHARE = 0.005  # of pixels at the largest value: more are no overloads

# Single modules of segmented detectors, (slow, fast) pixels; files stack them along one axis.
_MODULES = {
    "CSPAD": (185, 388),
    "AGIPD": (512, 128),
    "ePix10k": (352, 384),
    "Jungfrau": (512, 1024),
    "Jungfrau with gaps": (514, 1030),
}
_ALSO_DETECTORS = {(512, 1024), (514, 1030)}  # in use as single modules
_CSPAD_SLAB = (1480, 1552)


def is_hdf5(path: Path, start: bytes) -> bool:
    """Return whether the file is HDF5, also behind a user block."""
    return start.startswith(_MAGIC) or bool(h5py.is_hdf5(str(path)))


@contextmanager
def open_hdf5(path: Path, name: str, geometry: Geometry | None = None) -> Iterator[FrameFile]:
    """Open an HDF5 file of frames.

    Raises
    ------
    FrameError
        No image data set or several, a missing linked file or compression filter, or the modules
        of a segmented detector without a `geometry`.
    """
    import hdf5plugin  # noqa: F401 - its import registers the compression filters

    with ExitStack() as stack:
        file = stack.enter_context(h5py.File(path, "r"))
        if _is_our_data_set(file):
            yield _our_frames(file["images"], name)
            return
        parts = find_parts(file, geometry.data_path if geometry else None)
        yield _frames(file, parts, name, geometry)


def _is_our_data_set(file: h5py.File) -> bool:
    """Return whether `generate` wrote this file: 8-bit roots with their labels."""
    images, labels = file.get("images"), file.get("label")
    return (
        isinstance(images, h5py.Dataset)
        and isinstance(labels, h5py.Dataset)
        and images.dtype == np.uint8
        and images.ndim == 3
        and "classes" in labels.attrs
    )


def _our_frames(images: h5py.Dataset, name: str) -> FrameFile:
    require_shape(images.shape[1:])
    _require_filters(images)
    return FrameFile(
        count=int(images.shape[0]), read=lambda index: from_root(images[index], name, index)
    )


def _frames(file: h5py.File, parts: list[Part], name: str, geometry: Geometry | None) -> FrameFile:
    """Return the frames of `parts`, up to the first part whose file is missing."""
    whole = [part.data for part in parts if part.data is not None]
    if not whole:
        raise FrameError(parts[0].missing or "expected frames, found none")
    first = whole[0]
    axes = _frame_axes(first.shape, geometry)
    _require_alike(whole, axes)
    of_frames = _order(parts, axes)
    mask = mask_beside(file, first, axes, geometry)
    found = facts_beside(file, first)
    wavelengths = wavelengths_beside(file, len(of_frames))

    def read(index: int) -> Frame:
        part, inside = of_frames[index]
        if part.data is None:
            raise FrameError(part.missing or "a linked file is missing")
        counts = part.data[()] if part.data.ndim == axes else part.data[inside]
        if counts.ndim == 3 and geometry is None:
            counts = counts[0]
        masked = mask(index)
        valid = _valid(counts, photon_counting=masked is not None)
        if masked is not None:
            valid &= ~masked.reshape(valid.shape)
        if wavelengths is not None:
            beside = found | facts(wavelength_A=wavelengths[index])
            return Frame(file=name, index=index, counts=counts, valid=valid, **beside)
        return Frame(file=name, index=index, counts=counts, valid=valid, **found)

    return FrameFile(count=len(of_frames), read=read)


def _require_alike(whole: list[h5py.Dataset], axes: int) -> None:
    """Raise `FrameError` unless the data sets hold readable frames of one sensible size."""
    shape = whole[0].shape[-axes:]
    require_shape(shape)
    for data in whole:
        _require_filters(data)
        if data.shape[-axes:] != shape:
            raise FrameError(
                f"expected frames of one size, {shape}, found {data.shape[-axes:]} in {data.name}"
            )


def _order(parts: list[Part], axes: int) -> list[tuple[Part, int]]:
    """Return for each frame its part and its number in it; a missing part counts as a frame.

    Those behind a missing part are left out: they would get wrong numbers.
    """
    of_frames: list[tuple[Part, int]] = []
    for part in parts:
        if part.data is None:
            of_frames.append((part, 0))
            break
        count = 1 if part.data.ndim == axes else int(part.data.shape[0])
        of_frames.extend((part, inside) for inside in range(count))
    if not of_frames:
        raise FrameError("expected frames in the HDF5 file, found a stack of none")
    return of_frames


def _valid(counts: Counts, *, photon_counting: bool) -> Valid:
    """Return the pixels of `counts` that hold a measurement, going by the values alone."""
    top_is_missing = False
    if counts.dtype.kind == "u":
        at_top = counts == np.iinfo(counts.dtype).max
        top_is_missing = photon_counting or float(at_top.mean()) > _GAP_SHARE
    counting = photon_counting or counts_photons(counts) or top_is_missing
    valid = sentinels(counts, photon_counting=counting, top_is_missing=top_is_missing)
    if not counting and counts.ndim == 2:
        valid &= ~unlit(counts, valid)
    return valid


def _frame_axes(shape: tuple[int, ...], geometry: Geometry | None) -> int:
    """Return how many of the last axes of `shape` make one frame.

    Raises
    ------
    FrameError
        The frames are stacks of modules and there is no geometry that says where these are.
    """
    if geometry is not None:
        axes = geometry.raw_axes(shape)
        if len(shape) not in {axes, axes + 1}:
            raise FrameError(
                f"expected data of {axes} or {axes + 1} axes after {geometry.source}, found {shape}"
            )
        return axes
    if len(shape) == 4 and shape[1] == 1:
        return 3  # one module: an image
    modules = _modules(shape)
    if modules:
        size = " x ".join(str(length) for length in shape)
        raise FrameError(
            f"expected one assembled image a frame, found {modules} in data of {size}: "
            "give their layout with --geometry FILE (CrystFEL .geom or DIALS .expt)"
        )
    return 2


def _modules(shape: tuple[int, ...]) -> str:
    """Return which raw modules data of this shape hold; an empty string where it holds images."""
    if len(shape) > 3:
        return "raw modules"
    image = shape[-2:]
    if image == _CSPAD_SLAB:
        return "the raw modules of a CSPAD"
    for detector, module in _MODULES.items():
        stacked = image[1] == module[1] and image[0] % module[0] == 0
        if stacked and image[0] >= 4 * module[0]:
            return f"the raw modules of a {detector}"
        if image == module and len(shape) == 3 and module not in _ALSO_DETECTORS:
            return f"the raw modules of a {detector}"
    return ""


def _require_filters(data: h5py.Dataset) -> None:
    """Raise `FrameError` when `data` was compressed in a way that nothing here can undo."""
    plist = data.id.get_create_plist()
    for number in range(plist.get_nfilters()):
        code = plist.get_filter(number)[0]
        if not h5py.h5z.filter_avail(code):
            raise FrameError(
                f"expected a known compression, found HDF5 filter {code}, which is not installed: "
                "install its plugin or recompress the file, for instance with h5repack"
            )
