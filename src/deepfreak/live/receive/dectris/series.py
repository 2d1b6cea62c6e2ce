"""Which series a message belongs to, and what it means to the rest: messages to events.

Stream V2 gives each series a unique id. Without one, as in Stream V1, a series has only a number,
which a restarted detector counts from 1 again: the second series 7 is named "7 (2)". What tells
the two apart, in this order:

- the connection: each sender has series of its own;
- a start: it begins a series, unless the next image continues where the last one was, in which case
  the start came late or twice;
- an end: what follows is another series;
- a lost connection, or a restart of this program: a series continues only with numbers beyond those
  that have come.

On an unbroken connection a number that comes twice is the same frame. A series whose end was missed
ends with the next one of its sender, also one that a restart of this program interrupted.
"""

import time
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from deepfreak.live.messages import Arrival, Event, PayloadKind, SeriesBegan, SeriesEnded, Trouble
from deepfreak.live.receive.dectris.cbor_v2 import encode_start
from deepfreak.live.receive.dectris.messages import UNNUMBERED, End, Image, Message, Start
from deepfreak.live.receive.frame_accounting import FrameAccounting, NumberSet, SeriesState

Protocol = Literal["v1", "v2"]

KINDS: dict[Protocol, PayloadKind] = {"v1": "dectris-v1", "v2": "dectris-v2"}
# Of so many series it is remembered that they began; what was forgotten is only said again.
MAX_REMEMBERED = 1000
# Of one number, those of several senders and lost connections; of one sender, those without an end.
MAX_OPEN = 16
# An older series without an end was given up, not interrupted.
MAX_RESUME_S = 3600.0
# Series whose last frames came within so long of each other came at the same time.
AT_ONCE_S = 5.0


@dataclass(slots=True, kw_only=True)
class _TrackedSeries:
    """A series so far."""

    name: str
    sender: int | None = None  # the connection that it comes over; None once that is lost
    # begun, announced, ended: whether the rest was told of it, whether its start is known, whether
    # its end has come
    begun: bool = False
    announced: bool = False
    ended: bool = False
    # context, lacks: of its start, as in `SeriesBegan`
    context: bytes = field(default=b"", repr=False)
    lacks: tuple[str, ...] = ()
    # the numbers of its images, for a series without a unique id
    seen: NumberSet = field(default_factory=NumberSet)
    start: Start | None = None  # one that may be its own, late, or that of the next series
    # whether a connection was lost since it began, or this program was started again
    broken: bool = False
    resumes: bool = False  # whether nothing has come since then

    def continues_with(self, number: int, *, behind_start: bool = False) -> bool:
        """Return whether an image of this number may be the next one."""
        if self.resumes or behind_start:
            return number >= self.seen.reach
        return not (self.broken and number in self.seen)


