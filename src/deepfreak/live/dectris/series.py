"""Which series a message belongs to, and what it means to the rest: messages to events.

Stream V2 names each series for ever. Stream V1 only counts them, and counts anew when the detector
is restarted, so that the second series "5" becomes "5 (2)".
"""

from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Literal

from deepfreak.live.dectris.cbor_v2 import encode_start
from deepfreak.live.dectris.messages import End, Image, Message, Start
from deepfreak.live.events import Arrival, Event, SeriesBegan, SeriesEnded

Protocol = Literal["v1", "v2"]

# Of so many series it is remembered that they began; what was forgotten is only said again.
_REMEMBERED = 1000


class Conversation:
    """What a detector has said so far.

    Parameters
    ----------
    known
        Whether a series of this name was received before, as by an earlier run of this program.
    """

    def __init__(self, known: Callable[[str], bool]) -> None:
        self._known = known
        self._begun: OrderedDict[str, None] = OrderedDict()
        self._numbered: OrderedDict[int, _Numbered] = OrderedDict()

    def events(
        self,
        message: Message,
        protocol: Protocol,
        payload: bytes | memoryview,
        *,
        received: float,
    ) -> Iterator[Event]:
        """Yield what a message means; `payload` is that of an image."""
        name = self._name(message)
        match message:
            case Start():
                yield self._begin(name, message, protocol)
            case Image():
                # its start was missed: we came late, or it was lost
                if name not in self._begun:
                    yield self._begin(name, _unannounced(message), protocol)
                yield Arrival(
                    series=name,
                    number=message.number,
                    payload=payload,
                    received=received,
                    sent=message.sent,
                    truth=message.truth,
                )
            case End():
                if name not in self._begun:
                    yield self._begin(name, _unannounced(message), protocol)
                yield SeriesEnded(series=name)

    def _begin(self, name: str, start: Start, protocol: Protocol) -> SeriesBegan:
        self._begun[name] = None
        _forget(self._begun)
        return SeriesBegan(
            series=name,
            kind="dectris-v1" if protocol == "v1" else "dectris-v2",
            context=encode_start(start, mask_dtype="u1"),
            expected=start.expected,
            facts=_facts(start, protocol),
        )

    def _name(self, message: Message) -> str:
        """Return the name of the series that a message belongs to."""
        if message.unique_id is not None:
            return message.unique_id
        number = message.series_id
        numbered = self._numbered.get(number)
        over = numbered is not None and numbered.ended and not isinstance(message, End)
        if isinstance(message, Start) or over:
            numbered = self._new(number, numbered)
        elif numbered is None:
            numbered = self._under_way(number)
        self._numbered[number] = numbered
        self._numbered.move_to_end(number)
        _forget(self._numbered)
        if isinstance(message, End):
            numbered.ended = True
        return numbered.name

    def _new(self, number: int, last: "_Numbered | None") -> "_Numbered":
        """Return the next series of this number whose name nobody has had."""
        run = 1 if last is None else last.run + 1
        while self._known(_Numbered(number, run).name):
            run += 1
        return _Numbered(number, run)

    def _under_way(self, number: int) -> "_Numbered":
        """Return the last known series of this number, as after a restart of this program."""
        run = 1
        while self._known(_Numbered(number, run + 1).name):
            run += 1
        return _Numbered(number, run)


class _Numbered:
    """A series that has only a number: the `run`th of that number."""

    __slots__ = ("ended", "number", "run")

    def __init__(self, number: int, run: int) -> None:
        self.number, self.run, self.ended = number, run, False

    @property
    def name(self) -> str:
        """Its name."""
        return str(self.number) if self.run == 1 else f"{self.number} ({self.run})"


def _unannounced(message: Image | End) -> Start:
    """Return what is known of a series whose start was missed."""
    return Start(series_id=message.series_id, unique_id=message.unique_id)


def _facts(start: Start, protocol: Protocol) -> Mapping[str, Any]:
    """Return what a person wants to know, as JSON values."""
    facts: dict[str, Any] = {"protocol": f"Stream {protocol.upper()}", "series": start.series_id}
    facts.update(start.about)
    if start.shape is not None:
        facts["pixels"] = list(start.shape)
    if start.channels:
        facts["channels"] = list(start.channels)
    for name, value in start.facts.items():
        facts[name] = list(value) if isinstance(value, tuple) else value
    masked = next(iter(start.masks.values()), None)
    if masked is not None:
        facts["masked_pixels"] = int(masked.sum())
    if start.simulated:
        facts["simulated"] = True
    return facts


def _forget(remembered: OrderedDict[Any, Any]) -> None:
    while len(remembered) > _REMEMBERED:
        remembered.popitem(last=False)
