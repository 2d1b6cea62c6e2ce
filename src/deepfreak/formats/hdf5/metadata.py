"""Metadata of HDF5 files: NXmx, NXdata, DECTRIS, CXI, SACLA, ESRF and their kin.

Facilities put the same metadata in different places. So they are looked up by name: first in the
images' own group and in that of their detector, then in whatever group is nearest to the images in
the file.
"""

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import h5py
import numpy as np

from deepfreak.formats.frame import Metadata, combined
from deepfreak.formats.geometry.geometry import HC_EV_A
from deepfreak.formats.hdf5.links import opened, text_of
from deepfreak.formats.hdf5.shapes import Channel
from deepfreak.formats.headers import WithOrigin, metadata_from
from deepfreak.formats.measured import counts_photons

_MAX_NODES = 20_000  # looked at in a file
_MAX_SIBLINGS = 200  # groups of one group: SACLA has one a frame
_MAX_DEPTH = 8
_MAX_SCALARS = 10_000_000  # of one item, a number a frame

# Names of each item, the more specific first.
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
MASKS = ("pixel_mask", "pixelmask")
_NAMES = ("description", "detector_name", "detector_type", "detector", "type", "local_name")
_WANTED = frozenset(
    name.lower()
    for names in (
        *(_GAIN, _SATURATION, _UNDERLOAD, _BEAM_FAST, _BEAM_SLOW, _PIXEL, _DISTANCE),
        *(_WAVELENGTH, _ENERGY, MASKS, _NAMES, _OF_THE_DETECTOR, ("mask",)),
    )
    for name in names
)
_UNIT_OF_NAME = (("_in_mm", "mm"), ("_in_um", "um"), ("_in_micro_meter", "um"))
_MM_IN = {
    unit: length_mm
    for units, length_mm in (
        ("m metre meter metres meters", 1e3),
        ("cm", 10.0),
        ("mm millimetre millimeter", 1.0),
        ("um µm micron microns", 1e-3),
        ("nm", 1e-6),
        ("angstrom angstroms a å", 1e-7),
        ("pm", 1e-9),
    )
    for unit in units.split()
}
_EV_IN = {"ev": 1.0, "kev": 1e3, "j": 1 / 1.602176634e-19, "joule": 1 / 1.602176634e-19}
_MPCCD_GAIN = 10.0  # of SACLA's images, which Cheetah scales (dxtbx, FormatHDF5SaclaMPCCD)


@dataclass(frozen=True, slots=True)
class Entry:
    """A data set that may hold metadata."""

    path: str  # where the file has it
    node: h5py.Dataset | None  # None where a link leads to nothing

    @property
    def unit(self) -> str:
        """Its units in small letters, else those that its name ends in; empty without any."""
        found = "" if self.node is None else self.node.attrs.get("units", "")
        if isinstance(found, np.ndarray) and found.size == 1:
            found = found.reshape(-1)[0]
        unit = text_of(found).strip().lower() if isinstance(found, str | bytes) else ""
        ends = (named for end, named in _UNIT_OF_NAME if self.path.lower().endswith(end))
        return unit or next(ends, "")

    @property
    def text(self) -> str | None:
        """The text that it holds, None where it holds none."""
        if self.node is None or self.node.size != 1 or self.node.dtype.kind not in "OS":
            return None
        return " ".join(text_of(np.ravel(self.node[()])[0]).split())[:80] or None


