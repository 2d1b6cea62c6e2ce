"""`Statistics`: fed with every outcome, asked once a second what the run looks like.

It holds counts only, in rings of seconds for the last minutes and of minutes for the last day,
and the pictures of the latest hits: its size is the same after a minute and after a week.
"""

import json
import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from deepfreak.errors import InputError
from deepfreak.live.messages import (
    DECISIONS,
    FrameOutcome,
    LedgerRow,
    Notice,
    RunCounts,
    SeriesBegan,
    SeriesEnded,
    Trouble,
)
from deepfreak.live.statistics import counts
from deepfreak.live.statistics.alarms import Alarm, Alarms, AlarmSettings, Readings
from deepfreak.live.statistics.shown import (
    DetectorMap,
    Gallery,
    RasterMap,
    SeriesList,
    ShownHit,
    shortened,
)
from deepfreak.models.evaluation import Proportion

_SECONDS = 600
_MINUTES = 25 * 60
# The large number on the page: long enough to be steady, short enough to follow the sample.
_HIT_RATE_S = 30.0
_SPEED_S = 10.0
_SPREAD_BIN_S = 5
_MAX_TROUBLE_LENGTH = 300
_TROUBLES = 20


class Statistics:
    """Statistics of a run; safe to use from several threads.

    Raises `InputError` where the metadata are not JSON values, `levels` is not a range, or the
    raster has no positions.
    """

    def __init__(
        self,
        *,
        classes: Sequence[str],  # the model's, in its order
        # shown beside the numbers, as JSON values: "source", "model", "policy"
        metadata: Mapping[str, Any] | None = None,
        # range of `FrameOutcome.level` among the training images
        levels: tuple[float, float] | None = None,
        # raster, serpentine: (rows, columns) of a raster scan, and whether every second row is
        # scanned backwards
        raster: tuple[int, int] | None = None,
        serpentine: bool = False,
        alarms: AlarmSettings | None = None,  # when to raise alarms
        started: float | None = None,
    ) -> None:
        if levels is not None and not levels[0] < levels[1]:
            raise InputError(f"expected gray levels as (lowest, highest), found {levels}")
        self.classes = tuple(classes)
        self._facts = _as_json(metadata or {})
        self._columns = counts.Columns(self.classes, levels)
        self._totals = np.zeros(self._columns.count, np.int64)
        self._seconds = counts.TimeBins(width_s=1.0, count=_SECONDS, columns=self._columns.count)
        self._minutes = counts.TimeBins(width_s=60.0, count=_MINUTES, columns=self._columns.count)
        self._map = DetectorMap()
        self._raster = None if raster is None else RasterMap(*raster, serpentine=serpentine)
        self._series = SeriesList()
        self._gallery = Gallery()
        self._alarms = Alarms(alarms)
        self._counts = RunCounts()
        self._troubles: deque[tuple[float, str]] = deque(maxlen=_TROUBLES)
        self._started = time.time() if started is None else started
        self._newest = 0.0  # when the last verdict fell
        self._last_frame: float | None = None
        self._blank_since: float | None = None
        self._blank_frames = 0
        self._lock = threading.Lock()

    def add(self, rows: Sequence[LedgerRow]) -> None:
        """Count outcomes."""
        with self._lock:
            for row in rows:
                self._add(row.sequence, row.outcome)

    def notice(self, event: Notice, now: float | None = None) -> None:
        """Note what happened at a source, `now` or at the time given in seconds since 1970."""
        now = time.time() if now is None else now
        with self._lock:
            match event:
                case SeriesBegan():
                    self._series.began(event, now)
                case SeriesEnded():
                    self._series.ended(event, now)
                case Trouble():
                    self._troubles.append((now, shortened(event.message, _MAX_TROUBLE_LENGTH)))

    def count(self, counts: RunCounts) -> None:
        """Take the state of the run."""
        with self._lock:
            self._counts = counts

    def hits(self) -> list[ShownHit]:
        """Return the latest hits that have a picture, the newest first; at most 24."""
        with self._lock:
            return self._gallery.newest_first()

    def snapshot(self, now: float) -> dict[str, Any]:
        """Return what the run looks like at `now`, as JSON values.

        Alarms are looked for here: ask about once a second.
        """
        with self._lock:
            alarms = self._alarms.update(self._readings(now))
            unknown = [] if self._totals[counts.ICE_KNOWN] else ["ice"]
            unknown += ["unlike training"] if self._columns.levels is None else []
            recent = self._hits_among(self._seconds.last(now, _HIT_RATE_S))
            speed = self._seconds.last(now, _SPEED_S).sum(0)
            return {
                "now": now,
                "started": self._started,
                "metadata": self._facts,
                "classes": list(self.classes),
                "state": self._state(alarms, recent),
                "alarms": [asdict(alarm) for alarm in alarms],
                "watched": [name for name in self._alarms.names if name not in unknown],
                "hit_rate": {**recent.to_json(), "window_s": _HIT_RATE_S},
                "totals": self._totals_to_json(),
                "rate_hz": float(speed[: len(DECISIONS)].sum() / _SPEED_S),
                "latency_ms": {
                    "p50": counts.quantile_ms(speed[self._columns.latency], 0.5),
                    "p99": counts.quantile_ms(speed[self._columns.latency], 0.99),
                    "window_s": _SPEED_S,
                    "since": "sent" if speed[counts.SENT_KNOWN] else "received",
                },
                "queue": asdict(self._counts) | {"dropped": int(self._totals[counts.DROPPED])},
                "timelines": self._timelines(now),
                "map": self._map.to_json(),
                "raster": None if self._raster is None else self._raster.to_json(),
                "hits": [hit.to_json() for hit in self._gallery.newest_first()],
                "series": self._series.to_json(self._counts.waiting),
                "series_total": self._series.total,
            }

    def _add(self, sequence: int, outcome: FrameOutcome) -> None:
        if outcome.decided < self._newest - _SECONDS:  # the clock was set back
            self._seconds.forget_from(outcome.decided)
            self._minutes.forget_from(outcome.decided)
            self._newest, self._last_frame, self._blank_since = 0.0, None, None
        self._newest = max(self._newest, outcome.decided)
        columns = self._columns.of(outcome)
        judged, kept = outcome.decision in counts.JUDGED, outcome.decision == "keep"
        self._totals[columns] += 1
        self._seconds.add(outcome.decided, columns)
        self._minutes.add(outcome.decided, columns)
        self._series.add(outcome.series, outcome.number, kept=kept, now=outcome.received)
        self._last_frame = max(self._last_frame or 0.0, outcome.received)
        if judged:
            if outcome.label != "blank":
                self._blank_since, self._blank_frames = None, 0
            else:
                self._blank_since = self._blank_since or outcome.decided
                self._blank_frames += 1
            if self._raster is not None:
                self._raster.add(outcome.series, outcome.number, kept=kept)
        if outcome.picture is not None and outcome.decision in {"keep", "unsure"}:
            self._gallery.offer(sequence, outcome)
            if kept:
                self._map.add(outcome.picture, outcome.decided)

    def _hits_among(self, bins: counts.Counts) -> Proportion:
        """Return the hits among the judged frames of some bins."""
        return Proportion(
            int(bins[:, counts.KEEP].sum()), int(bins[:, counts.JUDGED_COLUMNS].sum())
        )

    def _readings(self, now: float) -> Readings:
        settings = self._alarms.settings
        both = self._seconds.last(now, 2 * settings.window_s)
        before, recent = both[: len(both) // 2], both[len(both) // 2 :]
        sums = recent.sum(0)
        came = int(sums[: len(DECISIONS)].sum())
        judged = int(sums[counts.JUDGED_COLUMNS].sum())
        saturated = int(sums[counts.SATURATED])
        opened = self._series.open()
        trouble_at, trouble = self._troubles[-1] if self._troubles else (now, None)
        last_frame = self._last_frame or 0.0
        return Readings(
            now=now,
            recent=self._hits_among(recent),
            before=self._hits_among(before),
            spread=_spread(before),
            saturated=Proportion(saturated, max(judged, saturated)),
            ice=Proportion(int(sums[counts.ICE]), int(sums[counts.ICE_KNOWN])),
            outside=Proportion(int(sums[counts.OUTSIDE]), int(sums[counts.LEVEL_KNOWN])),
            blank_s=0.0 if self._blank_since is None else now - self._blank_since,
            blank_frames=self._blank_frames if came else 0,
            dropped=Proportion(int(sums[counts.DROPPED]), came),
            without_start=Proportion(int(sums[counts.WITHOUT_START]), judged),
            waiting=self._counts.waiting,
            capacity=self._counts.capacity,
            workers=self._counts.workers,
            open_series=None if opened is None else opened[0],
            silent_s=0.0 if opened is None else now - max(opened[1], last_frame),
            trouble=trouble,
            trouble_s=now - trouble_at,
            troubles=sum(now - at <= settings.trouble_s for at, _ in self._troubles),
            came_since=last_frame > trouble_at,
        )

    def _state(self, alarms: Sequence[Alarm], recent: Proportion) -> dict[str, str]:
        """Return the state of the run in a word or two."""
        if alarms:
            return {"severity": alarms[0].severity, "words": alarms[0].name}
        if self._last_frame is None:
            return {"severity": "idle", "words": "waiting for frames"}
        if recent.total == 0:
            ended = self._series.open() is None
            return {"severity": "idle", "words": "series ended" if ended else "no frames now"}
        return {"severity": "ok", "words": "hits coming in" if recent.hits else "running, no hits"}

    def _totals_to_json(self) -> dict[str, Any]:
        decisions = self._totals[: len(DECISIONS)].tolist()
        classes = self._totals[self._columns.of_classes].tolist()
        return {
            "frames": sum(decisions),
            "decisions": dict(zip(DECISIONS, decisions, strict=True)),
            "classes": dict(zip(self.classes, classes, strict=True)),
            "saturated": int(self._totals[counts.SATURATED]),
            "ice": int(self._totals[counts.ICE]) if self._totals[counts.ICE_KNOWN] else None,
            "hit_rate": Proportion(
                int(self._totals[counts.KEEP]), int(self._totals[counts.JUDGED_COLUMNS].sum())
            ).to_json(),
        }

    def _timelines(self, now: float) -> list[dict[str, Any]]:
        spans = (
            (self._seconds, "5 min", 60, 5),
            (self._minutes, "1 h", 60, 1),
            (self._minutes, "24 h", 96, 15),
        )
        return [
            counts.timeline(bins, self._columns, now, name=name, points=points, group=group)
            for bins, name, points, group in spans
        ]


def _spread(bins: counts.Counts) -> float:
    """Return the counts.dispersion of the hit rate over bins of some seconds."""
    whole = len(bins) - len(bins) % _SPREAD_BIN_S
    sums = bins[:whole].reshape(-1, _SPREAD_BIN_S, bins.shape[1]).sum(1)
    return counts.dispersion(sums[:, counts.KEEP], sums[:, counts.JUDGED_COLUMNS].sum(1))


def _as_json(metadata: Mapping[str, Any]) -> dict[str, Any]:
    try:
        plain: dict[str, Any] = json.loads(json.dumps(dict(metadata), allow_nan=False))
    except (TypeError, ValueError) as error:
        raise InputError(f"expected metadata as JSON values, found {error}") from error
    return plain
