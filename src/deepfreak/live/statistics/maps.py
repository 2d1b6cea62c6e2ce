"""Where hits are: on the detector, and in a raster scan of the sample."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from deepfreak.errors import RecipeError
from deepfreak.live.messages import FramePicture

SIDE = 32
# Peaks of so long and of as long before are shown: what was an hour ago is no news.
_SPAN_S = 1800.0
MAX_POSITIONS = 1_000_000
_MAX_SHOWN = 64  # positions along a side of the raster; more are shown together
_DECIMALS = 3


class DetectorMap:
    """How many peaks fell on each of 32 x 32 parts of the image, of late."""

    def __init__(self) -> None:
        self._now = np.zeros((SIDE, SIDE), np.int64)
        self._before = np.zeros_like(self._now)
        self._since: float | None = None

    def add(self, picture: FramePicture, time: float) -> None:
        """Count the peaks of a picture; those outside of it do not count."""
        if self._since is None or time - self._since > _SPAN_S:
            self._before, self._now = self._now, np.zeros_like(self._now)
            self._since = time
        height, width = picture.image.shape
        peaks = picture.peaks[np.isfinite(picture.peaks).all(1)]
        slow = np.floor(peaks[:, 0] * (SIDE / height)).astype(np.int64)
        fast = np.floor(peaks[:, 1] * (SIDE / width)).astype(np.int64)
        inside = (slow >= 0) & (slow < SIDE) & (fast >= 0) & (fast < SIDE)
        np.add.at(self._now, (slow[inside], fast[inside]), 1)

    def to_json(self) -> dict[str, Any]:
        """Return the counts as rows of parts, the slow axis first."""
        return {"side": SIDE, "peaks": (self._now + self._before).ravel().tolist()}


class RasterMap:
    """The hit rate at each position of a raster scan, of the series that runs.

    Frame number i is the i-th position, along the rows; with `serpentine` every second row is
    scanned backwards. Frames beyond the last position count nowhere.
    """

    def __init__(self, rows: int, columns: int, *, serpentine: bool = False) -> None:
        if not (rows > 0 and columns > 0 and rows * columns <= MAX_POSITIONS):
            raise RecipeError(
                f"expected a raster of 1 to {MAX_POSITIONS:,} positions, found {rows} x {columns}"
            )
        self.rows, self.columns, self.serpentine = rows, columns, serpentine
        self._series: str | None = None
        self._judged = np.zeros((rows, columns), np.int32)
        self._kept = np.zeros((rows, columns), np.int32)

    def add(self, series: str, number: int, *, kept: bool) -> None:
        """Count a judged frame; the first of another series begins a new scan."""
        if series != self._series:
            self.begin(series)
        row, column = divmod(number, self.columns)
        if not 0 <= row < self.rows:
            return
        if self.serpentine and row % 2:
            column = self.columns - 1 - column
        self._judged[row, column] += 1
        self._kept[row, column] += kept

    def begin(self, series: str) -> None:
        """Forget the scan before."""
        self._series = series
        self._judged[:] = 0
        self._kept[:] = 0

    def to_json(self) -> dict[str, Any]:
        """Return hit rates as rows, None where nothing was judged; neighbours share a cell."""
        step = -(-max(self.rows, self.columns) // _MAX_SHOWN)
        judged, kept = _summed(self._judged, step), _summed(self._kept, step)
        rates = kept / np.maximum(judged, 1)
        return {
            "rows": self.rows,
            "columns": self.columns,
            "shown": list(judged.shape),
            "positions_by_cell": step * step,
            "rates": [
                round(rate, _DECIMALS) if known else None
                for rate, known in zip(rates.ravel().tolist(), judged.ravel().tolist(), strict=True)
            ],
        }


def _summed(counts: NDArray[np.int32], step: int) -> NDArray[np.int64]:
    """Return the sums of blocks of step x step."""
    starts = [np.arange(0, size, step) for size in counts.shape]
    rows = np.add.reduceat(counts.astype(np.int64), starts[0], axis=0)
    return np.asarray(np.add.reduceat(rows, starts[1], axis=1))
