"""Detectors that send, and listeners."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
from numpy.typing import NDArray

from deepfreak.formats.frame import Frame
from deepfreak.live.messages import Arrival, Event, SeriesBegan, SeriesEnded, Trouble
from deepfreak.live.receive.dectris.decode import decoder
from deepfreak.live.receive.dectris.messages import Start
from deepfreak.live.receive.dectris.sender import StreamSender
from deepfreak.live.receive.dectris.stream import MAX_MESSAGE, StreamSource

SHAPE = (24, 40)  # slow, fast: not square, so that swapping the two is noticed
PATIENCE = 100  # ticks of a tenth of a second


def a_start(**changes: object) -> Start:
    """A detector that sends every field, for three images."""
    mask = np.zeros(SHAPE, dtype=np.bool_)
    mask[3:5, 7:9] = True
    said = {
        "series_id": 7,
        "unique_id": "01HXAMPLE",
        "expected": 3,
        "shape": SHAPE,
        "dtype": "uint16",
        "channels": ("threshold_1",),
        "metadata": {
            "saturation": 5000.0,
            "beam_center_px": (11.5, 20.25),
            "pixel_size_mm": 0.075,
            "distance_mm": 120.0,
            "wavelength_A": 1.25,
        },
        "masks": {"threshold_1": mask},
        "about": {"detector": "EIGER2 X", "count_time_s": 0.01, "energy_eV": 9918.7},
    }
    return Start(**(said | changes))


def counts_of(number: int, dtype: str = "<u2") -> NDArray[np.generic]:
    """An image that differs from all others."""
    rng = np.random.default_rng(number)
    return rng.poisson(3.0 + number, SHAPE).astype(dtype)


@contextmanager
def connected(
    *, protocol: str = "v2", max_message: int = MAX_MESSAGE, **settings: object
) -> Iterator[tuple[StreamSender, StreamSource]]:
    """A speaker and its listener."""
    with StreamSender("tcp://127.0.0.1:*", protocol=protocol, **settings) as speaker:
        listener = StreamSource(speaker.address, max_message=max_message)
        try:
            assert speaker.wait(5.0)
            yield speaker, listener
        finally:
            listener.close()


def heard(
    source: StreamSource | Iterator[Event | None], until: Callable[[list[Event]], bool]
) -> list[Event]:
    """Collect events until a condition holds; fail after too long a silence."""
    events = source.events() if isinstance(source, StreamSource) else source
    found: list[Event] = []
    silence = 0
    for event in events:
        if event is None:
            silence += 1
            assert silence < PATIENCE, f"nothing more after {found}"
            continue
        found.append(event)
        if until(found):
            break
    return found


def ends(many: int = 1) -> Callable[[list[Event]], bool]:
    """Whether a number of series have ended."""
    return lambda found: sum(isinstance(event, SeriesEnded) for event in found) == many


def of_kind(events: list[Event], kind: type) -> list:
    """The events of one kind."""
    return [event for event in events if isinstance(event, kind)]


def frames(events: list[Event], *, channel: str | None = None) -> list[Frame]:
    """The frames of all arrivals, decoded with the start of their series."""
    began = {event.series: event for event in of_kind(events, SeriesBegan)}
    made = []
    for arrival in of_kind(events, Arrival):
        of = began[arrival.series]
        read = decoder(of.kind, of.context, series=of.series, channel=channel)
        made.append(read(arrival.payload, arrival.number))
    return made


def troubles(events: list[Event]) -> list[str]:
    """The reported problems."""
    return [event.message for event in of_kind(events, Trouble)]
