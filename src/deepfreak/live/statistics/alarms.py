"""Alarms: conditions that need a person, found in the statistics of a run.

Each alarm is a pure function of `Readings` and `AlarmSettings` that finds something or nothing.
`Alarms` remembers since when each stands, asks less of one that stands before it ends, and keeps
it for some seconds after the last finding, so that nothing flickers.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, fields, replace
from typing import Literal

from deepfreak.errors import RecipeError
from deepfreak.live.statistics.counts import chance_of_fall
from deepfreak.models.evaluation import Proportion

Severity = Literal["warning", "critical"]
_RANK = {"critical": 0, "warning": 1}

# An alarm ends when only this part of its threshold is left; a chance is a logarithm's.
_RELAXED = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class AlarmSettings:
    """When to raise an alarm."""

    # shares are of the frames of this long; the hit rate is compared with the window before
    window_s: float = 60.0
    # a hit rate has fallen when chance alone would do that less often than this. It is asked every
    # second: 1e-6 is about one false alarm in some weeks
    fell_chance: float = 1e-6
    # for this long a fallen hit rate is compared with what it was; then it is the new normal
    forget_s: float = 900.0
    # blank_s, min_blank_frames: nothing but blank frames for this long, and at least this many
    blank_s: float = 10.0
    min_blank_frames: int = 20
    silent_s: float = 10.0  # no frame for so long in an open series
    # max_saturated, max_ice, max_outside: shares of the frames: saturated, with ice, unlike the
    # training images
    max_saturated: float = 0.01
    max_ice: float = 0.1
    max_outside: float = 0.05
    min_frames: int = 50  # of fewer frames no share is told
    max_queue_share: float = 0.5  # share of the queue's capacity
    trouble_s: float = 30.0  # for so long trouble at the source is shown
    hold_s: float = 10.0  # an alarm stands for so long after it was last found

    def __post_init__(self) -> None:
        """Check that all are positive and that shares are shares."""
        shares = {"fell_chance", "max_saturated", "max_ice", "max_outside", "max_queue_share"}
        for each in fields(self):
            value = getattr(self, each.name)
            most = 1.0 if each.name in shares else 1e9
            if not 0.0 < value <= most:
                raise RecipeError(f"expected {each.name} over 0 and up to {most:g}, found {value}")

    def relaxed(self) -> "AlarmSettings":
        """Return the settings for an alarm that stands: it ends at half of what raised it."""
        names = ("max_saturated", "max_ice", "max_outside", "max_queue_share")
        return replace(self, **{name: getattr(self, name) * _RELAXED for name in names})


@dataclass(frozen=True, slots=True, kw_only=True)
class Readings:
    """The numbers that alarms look at."""

    now: float
    # recent, before: hits among the frames judged in the last window, and in that before it
    recent: Proportion = field(default_factory=lambda: Proportion(0, 0))
    before: Proportion = field(default_factory=lambda: Proportion(0, 0))
    spread: float = 1.0  # the `dispersion` of the hit rate before
    # saturated, ice, outside: shares of the recent frames; of those whose ice, or whose gray level,
    # is known
    saturated: Proportion = field(default_factory=lambda: Proportion(0, 0))
    ice: Proportion = field(default_factory=lambda: Proportion(0, 0))
    outside: Proportion = field(default_factory=lambda: Proportion(0, 0))
    # blank_s, blank_frames: for how long, and how many, nothing but blank frames were judged
    blank_s: float = 0.0
    blank_frames: int = 0
    # frames of the last window not looked at, of all that came
    dropped: Proportion = field(default_factory=lambda: Proportion(0, 0))
    # frames classified without a detector's start or mask, of those with a verdict in the last
    # window
    without_start: Proportion = field(default_factory=lambda: Proportion(0, 0))
    # waiting, capacity: of the queue, in frames; a capacity of 0 is not known
    waiting: int = 0
    capacity: int = 0
    workers: int = 0
    open_series: str | None = None  # name of the newest series without end; None where none is open
    # for how long no frame has come, since the last or since its series began
    silent_s: float = 0.0
    # trouble, trouble_s, troubles: the last trouble at the source, how long ago it was, and how
    # many there were in `trouble_s` of the settings
    trouble: str | None = None
    trouble_s: float = 0.0
    troubles: int = 0
    came_since: bool = True  # whether a frame has come since that trouble


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """Something is wrong now: one line with numbers and units."""

    text: str
    severity: Severity = "warning"


@dataclass(frozen=True, slots=True)
class Alarm:
    """Something has been wrong since a time, in seconds since 1970; `name` is what to call it."""

    name: str
    since: float
    text: str
    severity: Severity


def only_blank(readings: Readings, settings: AlarmSettings) -> Finding | None:
    """Find that neither crystals nor anything else scatters: the beam or its shutter."""
    enough = readings.blank_frames >= settings.min_blank_frames
    if not enough or readings.blank_s < settings.blank_s:
        return None
    return Finding(
        text=f"nothing but blank frames for {_seconds(readings.blank_s)} "
        f"({readings.blank_frames:,} frames): is the beam on and the shutter open?",
        severity="critical",
    )


def no_frames(readings: Readings, settings: AlarmSettings) -> Finding | None:
    """Find that a series is open and brings nothing."""
    if readings.open_series is None or readings.silent_s < settings.silent_s:
        return None
    return Finding(
        text=f"no frame for {_seconds(readings.silent_s)} while series {readings.open_series} "
        "is open: is the detector triggered?"
    )


def source_trouble(readings: Readings, settings: AlarmSettings) -> Finding | None:
    """Find trouble at the source; as long as nothing has come since, the source counts as lost."""
    if readings.trouble is None:
        return None
    if not readings.came_since and readings.trouble_s >= settings.silent_s:
        return Finding(
            text=f"nothing has come for {_seconds(readings.trouble_s)} since: {readings.trouble}",
            severity="critical",
        )
    if readings.came_since and readings.trouble_s > settings.trouble_s:
        return None
    often = f"{readings.troubles} times in {settings.trouble_s:g} s, last: "
    return Finding(text=(often if readings.troubles > 1 else "") + readings.trouble)


def dropped(readings: Readings, settings: AlarmSettings) -> Finding | None:
    """Find that the machine does not keep up and frames are dropped."""
    if readings.dropped.hits == 0:
        return None
    return Finding(
        text=f"{readings.dropped.hits:,} of {readings.dropped.total:,} frames "
        f"({_percent(readings.dropped.value)}) dropped in {settings.window_s:g} s: "
        f"{readings.workers} workers cannot keep up",
        severity="critical",
    )


def start_missing(readings: Readings, settings: AlarmSettings) -> Finding | None:
    """Find that the detector's mask or start is not known: its hot pixels look like reflections."""
    if readings.without_start.hits == 0:
        return None
    return Finding(
        text=f"{readings.without_start.hits:,} of {readings.without_start.total:,} frames "
        f"classified without the detector's start or mask in {settings.window_s:g} s: hot pixels "
        "may look like reflections"
    )


