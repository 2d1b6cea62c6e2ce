"""A table of evidence: the numbers of many simulated frames, without their pixels.

An HDF5 file of `numbers` (n, k) float64 with the attribute `names`, `label` (n,) int8 (1 a hit, 0 a
miss, -1 between), `family` (n,) text, the detector family, `visible` (n,), the number of visible
spots, `zingers` (n,), `kind` (n,) text, what is in the beam, and `planes`, maps for networks. The
attribute `manifest` is JSON.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from deepfreak.errors import DatasetError
from deepfreak.storage.files import read_hdf5
from deepfreak.storage.manifest import Format

FORMAT = Format("deepfreak evidence table", 1)
HIT, MISS, BETWEEN = 1, 0, -1
_MAX_ROWS, _MAX_NUMBERS = 5_000_000, 1024
_MAX_BYTES = 4 << 30
_COLUMNS = ("numbers", "label", "family", "visible", "zingers", "kind")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Table:
    """Evidence of n frames."""

    path: Path
    names: tuple[str, ...]  # of the k numbers
    numbers: NDArray[np.float64]  # (n, k) float64, finite
    label: NDArray[np.int8]  # (n,) int8: 1 a hit, 0 a miss, -1 between
    family: NDArray[np.str_]  # (n,) text: the detector family of each frame
    visible: NDArray[np.int64]  # (n,) int64: number of visible spots
    zingers: NDArray[np.int64]  # (n,) int64: number of zingers in the frame
    kind: NDArray[np.str_]  # (n,) text: what is in the beam
    manifest: dict[str, Any]  # format, settings, seed and versions; empty if the file has none

    def __len__(self) -> int:
        return len(self.label)

    def rows(self, which: NDArray[Any]) -> "Table":
        """Return some of the frames, by index or boolean mask."""
        return replace(self, **{name: getattr(self, name)[which] for name in _COLUMNS})


def is_table(path: Path) -> bool:
    """Return whether `path` is an HDF5 file with evidence and without images."""
    try:
        with read_hdf5(path) as file:
            return "numbers" in file and "images" not in file
    except OSError:
        return False


def read_table(path: str | Path) -> Table:
    """Return the table in a file.

    Raises `DatasetError` if it is missing, not HDF5, too large, of another version, or its parts do
    not match.
    """
    path = Path(path)
    try:
        with read_hdf5(path) as file:
            return _read(path, file)
    except (OSError, ValueError, TypeError, KeyError) as error:  # HDF5 raises all of these
        raise DatasetError(
            f"{path}: expected a table of evidence of `deepfreak data randomise`, found something "
            f"else, or half of one ({' '.join(str(error).split())[:200]})"
        ) from error


def _read(path: Path, file: h5py.File) -> Table:
    found = {name: file.get(name) for name in _COLUMNS}
    if missing := [name for name, part in found.items() if not isinstance(part, h5py.Dataset)]:
        raise DatasetError(f"{path}: expected the data set /{missing[0]}, found {sorted(file)}")
    shapes = {name: part.shape for name, part in found.items()}
    rows, width = shapes["numbers"] if len(shapes["numbers"]) == 2 else (0, 0)
    fits = all(shapes[name] == (rows,) for name in _COLUMNS[1:])
    size = sum(part.size * part.dtype.itemsize for part in found.values())
    if not (fits and 1 <= rows <= _MAX_ROWS and 1 <= width <= _MAX_NUMBERS and size <= _MAX_BYTES):
        raise DatasetError(
            f"{path}: expected numbers (n, k) and n labels, families and visible spots, "
            f"found {shapes}"
        )
    if found["numbers"].dtype != np.float64 or found["label"].dtype != np.int8:
        raise DatasetError(
            f"{path}: expected numbers of float64 and labels of int8, found "
            f"{found['numbers'].dtype} and {found['label'].dtype}"
        )
    for name in ("visible", "zingers"):
        if not np.issubdtype(found[name].dtype, np.integer):
            raise DatasetError(f"{path}: expected whole numbers in /{name}")
    names = tuple(
        each.decode() if isinstance(each, bytes) else str(each)
        for each in found["numbers"].attrs.get("names", ())
    )
    if len(names) != width or len(set(names)) != width:
        raise DatasetError(f"{path}: expected {width} names of numbers, found {len(names)}")
    numbers, label = found["numbers"][:], found["label"][:]
    if not np.isfinite(numbers).all() or not np.isin(label, (HIT, MISS, BETWEEN)).all():
        raise DatasetError(f"{path}: expected finite numbers and labels of 1, 0 and -1")
    return Table(
        path=path,
        names=names,
        numbers=numbers,
        label=label,
        family=found["family"].asstr()[:].astype(np.str_),
        visible=found["visible"][:].astype(np.int64),
        zingers=found["zingers"][:].astype(np.int64),
        kind=found["kind"].asstr()[:].astype(np.str_),
        manifest=FORMAT.of_hdf5(file, path, error=DatasetError),
    )
