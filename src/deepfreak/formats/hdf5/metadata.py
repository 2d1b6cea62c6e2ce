"""What an HDF5 file says beside its images: NXmx, NXdata, DECTRIS, CXI, SACLA, ESRF and their kin.

Facilities put the same metadata in different places. So they are sought by name: first in the
images' own group and in that of their detector, then in whatever group is nearest to the images in
the file.
"""

import math
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import h5py
import numpy as np

from deepfreak.errors import FrameError
from deepfreak.formats.detectors import counts_photons
from deepfreak.formats.frame import Counts, Metadata, Valid, combined
from deepfreak.formats.geometry.geometry import HC_EV_A, FileMask, Geometry
from deepfreak.formats.hdf5.coverage import Coverage
from deepfreak.formats.hdf5.links import broken_link, missing_file
from deepfreak.formats.headers import Known, WithOrigin, metadata_from

_MAX_NODES = 20_000  # looked at in a file
_MAX_SIBLINGS = 200  # groups of one group: SACLA has one a frame
_MAX_DEPTH = 8
_MAX_SCALARS = 10_000_000  # of one item, a number a frame

# Names of each item, the more telling first.
_GAIN = ("adus_per_photon", "adu_per_photon", "counts_per_photon", "adus_per_photon_keV")
_SCALING = ("{}_scaling_factor", "{}_scale_factor", "scaling_factor", "scale_factor")
_OFFSET = ("{}_offset", "offset")
_SATURATION = ("saturation_value", "countrate_correction_count_cutoff", "saturation")
_UNDERLOAD = ("underload_value",)
_OF_THE_DETECTOR = ("data_scaling_factor", "data_scale_factor", "data_offset")
_BEAM_FAST, _BEAM_SLOW = ("beam_center_x",), ("beam_center_y",)
_PIXEL = ("x_pixel_size", "pixel_size_x", "pixelsize_in_um", "pixel_size_in_micro_meter")
_DISTANCE = ("detector_distance", "distance_in_mm", "distance")
_WAVELENGTH = ("incident_wavelength", "photon_wavelength", "wavelength")
_ENERGY = ("incident_energy", "photon_energy_ev", "photon_energy_in_ev", "photon_energy", "energy")
_MASKS = ("pixel_mask", "pixelmask")
_NAMES = ("description", "detector_name", "detector_type", "detector", "type", "local_name")
_WANTED = frozenset(
    name.lower()
    for names in (
        *(_GAIN, _SATURATION, _UNDERLOAD, _BEAM_FAST, _BEAM_SLOW, _PIXEL, _DISTANCE),
        *(_WAVELENGTH, _ENERGY, _MASKS, _NAMES, _OF_THE_DETECTOR, ("mask",)),
    )
    for name in names
)
_UNIT_OF_NAME = (("_in_mm", "mm"), ("_in_um", "um"), ("_in_micro_meter", "um"))
_MM_IN = {
    "m": 1e3,
    "metre": 1e3,
    "meter": 1e3,
    "metres": 1e3,
    "meters": 1e3,
    "cm": 10.0,
    "mm": 1.0,
    "millimetre": 1.0,
    "millimeter": 1.0,
    "um": 1e-3,
    "µm": 1e-3,
    "micron": 1e-3,
    "microns": 1e-3,
    "nm": 1e-6,
    "angstrom": 1e-7,
    "angstroms": 1e-7,
    "a": 1e-7,
    "å": 1e-7,
    "pm": 1e-9,
}
_EV_IN = {"ev": 1.0, "kev": 1e3, "j": 1 / 1.602176634e-19, "joule": 1 / 1.602176634e-19}
# CXI's flags that mean "no measurement": invalid, hot, dead, shadowed, to be ignored, bad,
# missing, noisy, correction failed; not: saturated, near a peak, outside the resolution limit.
_CXI_MISSING = 0x1 | 0x4 | 0x8 | 0x10 | 0x40 | 0x80 | 0x200 | 0x400 | 0x1000
_MPCCD_GAIN = 10.0  # of SACLA's images, which Cheetah scales (dxtbx, FormatHDF5SaclaMPCCD)


@dataclass(frozen=True, slots=True)
class Entry:
    """A data set that may hold metadata.

    Attributes
    ----------
    path
        Where the file has it.
    node
        None where a link leads to nothing.
    """

    path: str
    node: h5py.Dataset | None