class SeriesTracker:
    """The series of detectors, from their messages so far."""

    def __init__(self) -> None:
        self._accounting = FrameAccounting()
        self._interrupted: list[str] = []
        self._unique: OrderedDict[str, _TrackedSeries] = OrderedDict()
        self._first_numbers: OrderedDict[str, int] = OrderedDict()  # by unique id
        self._numbered: OrderedDict[tuple[Protocol, int], list[_TrackedSeries]] = OrderedDict()
        self._used: OrderedDict[int, int] = OrderedDict()  # how many series had this number
        self._taken: OrderedDict[str, None] = OrderedDict()  # names of these, given by this run
        self._open: OrderedDict[int, list[_TrackedSeries]] = OrderedDict()  # by sender
        self._sender = 0
        self._said: list[Event] = []

    def resume(self, accounting: FrameAccounting) -> None:
        """Take what has been received, by an earlier run of this program as well."""
        self._accounting = accounting
        kinds = set(KINDS.values())
        self._interrupted = [
            line.series for line in accounting.lines() if line.kind in kinds and not line.ended
        ]

    def lost(self, sender: int) -> None:
        """Take note that a connection is lost."""
        for runs in self._numbered.values():
            for run in runs:
                if run.sender == sender:
                    run.sender, run.broken, run.resumes = None, True, True

    def events(
        self,
        message: Message,
        protocol: Protocol,
        payload: bytes | memoryview,  # that of an image
        *,
        # received, since: as in `Arrival`
        received: float,
        since: float,
        sender: int = 0,  # the connection that it came over
    ) -> list[Event]:
        """Return what a message means."""
        self._said, self._sender = [], sender
        if message.unique_id is not None:
            run = self._unique_run(message, message.unique_id, KINDS[protocol])
        else:
            run = self._numbered_run(message, protocol, sender)
        if not isinstance(message, Start) and not run.begun:
            self._begin_without_start(run, message, KINDS[protocol])
        match message:
            case Image():
                run.ended = False
                self._said.append(
                    Arrival(
                        series=run.name,
                        number=message.number,
                        payload=payload,
                        received=received,
                        since=since,
                        sent=message.sent,
                        truth=message.truth,
                    )
                )
            case End() if not run.ended:
                run.ended = True
                self._said.append(SeriesEnded(series=run.name))
                # a detector has one at a time; if more images of others come, they are taken
                others = [each.name for each in self._open_of_sender() if not each.ended]
                others += self._unreadable()
                self._said += [SeriesEnded(series=name) for name in others]
                self._open_of_sender().clear()
        return self._said

    def _unique_run(self, message: Message, unique_id: str, kind: PayloadKind) -> _TrackedSeries:
        """Return the series of a unique id, begun by its start.

        Detectors never use one twice. Where a simulated one does, the numbers tell series apart.
        """
        line, number = self._accounting.line(unique_id), message.series_id
        if unique_id not in self._first_numbers:
            first = None if line is None else line.detector_number
            self._first_numbers[unique_id] = number if first is None else first
            _forget(self._first_numbers)
        name = unique_id
        if number not in {self._first_numbers[unique_id], UNNUMBERED}:
            name = f"{unique_id} ({number})"
            line = self._accounting.line(name)
        run = self._unique.get(name)
        if run is None:
            run = self._unique[name] = _TrackedSeries(name=name)
            run.announced = line is not None and line.kind == kind and "start" not in line.lacks
            _forget(self._unique)
        self._unique.move_to_end(name)
        if isinstance(message, Start):
            self._begin(run, message, kind)
        return run

    def _numbered_run(self, message: Message, protocol: Protocol, sender: int) -> _TrackedSeries:
        """Return the series of a message without a unique id, begun by its start if that came."""
        kind = KINDS[protocol]
        runs = self._numbered.setdefault((protocol, message.series_id), [])
        self._numbered.move_to_end((protocol, message.series_id))
        _forget(self._numbered)
        run = next((each for each in runs if each.sender == sender), None)
        run = run or _interrupted(runs, message) or self._of_earlier_run(runs, message, kind)
        if run is None or (run.ended and not isinstance(message, End)):
            run = self._another(runs, message, sender)
        run.sender = sender
        start, run.start = run.start, None
        match message:
            case Start() if run.seen.count or run.resumes:
                run.start = message
                return run
            case Start():
                start = message
            case End() if start is not None and run.announced:  # of a series without images
                run = self._another(runs, message, sender)
            case Image():
                if not run.continues_with(message.number, behind_start=start is not None):
                    run = self._another(runs, message, sender)
                run.resumes = False
                run.seen.add(message.number)
        if start is not None:
            self._begin(run, start, kind)
        return run

    def _of_earlier_run(
        self, runs: list[_TrackedSeries], message: Message, kind: PayloadKind
    ) -> _TrackedSeries | None:
        """Return the series that continues after a restart of this program, if any does."""
        if isinstance(message, Start):
            return None
        now = time.time()
        number = message.number if isinstance(message, Image) else None
        found: list[tuple[float, int, SeriesState]] = []
        place = 1
        while (line := self._accounting.line(name := _name(message.series_id, place))) is not None:
            place += 1
            free = line.kind == kind and name not in self._taken
            ago = 0.0 if line.last_received is None else abs(now - line.last_received)
            beyond = 0 if number is None else number - line.seen.reach
            if free and ago < MAX_RESUME_S and not line.ended and beyond >= 0:
                found.append((ago, beyond, line))
        if not found:
            return None
        latest = min(ago for ago, _, _ in found)
        # those of several detectors, not one that lost its end before
        at_last = [each for each in found if each[0] < latest + AT_ONCE_S]
        line = min(at_last, key=lambda each: each[1])[2]
        run = _TrackedSeries(name=line.series, seen=line.seen.copy(), broken=True, resumes=True)
        run.announced = "start" not in line.lacks
        self._take(run.name)
        runs.append(run)
        return run

    def _take(self, name: str) -> None:
        self._taken[name] = None
        _forget(self._taken)

    def _another(self, runs: list[_TrackedSeries], message: Message, sender: int) -> _TrackedSeries:
        """Return a new series of a number, in place of the last one of this sender."""
        number = message.series_id
        place = self._used.get(number, 0) + 1
        while self._accounting.line(_name(number, place)) is not None:
            place += 1
        self._used[number] = place
        self._used.move_to_end(number)
        _forget(self._used)
        run = _TrackedSeries(name=_name(number, place), sender=sender)
        self._take(run.name)
        if any(each.sender not in {None, sender} and not each.ended for each in runs):
            self._say(run.name, f"two detectors send a series {number}; this is that of the second")
        runs[:] = [each for each in runs if each.sender != sender][1 - MAX_OPEN :]
        runs.append(run)
        return run

    def _begin(self, run: _TrackedSeries, start: Start, kind: PayloadKind) -> None:
        """Announce what a start message says about a series."""
        context = encode_start(start, mask_dtype="u1", dated=False)
        if run.begun and not run.announced:
            self._say(run.name, "its start came late; later frames are classified with it")
        elif run.begun and start.lacks and not run.lacks:
            self._say(
                run.name,
                f"another start came, whose {start.lacks[0]} cannot be read; the first one is kept",
            )
            run.ended = False
            self._said.append(SeriesBegan(series=run.name, kind=kind))
            return
        elif run.begun and context != run.context:
            self._say(run.name, "another start came; later frames are classified with it")
        if not run.begun:
            self._open_of_sender().append(run)
        run.begun = run.announced = True
        run.ended, run.context, run.lacks = False, context, start.lacks
        for field_, reason in start.unread.items():
            costs = "classified without it" if field_ in start.lacks else "treated as unknown"
            self._say(run.name, f"its {field_} cannot be read, {costs}: {reason}")
        self._said.append(
            SeriesBegan(
                series=run.name,
                kind=kind,
                context=context,
                expected=start.expected,
                metadata=_metadata(start, kind),
                lacks=start.lacks,
            )
        )

    def _begin_without_start(
        self, run: _TrackedSeries, message: Image | End, kind: PayloadKind
    ) -> None:
        """Say that a series continues whose start an earlier run knows, or is unknown."""
        self._open_of_sender().append(run)
        run.begun = True
        if run.announced:
            line = self._accounting.line(run.name)
            lacks = () if line is None else line.lacks
            self._said.append(SeriesBegan(series=run.name, kind=kind, lacks=lacks))
            return
        if isinstance(message, Image):
            self._say(
                run.name,
                "its start was missed; classified without the detector's mask, "
                "saturation and beam centre",
            )
        else:
            self._say(run.name, "its end came, but neither its start nor an image")
        start = Start(series_id=message.series_id, unique_id=message.unique_id)
        self._said.append(
            SeriesBegan(
                series=run.name,
                kind=kind,
                context=encode_start(start, dated=False),
                metadata=_metadata(start, kind),
                lacks=("start",),
            )
        )

    def _open_of_sender(self) -> list[_TrackedSeries]:
        """Return the series that this sender began and, as far as is known, has not ended."""
        found = self._open.setdefault(self._sender, [])
        self._open.move_to_end(self._sender)
        _forget(self._open)
        del found[:-MAX_OPEN]
        return found

    def _unreadable(self) -> list[str]:
        """Return the series of an earlier run that no detector continues.

        Where several detectors send, another one may do so still.
        """
        if len(self._open) > 1:
            return []
        names = [name for name in self._interrupted if name not in self._taken]
        self._interrupted = []
        return [name for name in names if name not in self._unique]

    def _say(self, series: str, line: str) -> None:
        self._said.append(Trouble(message=f"series {series}: {line}", series=series))