def queue_fills(readings: Readings, settings: AlarmSettings) -> Finding | None:
    """Find that frames wait, and soon some will be dropped."""
    most = settings.max_queue_share * readings.capacity
    if readings.capacity == 0 or readings.waiting <= most:
        return None
    return Finding(
        text=f"{readings.waiting:,} frames wait, {_percent(readings.waiting / readings.capacity)} "
        f"of the queue: verdicts come late"
    )


def _share_over(share: str, most: str, text: str) -> "_Check":
    """Return what finds that a share of enough `Readings` is over its limit in the settings."""

    def find(readings: Readings, settings: AlarmSettings) -> Finding | None:
        found: Proportion = getattr(readings, share)
        if found.total < settings.min_frames or found.value <= getattr(settings, most):
            return None
        span = f"{found.hits:,} in {settings.window_s:g} s"
        return Finding(text=text.format(percent=_percent(found.value), span=span))

    return find


saturated = _share_over(
    "saturated", "max_saturated", "{percent} of frames saturated ({span}): attenuate the beam?"
)
ice = _share_over("ice", "max_ice", "ice in {percent} of frames ({span})")
drift = _share_over(
    "outside",
    "max_outside",
    "{percent} of frames are unlike those that the model was trained on ({span}): check some "
    "verdicts by eye",
)