class FileMetadata:
    """What stands beside the images at `path` of an open file.

    Parameters
    ----------
    path
        Where the file has the images, which is not their own name behind a link.
    frames
        How many there are, to tell a number a frame from others.
    more
        Whether there may be more of them later.
    channel, channels
        Number and name of the channel that is taken, of so many; None where there is one image a
        frame.
    """

    def __init__(
        self,
        file: h5py.File,
        data: h5py.Dataset,
        path: str,
        *,
        frames: int,
        more: bool = False,
        channel: tuple[int, str] | None = None,
        channels: int = 1,
    ) -> None:
        self._file, self._data, self._path = file, data, path
        self._frames, self._more = frames, more
        self._channel, self._channels = channel, channels
        self._without_units: list[str] = []
        self._entries: dict[str, list[Entry]] = {}
        for entry in _entries(file):
            self._entries.setdefault(entry.path.rpartition("/")[2].lower(), []).append(entry)
        for found in self._entries.values():
            found.sort(key=lambda entry: self._distance(entry.path))
        # the images' own group, which may be in another file or be one of many (SACLA's frames)
        for key, node in _data_sets(data.parent):
            entry = Entry(f"{path.rpartition('/')[0]}/{key}", node)
            self._entries.setdefault(key.lower(), []).insert(0, entry)
        self._si = "cxi_version" in file or path.startswith("/entry_1/")

    def names(self) -> tuple[str, ...]:
        """Return what the file calls the detector: what tells its kind first."""
        found = [
            text
            for name in _NAMES
            for entry in self._entries.get(name, ())
            if (text := _text(entry.node)) is not None
        ]
        found += [part for part in self._path.split("/") if counts_photons(part) is not None]
        if any(
            "detectorspecific" in entry.path.lower()
            for group in self._entries.values()
            for entry in group
        ):
            found.append("EIGER, by its detectorSpecific")
        known = [name for name in found if counts_photons(name) is not None]
        return tuple(dict.fromkeys([*known, *found]))

    def metadata(self, names: tuple[str, ...]) -> Metadata:
        """Return what holds for all frames."""
        pixel = self._length(_PIXEL)
        known = metadata_from(
            pedestal=_negative(self._beside_data(_OFFSET)),
            gain=self._gain(names),
            saturation=self._number(_SATURATION),
            beam_slow=self._beam(_BEAM_SLOW, pixel),
            beam_fast=self._beam(_BEAM_FAST, pixel),
            pixel_size_mm=pixel,
            distance_mm=self._length(_DISTANCE),
            wavelength_A=self._wavelength(0),
        )
        if not self._without_units:
            return known
        places = ", ".join(dict.fromkeys(self._without_units))
        note = f"expected lengths with units, found none at {places}: left unknown"
        return combined(known, Metadata(notes=(note,)))

    def underload(self) -> float | None:
        """Return the least count that is a measurement, None where nothing says it."""
        found = self._number(_UNDERLOAD)
        return None if found is None else found[0]

    def wavelength_A(self, index: int) -> WithOrigin | None:
        """Return the wavelength of a frame, None where frames are not told apart."""
        return self._wavelength(index, each=True)

    def mask(
        self, shape: tuple[int, ...], geometry: Geometry | None, values: tuple[str, ...] = ()
    ) -> tuple[Callable[[int], Valid] | None, tuple[str, ...]]:
        """Return the function that gives the mask of a frame by its number, and what to say.

        The mask is the file's, and those in the file that the geometry names: one for all frames,
        or one for each; true where a pixel is missing. None where there is none.

        Parameters
        ----------
        shape
            Of a frame, with the axes of its modules.
        values
            What `%` stands for in the geometry's path of the images.

        Raises
        ------
        FrameError
            A mask has another size than the frames, or the geometry names one that is not there.
        """
        notes: list[str] = []
        named = [
            (_filled(mask.path, values), mask)
            for mask in (geometry.masks if geometry is not None else ())
            if mask.file is None
        ]
        masks = [self._named_mask(path, mask, shape) for path, mask in named]
        own = self._own_mask(shape, notes, frozenset(path for path, _ in named))
        if own is not None:
            masks.append(own)
        if not masks:
            return None, tuple(notes)
        return lambda index: np.logical_or.reduce([one(index) for one in masks]), tuple(notes)

    def _named_mask(
        self, path: str, mask: FileMask, shape: tuple[int, ...]
    ) -> Callable[[int], Valid]:
        node = self._file.get(path)
        if not isinstance(node, h5py.Dataset):
            raise FrameError(f"expected a mask at {path}, as the geometry says, found none there")
        unusable = _unusable(node)
        if unusable is not None:
            raise FrameError(f"expected a mask at {path}, as the geometry says, found {unusable}")
        return self._by_frame(Entry(path, node), node, shape, mask.masked)

    def _own_mask(
        self, shape: tuple[int, ...], notes: list[str], named: frozenset[str]
    ) -> Callable[[int], Valid] | None:
        """Return the mask that the geometry has not `named`, with bits of its own."""
        candidates: list[tuple[Entry, Callable[[Counts], Valid]]] = [
            (entry, _any_flag) for name in _MASKS for entry in self._entries.get(name, ())
        ]
        parent = self._path.rpartition("/")[0]
        candidates += [
            (entry, _cxi_flags)
            for entry in self._entries.get("mask", ())
            if entry.path.rpartition("/")[0] == parent or "detector" in entry.path.lower()
        ]
        for entry, flags in candidates:
            if entry.path in named:
                continue
            if entry.node is None:
                target = broken_link(self._file, entry.path) or "a data set there"
                notes.append(
                    f"expected the pixel mask at {entry.path}, found that {target} is missing: "
                    "judged without the detector's mask"
                )
                continue
            if entry.node.size == 0:
                continue
            unusable = _unusable(entry.node)
            if unusable is not None:
                notes.append(
                    f"expected a pixel mask at {entry.path}, found {unusable}: judged without the "
                    "detector's mask"
                )
                continue
            return self._by_frame(entry, entry.node, shape, flags)
        return None

    def _by_frame(
        self,
        entry: Entry,
        node: h5py.Dataset,
        shape: tuple[int, ...],
        flags: Callable[[Counts], Valid],
    ) -> Callable[[int], Valid]:
        """Return the mask of a frame by its number; `FrameError` where the sizes differ."""
        lead: tuple[int, ...] = node.shape[: -len(shape)] if node.ndim > len(shape) else ()
        if node.shape[len(lead) :] != shape:
            raise FrameError(
                f"expected a mask of the frame's size {_size(shape)}, found {_size(node.shape)} at "
                f"{entry.path}"
            )
        if set(lead) <= {1}:
            whole = flags(node[()]).reshape(shape)
            return lambda _: whole
        if len(lead) == 1 and self._channel is not None and lead[0] == self._channels:
            of_channel = flags(node[self._channel[0]])
            return lambda _: of_channel
        if len(lead) == 1 and (lead[0] == self._frames or (self._more and lead[0] > self._frames)):
            return lambda index: flags(node[index])
        raise FrameError(
            f"expected one mask, or one a frame, of size {_size(shape)}, found "
            f"{_size(node.shape)} at {entry.path}"
        )

    def _distance(self, path: str) -> tuple[int, int, int, str]:
        """Return how far from the images a path is: the smallest comes first."""
        own = self._path.split("/")[:-1]
        parts = path.split("/")[:-1]
        common = 0  # groups
        while common < min(len(own), len(parts)) and own[common] == parts[common]:
            common += 1
        return (self._of_other_channel(parts), -common, len(parts), path)

    def _of_other_channel(self, parts: list[str]) -> int:
        """Return 0 where a path is that of our channel, 1 of none, 2 of another one."""
        if self._channel is None:
            return 1
        number, name = self._channel
        own = {f"{name}_channel", name, f"channel_{number + 1}", f"channel{number + 1}"}
        lower = [part.lower() for part in parts]
        if own & set(lower):
            return 0
        return 2 if any(re.search(r"threshold_\d|_channel$", part) for part in lower) else 1

    def _number(self, names: tuple[str, ...]) -> WithOrigin | None:
        """Return the number with one of these names that is nearest to the images."""
        for name in names:
            for entry in self._entries.get(name.lower(), ()):
                value = self._value(entry, 0)
                if value is not None:
                    return value, entry.path
        return None

    def _value(self, entry: Entry, index: int) -> float | None:
        """Return the number of a frame, None where the data set holds something else."""
        node = entry.node
        if node is None or node.dtype.kind not in "iuf" or not 0 < node.size <= _MAX_SCALARS:
            return None
        if node.size == 1:
            value = float(np.ravel(node[()])[0])
        elif (
            self._channel is not None
            and node.ndim == 1
            and node.size > self._channel[0]
            and (node.size != self._frames)
        ):
            value = float(node[self._channel[0]])
        elif node.ndim == 1 and node.size == self._frames:
            value = float(node[index])
        else:
            return None
        return value if math.isfinite(value) else None

    def _gain(self, names: tuple[str, ...]) -> Known:
        """Return counts for each photon, as the file says it or its kind of detector has it."""
        found = self._number(_GAIN)
        if found is not None:
            return found
        scaling = self._beside_data(_SCALING)
        if scaling is not None and scaling[0] > 0:
            return 1 / scaling[0], scaling[1]
        per_eV = self._number(("adu_per_eV",))
        energy = self._energy_eV(0)
        if per_eV is not None and energy is not None:
            return per_eV[0] * energy[0], per_eV[1]
        told = " ".join(names).lower()
        if "mpccd" in told or ("rayonix" not in told and re.search(r"/tag-\d", self._path)):
            return _MPCCD_GAIN, "SACLA's MPCCD"
        return None

    def _beside_data(self, names: tuple[str, ...]) -> WithOrigin | None:
        """Return a number that NXdata has for its signal, beside the images or their detector's."""
        folder, _, key = self._path.rpartition("/")
        stem = re.sub(r"_\d{1,18}$", "", key)
        for name in names:
            for signal in dict.fromkeys((key, stem, "data")):
                named = name.format(signal)
                entries = [
                    Entry(f"{folder}/{named}", node)
                    for group in (self._file.get(folder or "/"), self._data.parent)
                    if isinstance(group, h5py.Group)
                    and isinstance(node := group.get(named), h5py.Dataset)
                ]
                entries += [
                    entry
                    for entry in self._entries.get(named.lower(), ())
                    if named in _OF_THE_DETECTOR and "detector" in entry.path.lower()
                ]
                for entry in entries:
                    value = self._value(entry, 0)
                    if value is not None:
                        return value, entry.path
        return None

    def _beam(self, names: tuple[str, ...], pixel: WithOrigin | None) -> Known:
        """Return a coordinate of the beam in pixels; some writers give a length."""
        for name in names:
            for entry in self._entries.get(name, ()):
                value = self._value(entry, 0)
                if value is None:
                    continue
                unit = _unit(entry.node)
                if unit in _MM_IN:
                    return (value * _MM_IN[unit] / pixel[0], entry.path) if pixel else None
                return value, entry.path
        return None

    def _length(self, names: tuple[str, ...]) -> WithOrigin | None:
        """Return a length in mm; one without units stays unknown, and that is noted."""
        for name in names:
            for entry in self._entries.get(name, ()):
                value = self._value(entry, 0)
                if value is None and entry.node is not None and name.startswith("pixel"):
                    value = _first(entry.node)  # one for each axis
                if value is None or value == 0:
                    continue
                factor = self._mm_in(entry)
                if factor is not None:
                    return value * factor, entry.path
        return None

    def _mm_in(self, entry: Entry) -> float | None:
        unit = _unit(entry.node)
        name = entry.path.lower()
        unit = unit or next((unit for end, unit in _UNIT_OF_NAME if name.endswith(end)), "")
        if not unit and self._si:
            unit = "m"  # CXI's lengths are in metres
        if unit in _MM_IN:
            return _MM_IN[unit]
        self._without_units.append(entry.path)
        return None

    def _wavelength(self, index: int, *, each: bool = False) -> WithOrigin | None:
        """Return a frame's wavelength in A, from a wavelength or an energy.

        With `each` only if the file has one for each frame.
        """
        for name in _WAVELENGTH:
            for entry in self._entries.get(name, ()):
                value = self._of_frame(entry, index, each=each)
                if value is None or value <= 0:
                    continue
                factor = self._mm_in(entry)
                if factor is not None:
                    return value * factor * 1e7, entry.path
        energy = self._energy_eV(index, each=each)
        return None if energy is None else (HC_EV_A / energy[0], energy[1])

    def _energy_eV(self, index: int, *, each: bool = False) -> WithOrigin | None:
        for name in _ENERGY:
            for entry in self._entries.get(name, ()):
                value = self._of_frame(entry, index, each=each)
                if value is None or value <= 0:
                    continue
                unit = _unit(entry.node) or ("ev" if name.endswith("ev") else "")
                unit = unit or ("j" if self._si else "")
                if unit in _EV_IN:
                    return value * _EV_IN[unit], entry.path
        return None

    def _of_frame(self, entry: Entry, index: int, *, each: bool) -> float | None:
        if each and (entry.node is None or entry.node.size != self._frames or self._frames == 1):
            return None
        value = self._value(entry, index)
        if value is None and entry.node is not None and entry.node.ndim == 1 and not each:
            value = _weighted(entry.node)
        return value