class FileMetadata:
    """The metadata of an open file.

    The file has the images at `path`, which is not their own name behind a link. How many `frames`
    there are tells data sets with one number per frame, unless there may be `more` later.
    """

    def __init__(
        self,
        file: h5py.File,
        data: h5py.Dataset,
        path: str,
        *,
        frames: int,
        more: bool = False,
        channel: Channel | None = None,
    ) -> None:
        self.file, self.data, self.path = file, data, path
        self.frames, self.more, self.channel = frames, more, channel
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

    def entries(self, *names: str) -> Iterator[Entry]:
        """Yield the data sets of these names, those of the first name and next to the images first.

        Others than data sets are left out.
        """
        for name in names:
            yield from self._entries.get(name.lower(), ())

    @cached_property
    def names(self) -> tuple[str, ...]:
        """What the file calls the detector; names that give its kind come first."""
        found = [text for entry in self.entries(*_NAMES) if (text := entry.text) is not None]
        found += [part for part in self.path.split("/") if counts_photons(part) is not None]
        paths = (entry.path for group in self._entries.values() for entry in group)
        if any("detectorspecific" in path.lower() for path in paths):
            found.append("EIGER, by its detectorSpecific")
        known = [name for name in found if counts_photons(name) is not None]
        return tuple(dict.fromkeys([*known, *found]))

    def metadata(self) -> Metadata:
        """Return what holds for all frames."""
        pixel = self._length(_PIXEL)
        offset = self._of_signal(_OFFSET)
        known = metadata_from(
            # NXdata: corrected = (data + offset) * scaling_factor
            pedestal=None if offset is None else (-offset[0], offset[1]),
            gain=self._gain(),
            saturation=self._number(_SATURATION),
            beam_slow=self._beam(_BEAM_SLOW, pixel),
            beam_fast=self._beam(_BEAM_FAST, pixel),
            pixel_size_mm=pixel,
            distance_mm=self._length(_DISTANCE),
            wavelength_A=self.wavelength_A(0),
        )
        if not self._without_units:
            return known
        places = ", ".join(dict.fromkeys(self._without_units))
        note = f"expected lengths with units, found none at {places}: left unknown"
        return combined(known, Metadata(notes=(note,)))

    def underload(self) -> float | None:
        """Return the smallest count that is a measurement, None where it is unknown."""
        found = self._number(_UNDERLOAD)
        return None if found is None else found[0]

    def wavelength_A(self, index: int, *, each: bool = False) -> WithOrigin | None:
        """Return a frame's wavelength, from a wavelength or an energy.

        With `each` only if the file has one for each frame.
        """
        for value, entry in self._found(_WAVELENGTH, index, each=each):
            factor = self._mm_in(entry) if value > 0 else None
            if factor is not None:
                return value * factor * 1e7, entry.path
        energy = self._energy_eV(index, each=each)
        return None if energy is None else (HC_EV_A / energy[0], energy[1])

    def _energy_eV(self, index: int, *, each: bool = False) -> WithOrigin | None:
        for value, entry in self._found(_ENERGY, index, each=each):
            by_name = "ev" if entry.path.lower().endswith("ev") else "j" if self._si else ""
            unit = entry.unit or by_name
            if value > 0 and unit in _EV_IN:
                return value * _EV_IN[unit], entry.path
        return None

    def _found(
        self, names: tuple[str, ...], index: int = 0, *, each: bool = False
    ) -> Iterator[tuple[float, Entry]]:
        """Yield the numbers of a frame under these names, with `each` those that each frame has."""
        for entry in self.entries(*names):
            value = self._value(entry, index, each=each)
            if value is not None:
                yield value, entry

    def _number(self, names: tuple[str, ...]) -> WithOrigin | None:
        """Return the number with one of these names that is nearest to the images."""
        return next(((value, entry.path) for value, entry in self._found(names)), None)

    def _value(self, entry: Entry, index: int = 0, *, each: bool = False) -> float | None:
        """Return the number of a frame, None where the data set holds something else."""
        node = entry.node
        if node is None or node.dtype.kind not in "iuf" or not 0 < node.size <= _MAX_SCALARS:
            return None
        if each and (node.size != self.frames or self.frames == 1):
            return None
        value: float | None = None
        if node.size == 1:
            value = float(np.ravel(node[()])[0])
        elif node.ndim == 1 and node.size == self.frames:
            value = float(node[index])
        elif node.ndim == 1 and self.channel is not None and node.size > self.channel.number:
            value = float(node[self.channel.number])
        elif node.size <= 3 and entry.path.rpartition("/")[2].lower().startswith("pixel"):
            value = float(np.ravel(node[()])[0])  # one for each axis
        elif node.ndim == 1:
            value = _weighted(node)
        return value if value is not None and math.isfinite(value) else None

    def _gain(self) -> WithOrigin | None:
        """Return counts for each photon, as the file says it or its kind of detector has it."""
        found = self._number(_GAIN)
        if found is not None:
            return found
        scaling = self._of_signal(_SCALING)
        if scaling is not None and scaling[0] > 0:
            return 1 / scaling[0], scaling[1]
        per_eV, energy = self._number(("adu_per_eV",)), self._energy_eV(0)
        if per_eV is not None and energy is not None:
            return per_eV[0] * energy[0], per_eV[1]
        named = " ".join(self.names).lower()
        if "mpccd" in named or ("rayonix" not in named and re.search(r"/tag-\d", self.path)):
            return _MPCCD_GAIN, "SACLA's MPCCD"
        return None

    def _of_signal(self, names: tuple[str, ...]) -> WithOrigin | None:
        """Return a number that NXdata has for its signal, beside the images or their detector's."""
        folder, _, key = self.path.rpartition("/")
        stem = re.sub(r"_\d{1,18}$", "", key)
        groups = [
            group
            for group in (self.file.get(folder or "/"), self.data.parent)
            if isinstance(group, h5py.Group)
        ]
        for named in (
            name.format(signal) for name in names for signal in dict.fromkeys((key, stem, "data"))
        ):
            entries = [
                Entry(f"{folder}/{named}", node)
                for group in groups
                if isinstance(node := group.get(named), h5py.Dataset)
            ]
            if named in _OF_THE_DETECTOR:
                entries += [e for e in self.entries(named) if "detector" in e.path.lower()]
            for entry in entries:
                value = self._value(entry)
                if value is not None:
                    return value, entry.path
        return None

    def _beam(self, names: tuple[str, ...], pixel: WithOrigin | None) -> WithOrigin | None:
        """Return a coordinate of the beam in pixels; some writers give a length."""
        for value, entry in self._found(names):
            if entry.unit not in _MM_IN:
                return value, entry.path
            return (value * _MM_IN[entry.unit] / pixel[0], entry.path) if pixel else None
        return None

    def _length(self, names: tuple[str, ...]) -> WithOrigin | None:
        """Return a length in mm; one without units stays unknown, and that is noted."""
        for value, entry in self._found(names):
            factor = self._mm_in(entry) if value else None
            if factor is not None:
                return value * factor, entry.path
        return None

    def _mm_in(self, entry: Entry) -> float | None:
        unit = entry.unit or ("m" if self._si else "")  # CXI's lengths are in metres
        if unit not in _MM_IN:
            self._without_units.append(entry.path)
        return _MM_IN.get(unit)

    def _distance(self, path: str) -> tuple[int, int, int, str]:
        """Return how far from the images a path is: the smallest comes first."""
        own, parts = self.path.split("/")[:-1], path.split("/")[:-1]
        common = 0  # groups
        while common < min(len(own), len(parts)) and own[common] == parts[common]:
            common += 1
        return (self._of_other_channel(parts), -common, len(parts), path)

    def _of_other_channel(self, parts: list[str]) -> int:
        """Return 0 where a path is that of our channel, 1 of none, 2 of another one."""
        if self.channel is None:
            return 1
        number, name = self.channel.number + 1, self.channel.name
        lower = [part.lower() for part in parts]
        if {f"{name}_channel", name, f"channel_{number}", f"channel{number}"} & set(lower):
            return 0
        return 2 if any(re.search(r"threshold_\d|_channel$", part) for part in lower) else 1


