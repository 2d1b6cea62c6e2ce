"""Where the panels of a detector are, and which pixels a geometry leaves out.

A geometry comes from CrystFEL (`crystfel`), DIALS (`dials`) or pyFAI (`poni`); `layout` makes one
image of its panels.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from deepfreak.errors import GeometryError
from deepfreak.formats.frame import Counts, Metadata, Valid

MAX_PANELS = 4096
HC_EV_A = 12398.419843320026  # Planck's constant times the speed of light (CODATA 2018)


@dataclass(frozen=True, slots=True, kw_only=True)
class RawPanel:
    """A rectangle of the raw data and its place in the plane of the detector."""

    name: str
    module: tuple[int, ...] = ()  # indices of the raw data's axes before the last two
    # first pixel and number of pixels of the panel in the last two axes, (slow, fast)
    first: tuple[int, int]
    size: tuple[int, int]
    corner: tuple[float, float]  # position (x, y) of the first pixel's outer corner, in pixels
    # step (x, y) to the next pixel along each axis, in pixels
    fast: tuple[float, float]
    slow: tuple[float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class BadRegion:
    """A region to leave out: of a panel's raw pixels (`panel` may be None: all), or of the plane.

    `low` and `high` are (fast, slow), the end included, or (x, y) when `in_plane`.
    """

    low: tuple[float, float]
    high: tuple[float, float]
    panel: str | None = None
    in_plane: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class PixelRules:
    """What else makes pixels of a panel bad."""

    panel: str
    all_bad: bool = False  # whether all of them are
    edge: int = 0  # how many at each of the panel's edges
    # counts of bad pixels
    less_than: float | None = None
    more_than: float | None = None
    equal: float | None = None

    @property
    def reads_counts(self) -> bool:
        """Whether any pixels are bad by their counts."""
        return any(limit is not None for limit in (self.less_than, self.more_than, self.equal))


@dataclass(frozen=True, slots=True, kw_only=True)
class FileMask:
    """A mask that stands in an HDF5 file: the data file, or `file`."""

    path: str  # the data set; `%` in it stands for what it stands for in the images' path
    # relative to the working directory, else to the geometry's folder
    file: str | None = None
    folder: str = "."
    # bits that must and must not be set in a good pixel; without either zero is good
    good_bits: int | None = None
    bad_bits: int | None = None

    def masked(self, values: Counts) -> Valid:
        """Return which pixels the mask's `values` leave out."""
        if self.good_bits is None and self.bad_bits is None:
            return np.asarray(values != 0)
        good, bad = self.good_bits or 0, self.bad_bits or 0
        wide = np.asarray(values).astype(np.int64)
        return np.asarray(((wide & bad) != 0) | ((wide & good) != good))


@dataclass(frozen=True, slots=True, kw_only=True)
class Located:
    """A number that stands in the data file: where, and in which unit."""

    path: str
    unit: str
    offset_mm: float = 0.0

    def wavelength_A(self, value: float) -> float:
        """Return the wavelength for a wavelength, photon energy or electrons' voltage."""
        if not value > 0:
            raise GeometryError(f"expected a positive number for {self.path}, found {value}")
        if self.unit in {"m", "A"}:
            return value * (1e10 if self.unit == "m" else 1.0)
        in_eV = value * {"eV": 1.0, "keV": 1e3, "MeV": 1e6, "V": 1.0, "kV": 1e3}[self.unit]
        if self.unit.endswith("eV"):
            return HC_EV_A / in_eV
        # electrons: h / sqrt(2 m e V), relativistically (International Tables C, 4.3.1)
        return 12.2643 / float(np.sqrt(in_eV + 0.97845e-6 * in_eV**2))

    def length_mm(self, value: float) -> float:
        """Return the length for a number in `unit`, with the offset."""
        return value * {"m": 1e3, "mm": 1.0}[self.unit] + self.offset_mm


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Geometry:
    """What a geometry file says."""

    source: str  # the file's name, for messages
    # in the order of the file; none where it speaks only of the beam
    panels: tuple[RawPanel, ...] = ()
    bad: tuple[BadRegion, ...] = ()
    # where the direct beam meets the plane, (x, y) in pixels
    beam: tuple[float, float] | None = (0.0, 0.0)
    # without panels: whether `beam` counts from the image's far end, along (x, y)
    beam_from_end: tuple[bool, bool] = (False, False)
    data_path: str | None = None  # where the images stand in an HDF5 file; `%` is any group
    # masks in files, and further rules for bad pixels by panel
    masks: tuple[FileMask, ...] = ()
    rules: tuple[PixelRules, ...] = ()
    modules_by_order: bool = False
    metadata: Metadata = field(default_factory=Metadata)  # metadata that it gives for each frame
    # what it says stands in the data file: `wavelength_A`, `distance_mm`
    located: Mapping[str, Located] = field(default_factory=dict)
    gain_per_eV: float | None = None  # counts for each eV of a photon

    def raw_axes(self, shape: tuple[int, ...]) -> int:
        """Return how many of the last axes of data of `shape` make one frame."""
        if self.modules_by_order and len(shape) > 2:
            size = self.panels[0].size
            return 3 if shape[-2:] == size and shape[-3] == len(self.panels) else 2
        return 2 + len(self.panels[0].module) if self.panels else 2
