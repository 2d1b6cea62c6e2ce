"""The frames of an HDF5 file: one stack, or several of which its links make one.

A file may be growing: its stack gets longer, files appear to which it links.
"""

from collections.abc import Callable

import h5py
import numpy as np

from deepfreak.errors import FrameError
from deepfreak.frames.detector_group import facts_beside, mask_beside, wavelengths_beside
from deepfreak.frames.frame import Counts, Extent, Facts, Frame, Valid, require_shape
from deepfreak.frames.geometry import Geometry
from deepfreak.frames.hdf5_search import Part, find_parts
from deepfreak.frames.headers import facts
from deepfreak.frames.missing import counts_photons, sentinels, unlit
from deepfreak.frames.writing import Writing, frames_written, is_written, writing_of

_GAP_SHARE = 0.005  # of pixels at the largest value: more are no overloads
_COUNTS_OF_IMAGES = ("nimages", "ntrigger")  # EIGER's; their product is the run's
_MOST_IMAGES = 1 << 31

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


class Stack:
    """The frames of an open file up to the first part whose file is missing.

    Raises
    ------
    FrameError
        As `open_hdf5`; with `growing` not for want of frames.
    """

    def __init__(
        self, file: h5py.File, name: str, geometry: Geometry | None, *, growing: bool
    ) -> None:
        self._file, self._name, self._geometry = file, name, geometry
        self._growing = growing
        self._axes = 2
        self._of_frames: list[tuple[Part, int]] = []
        self._extent = Extent(ready=0, written=0)
        self._beside: tuple[Facts, Callable[[int], Valid | None]] | None = None
        self._wavelengths: tuple[int, list[float] | None] = (0, None)
        self._parts = find_parts(file, geometry.data_path if geometry else None)
        whole = [part.data for part in self._parts if part.data is not None]
        if whole:
            self._axes = frame_axes(whole[0].shape, geometry)
            require_alike(whole, self._axes)
        elif not growing:
            raise FrameError(self._parts[0].missing or "expected frames, found none")
        self._number()
        if not self._of_frames and not growing:
            raise FrameError("expected frames in the HDF5 file, found a stack of none")

    @property
    def count(self) -> int:
        """How many frames it had when it was last looked at; a missing part counts as one."""
        return len(self._of_frames)

    def look(self) -> Extent:
        """Return how much there is now.

        Files that have appeared since, and what was written without SWMR, take opening it anew.
        """
        # data of another kind must not be refreshed: HDF5 2.0 crashes
        growing = [
            part.data for part in self._parts if part.data is not None and _is_swmr(part.data)
        ]
        for data in growing:
            data.refresh()
        if growing:
            self._number()
        return self._extent

    def read(self, index: int) -> Frame:
        """Return a frame by its number."""
        if not 0 <= index < self.count:
            raise FrameError(f"expected a frame below number {self.count}, found {index}")
        part, inside = self._of_frames[index]
        if part.data is None:
            raise FrameError(part.missing or "a linked file is missing")
        if index >= self._extent.ready and not is_written(part.data, inside, self._axes):
            raise FrameError(f"expected counts of frame {index}, found that none were written")
        counts = part.data[()] if part.data.ndim == self._axes else part.data[inside]
        if counts.ndim == 3 and self._geometry is None:
            counts = counts[0]
        found, mask = self._facts_and_mask(part.data)
        masked = mask(index)
        valid = _measured(counts, photon_counting=masked is not None)
        if masked is not None:
            valid &= ~masked.reshape(valid.shape)
        wavelength_A = self._wavelength_A(index)
        if wavelength_A is not None:
            found = found | facts(wavelength_A=wavelength_A)
        return Frame(file=self._name, index=index, counts=counts, valid=valid, **found)

    def _facts_and_mask(self, data: h5py.Dataset) -> tuple[Facts, Callable[[int], Valid | None]]:
        if self._beside is None:
            mask = mask_beside(self._file, data, self._axes, self._geometry)
            self._beside = facts_beside(self._file, data), mask
        return self._beside

    def _wavelength_A(self, index: int) -> float | None:
        count, wavelengths = self._wavelengths
        if count != self.count:
            wavelengths = wavelengths_beside(self._file, self.count)
            self._wavelengths = self.count, wavelengths
        return None if wavelengths is None else wavelengths[index]

    def _number(self) -> None:
        """Give numbers to the frames of all parts up to the first one that may still get more.

        Those behind it would get wrong numbers.
        """
        master = writing_of(self._file.filename) if self._growing else Writing()
        waiting, swmr, missing_file = master.line, master.line is not None, False
        unwritten: str | None = None
        ready, written = 0, 0
        of_frames: list[tuple[Part, int]] = []
        for part in self._parts:
            if part.data is None:
                waiting, missing_file = part.missing, True
                if not self._growing:
                    of_frames.append((part, 0))
                break
            writing = writing_of(part.data.file.filename) if self._growing else master
            if writing.line is not None:
                waiting, swmr = writing.line, writing.readable
                if not writing.readable:
                    break
            start = len(of_frames)
            count = 1 if part.data.ndim == self._axes else int(part.data.shape[0])
            of_frames.extend((part, number) for number in range(count))
            whole, last = frames_written(part.data, self._axes)
            if ready == start:
                ready = start + whole
            written = start + last
            if whole < count:
                unwritten = f"{whole} of its {count} frames were written"
            if writing.line is not None:
                break
        self._of_frames = of_frames
        self._extent = Extent(
            ready=ready,
            written=written,
            expected=self._expected() or (None if waiting else len(of_frames)),
            waiting=waiting or unwritten,
            missing_file=missing_file,
            swmr=swmr,
        )

    def _expected(self) -> int | None:
        """Return how many frames an EIGER's master announces."""
        group = self._file.get("/entry/instrument/detector/detectorSpecific")
        if not isinstance(group, h5py.Group):
            return None
        total = 1
        for name in _COUNTS_OF_IMAGES:
            node = group.get(name)
            if not isinstance(node, h5py.Dataset) or node.size != 1 or node.dtype.kind not in "iu":
                return None
            total *= int(np.ravel(node[()])[0])
        return total if 0 < total < _MOST_IMAGES else None


def _is_swmr(data: h5py.Dataset) -> bool:
    writing = writing_of(data.file.filename)
    return writing.line is not None and writing.readable


def require_alike(whole: list[h5py.Dataset], axes: int) -> None:
    """Raise `FrameError` unless the data sets hold readable frames of one sensible size."""
    shape = whole[0].shape[-axes:]
    require_shape(shape)
    for data in whole:
        require_filters(data)
        if data.shape[-axes:] != shape:
            raise FrameError(
                f"expected frames of one size, {shape}, found {data.shape[-axes:]} in {data.name}"
            )


def _measured(counts: Counts, *, photon_counting: bool) -> Valid:
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


def frame_axes(shape: tuple[int, ...], geometry: Geometry | None) -> int:
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


def require_filters(data: h5py.Dataset) -> None:
    """Raise `FrameError` when `data` was compressed in a way that nothing here can undo."""
    plist = data.id.get_create_plist()
    for number in range(plist.get_nfilters()):
        code = plist.get_filter(number)[0]
        if not h5py.h5z.filter_avail(code):
            raise FrameError(
                f"expected a known compression, found HDF5 filter {code}, which is not installed: "
                "install its plugin or recompress the file, for instance with h5repack"
            )