def _weighted(node: h5py.Dataset) -> float | None:
    """Return the mean wavelength of a spectrum, which NXmx gives with weights beside it."""
    weights = node.parent.get(node.name.rpartition("/")[2] + "_weights")
    if not isinstance(weights, h5py.Dataset) or weights.shape != node.shape:
        return None
    values, share = np.asarray(node[()], float), np.asarray(weights[()], float)
    total = share.sum()
    return float(values @ share / total) if np.isfinite(total) and total > 0 else None


def _entries(file: h5py.File) -> Iterator[Entry]:
    """Yield the data sets of a file with names of metadata, without entering linked files."""
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
            node = opened(group, key)
            if isinstance(node, h5py.Dataset):
                if wanted or key.lower().endswith("adu_per_ev"):
                    yield Entry(f"{path}/{key}", node)
            elif node is None or key.lower() in MASKS:
                if wanted:
                    yield Entry(f"{path}/{key}", None)
            elif depth < _MAX_DEPTH and groups < _MAX_SIBLINGS:
                groups += 1
                waiting.append((f"{path}/{key}", node, depth + 1))


def _data_sets(group: h5py.Group) -> Iterator[tuple[str, h5py.Dataset]]:
    """Yield the data sets of a group with names of metadata."""
    if len(group) > _MAX_NODES:
        return
    for key in group:
        if key.lower() in _WANTED and isinstance(group.get(key, getlink=True), h5py.HardLink):
            node = group[key]
            if isinstance(node, h5py.Dataset):
                yield key, node