def _filled(path: str, values: tuple[str, ...]) -> str:
    """Return a geometry's path with `values` in the places of its %."""
    for value in values:
        path = path.replace("%", value, 1)
    return path


def _unusable(node: h5py.Dataset) -> str | None:
    """Return what is wrong with a mask, None where it can be read."""
    if node.dtype.kind not in "iubf" or node.ndim < 2:
        return f"{node.dtype} of {node.ndim} axes"
    if Coverage(node, node.ndim).holds(0):
        return None
    missing = missing_file(node)
    return "that none was written" if missing is None else f"that {missing} is missing"


def _weighted(node: h5py.Dataset) -> float | None:
    """Return the mean wavelength of a spectrum, which NXmx gives with weights beside it."""
    weights = node.parent.get(node.name.rpartition("/")[2] + "_weights")
    if not isinstance(weights, h5py.Dataset) or weights.shape != node.shape:
        return None
    values, share = np.asarray(node[()], float), np.asarray(weights[()], float)
    total = share.sum()
    return float(values @ share / total) if np.isfinite(total) and total > 0 else None


def _entries(file: h5py.File) -> Iterator[Entry]:
    """Yield the data sets of a file whose names tell metadata, without entering linked files."""
    looked_at = 0
    waiting: list[tuple[str, h5py.Group, int]] = [("", file, 0)]
    while waiting:
        path, group, depth = waiting.pop(0)
        groups = 0
        for key in group:
            looked_at += 1
            if looked_at > _MAX_NODES:
                return
            link = group.get(key, getlink=True)
            wanted = key.lower() in _WANTED
            if not isinstance(link, h5py.HardLink) and not wanted:
                continue
            node = _opened(group, key)
            if isinstance(node, h5py.Dataset):
                if wanted or key.lower().endswith("adu_per_ev"):
                    yield Entry(f"{path}/{key}", node)
            elif node is None or key.lower() in _MASKS:
                if wanted:
                    yield Entry(f"{path}/{key}", None)
            elif depth < _MAX_DEPTH and groups < _MAX_SIBLINGS:
                groups += 1
                waiting.append((f"{path}/{key}", node, depth + 1))