def _interrupted(runs: list[_TrackedSeries], message: Message) -> _TrackedSeries | None:
    """Return the last series whose connection was lost and that this message may belong to."""
    for run in reversed(runs):
        if run.sender is None and not run.ended:
            if isinstance(message, Image) and not run.continues_with(message.number):
                continue
            return run
    return None


def _name(number: int, place: int) -> str:
    """Return the name of the `place`th series of a number, from 1."""
    return str(number) if place == 1 else f"{number} ({place})"


def _metadata(start: Start, kind: PayloadKind) -> Mapping[str, Any]:
    """Return the metadata for people, as JSON values."""
    protocol = "Stream V1" if kind == "dectris-v1" else "Stream V2"
    metadata: dict[str, Any] = {"protocol": protocol, "series": start.series_id}
    metadata.update(start.about)
    if start.shape is not None:
        metadata["pixels"] = list(start.shape)
    if start.channels:
        metadata["channels"] = list(start.channels)
    for name, value in start.metadata.items():
        metadata[name] = list(value) if isinstance(value, tuple) else value
    masked = next(iter(start.masks.values()), None)
    if masked is not None:
        metadata["masked_pixels"] = int(masked.sum())
    if start.simulated:
        metadata["simulated"] = True
    return metadata


def _forget(remembered: OrderedDict[Any, Any]) -> None:
    while len(remembered) > MAX_REMEMBERED:
        remembered.popitem(last=False)