@dataclass(slots=True)
class HitRateFell:
    """Finds that the hit rate fell; keeps what it fell from, which soon is out of the windows."""

    _reference: tuple[Proportion, float] | None = None
    _since: float = 0.0

    def __call__(self, readings: Readings, settings: AlarmSettings) -> Finding | None:
        """Find that the last window has significantly fewer hits than the one before it had."""
        limit = settings.fell_chance
        if self._reference is None:
            reference = readings.before, readings.spread
        else:
            reference = self._reference
            limit **= _RELAXED
        chance = chance_of_fall(reference[0], readings.recent, spread=reference[1])
        old = self._reference is not None and readings.now - self._since > settings.forget_s
        if chance >= limit or old:
            self._reference = None
            return None
        if self._reference is None:
            self._reference, self._since = reference, readings.now
        return Finding(
            text=f"hit rate fell from {_percent(reference[0].value)} to "
            f"{_percent(readings.recent.value)} ({readings.recent.hits:,} of "
            f"{readings.recent.total:,} frames in {settings.window_s:g} s; by chance once in "
            f"{_times(chance)})",
            severity="critical",
        )


_Check = Callable[[Readings, AlarmSettings], Finding | None]


class Alarms:
    """The alarms of one run, asked about once a second."""

    def __init__(self, settings: AlarmSettings | None = None) -> None:
        self.settings = settings or AlarmSettings()
        self._relaxed = self.settings.relaxed()
        self._checks: dict[str, _Check] = {
            "only blank frames": only_blank,
            "hit rate fell": HitRateFell(),
            "frames dropped": dropped,
            "source trouble": source_trouble,
            "no frames": no_frames,
            "start missing": start_missing,
            "queue fills": queue_fills,
            "saturated frames": saturated,
            "ice": ice,
            "unlike training": drift,
        }
        self._standing: dict[str, Alarm] = {}
        self._found: dict[str, tuple[float, Finding]] = {}

    @property
    def names(self) -> list[str]:
        """What is watched."""
        return list(self._checks)

    def update(self, readings: Readings) -> tuple[Alarm, ...]:
        """Return the alarms that stand, the gravest first and of these the oldest."""
        now = readings.now
        for name, look in self._checks.items():
            stood = self._standing.get(name)
            finding = look(readings, self.settings if stood is None else self._relaxed)
            if finding is not None:
                since = now if stood is None else stood.since
                self._found[name] = now, finding
                self._standing[name] = Alarm(name, since, finding.text, finding.severity)
            elif stood is not None:
                last, found = self._found[name]
                if now - last >= self.settings.hold_s:
                    del self._standing[name]
                    continue
                text = f"over for {_seconds(now - last)}: {found.text}"
                self._standing[name] = Alarm(name, stood.since, text, found.severity)
        return tuple(
            sorted(self._standing.values(), key=lambda alarm: (_RANK[alarm.severity], alarm.since))
        )


def _percent(value: float) -> str:
    return f"{100 * value:.1f} %" if value < 0.1 else f"{100 * value:.0f} %"


def _seconds(value: float) -> str:
    return f"{value:.0f} s" if value < 120 else f"{value / 60:.0f} min"


def _times(chance: float) -> str:
    return "over a billion" if chance < 1e-9 else f"{1 / chance:,.0f}"