def _opened(group: h5py.Group, key: str) -> h5py.Dataset | h5py.Group | None:
    """Return what `key` leads to, None where that cannot be had or is neither."""
    try:
        node = group[key]
    except (KeyError, OSError, RuntimeError):
        return None
    return node if isinstance(node, h5py.Dataset | h5py.Group) else None


def _data_sets(group: h5py.Group) -> Iterator[tuple[str, h5py.Dataset]]:
    """Yield those data sets of a group whose names tell metadata."""
    if len(group) > _MAX_NODES:
        return
    for key in group:
        if key.lower() in _WANTED and isinstance(group.get(key, getlink=True), h5py.HardLink):
            node = group[key]
            if isinstance(node, h5py.Dataset):
                yield key, node


def _text(node: h5py.Dataset | None) -> str | None:
    """Return the text in a data set, None where there is none."""
    if node is None or node.size != 1 or node.dtype.kind not in "OS":
        return None
    value = np.ravel(node[()])[0]
    text = value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
    return " ".join(text.split())[:80] or None


def _unit(node: h5py.Dataset | None) -> str:
    """Return the units of a data set, an empty text without any."""
    found = "" if node is None else node.attrs.get("units", "")
    if isinstance(found, np.ndarray) and found.size == 1:
        found = found.reshape(-1)[0]
    found = found.decode("utf-8", "replace") if isinstance(found, bytes) else found
    return found.strip().lower() if isinstance(found, str) else ""


def _first(node: h5py.Dataset) -> float | None:
    if node.dtype.kind not in "iuf" or not 0 < node.size <= 3:
        return None
    return float(np.ravel(node[()])[0])


def _negative(found: WithOrigin | None) -> Known:
    """Return NXdata's offset as a pedestal: corrected = (data + offset) * scaling_factor."""
    return None if found is None else (-found[0], found[1])


def _any_flag(values: Counts) -> Valid:
    return np.asarray(values != 0)


def _cxi_flags(values: Counts) -> Valid:
    if values.dtype.kind in "bf":
        return np.asarray(values != 0)
    flags = _CXI_MISSING & int(np.iinfo(values.dtype).max)
    return np.asarray((values & values.dtype.type(flags)) != 0)


def _size(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape))
