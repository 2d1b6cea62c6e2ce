"""What the page shows beside curves: the series, the latest hits, and maps of where hits are."""

from collections import OrderedDict, deque
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deepfreak.errors import RecipeError
from deepfreak.live.messages import FrameOutcome, FramePicture, SeriesBegan, SeriesEnded
from deepfreak.live.receive.frame_accounting import NumberSet

_MAX_SERIES = 50
_MAX_NAME_LENGTH = 120


@dataclass(slots=True)
class _Progress:
    began: float
    expected: int | None = None
    kept: int = 0
    lacks: tuple[str, ...] = ()
    seen: NumberSet = field(default_factory=NumberSet)
    announced: bool = False
    ended: bool = False


class SeriesList:
    """The last series, each with its counts; older ones are only counted."""

    def __init__(self) -> None:
        self.total = 0
        self._series: OrderedDict[str, _Progress] = OrderedDict()

    def began(self, event: SeriesBegan, now: float) -> None:
        """Note that a series may come; one that is known is the same still."""
        progress = self._known(event.series, now)
        if not progress.announced or event.brings_start:
            progress.lacks = event.lacks
        progress.announced = True
        if event.expected is not None:
            progress.expected = event.expected

    def ended(self, event: SeriesEnded, now: float) -> None:
        """Note that no more of it will come."""
        progress = self._known(event.series, now)
        progress.ended = True
        if event.expected is not None:
            progress.expected = event.expected

    def add(self, series: str, number: int, *, kept: bool, now: float) -> None:
        """Count a frame."""
        progress = self._known(series, now)
        progress.seen.add(number)
        progress.kept += kept

    def open(self) -> tuple[str, float] | None:
        """Return name and beginning of the newest series that began and has not ended, or None."""
        for name, progress in reversed(self._series.items()):
            if progress.announced and not progress.ended:
                return shortened(name), progress.began
        return None

    def to_json(self, waiting: int) -> list[dict[str, Any]]:
        """Return the series, the newest first; `waiting` frames of them may still be in a queue.

        Of an open series the frames missed are those before the last that came; "lacks" is what of
        the detector's start is not known.
        """
        return [
            {
                "name": shortened(name),
                "began": progress.began,
                "ended": progress.ended,
                "expected": progress.expected,
                "received": progress.seen.count,
                "lacks": list(progress.lacks),
                "kept": progress.kept,
                "missed": _missed(progress, waiting),
            }
            for name, progress in reversed(self._series.items())
        ]

    def _known(self, series: str, now: float) -> _Progress:
        progress = self._series.get(series)
        if progress is None:
            progress = self._series[series] = _Progress(began=now)
            self.total += 1
            if len(self._series) > _MAX_SERIES:
                self._series.popitem(last=False)
        return progress


def _missed(progress: _Progress, waiting: int) -> int:
    due = progress.expected if progress.ended else None
    return max(0, progress.seen.missing_count(due) - waiting)


def shortened(text: str, longest: int = _MAX_NAME_LENGTH) -> str:
    """Return `text` with its middle left out where it is too long."""
    if len(text) <= longest:
        return text
    half = (longest - 3) // 2
    return f"{text[:half]}...{text[-half:]}"


MOST = 24
# Once the gallery is full a new picture is taken so often: more than eyes, or a browser that
# fetches pictures one by one, could follow.
_MIN_S_BETWEEN = 0.25

_MAX_REASON_LENGTH = 160


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ShownHit:
    """An outcome with its picture; `id` is its place in the ledger."""

    id: int
    outcome: FrameOutcome

    def to_json(self) -> dict[str, Any]:
        """Return what stands below the picture."""
        outcome, picture = self.outcome, self.outcome.picture
        return {
            "id": self.id,
            "series": shortened(outcome.series),
            "number": outcome.number,
            "decision": outcome.decision,
            "reasons": [shortened(reason, _MAX_REASON_LENGTH) for reason in outcome.reasons],
            "label": outcome.label,
            "p_crystal": outcome.p_crystal,
            "saturated": outcome.saturated,
            "peaks": 0 if picture is None else len(picture.peaks),
            "has_activation": picture is not None and picture.activation is not None,
            "decided": outcome.decided,
        }


class Gallery:
    """At most `MOST` hits, the newest last."""

    def __init__(self) -> None:
        self._hits: deque[ShownHit] = deque(maxlen=MOST)
        self._taken = float("-inf")

    def offer(self, sequence: int, outcome: FrameOutcome) -> None:
        """Take a hit that has a picture, unless another was taken just before."""
        full = len(self._hits) == MOST
        if full and 0.0 <= outcome.decided - self._taken < _MIN_S_BETWEEN:
            return
        self._taken = outcome.decided
        self._hits.append(ShownHit(id=sequence, outcome=outcome))

    def newest_first(self) -> list[ShownHit]:
        """Return them."""
        return list(reversed(self._hits))


SIDE = 32
# Peaks of so long and of as long before are shown: what was an hour ago is no news.
_SPAN_S = 1800.0
MAX_POSITIONS = 1_000_000
_MAX_SHOWN = 64  # positions along a side of the raster; more are shown together
_MAP_DECIMALS = 3


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
                round(rate, _MAP_DECIMALS) if known else None
                for rate, known in zip(rates.ravel().tolist(), judged.ravel().tolist(), strict=True)
            ],
        }


def _summed(counts: NDArray[np.int32], step: int) -> NDArray[np.int64]:
    """Return the sums of blocks of step x step."""
    starts = [np.arange(0, size, step) for size in counts.shape]
    rows = np.add.reduceat(counts.astype(np.int64), starts[0], axis=0)
    return np.asarray(np.add.reduceat(rows, starts[1], axis=1))
