"""The endless beam of a recipe: shots simulated on the spot, as a source of frames.

A shot's payload is a head (`_HEAD`: a magic number, rows, columns, wavelength in A) and the counts
of its pixels, uint16 little-endian, row after row. What its frames have in common is the series'
context.
"""

import base64
import hashlib
import json
import math
import struct
import time
import zlib
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import count as count_from
from typing import Any

import numpy as np

from deepfreak.errors import FrameError
from deepfreak.formats.frame import Frame, Valid, require_shape
from deepfreak.live.messages import Arrival, Event, SeriesBegan, SeriesEnded
from deepfreak.physics.experiment import Experiment

MAGIC = b"DFSHOT\x00\x01"
_HEAD = struct.Struct("<8sIId")
_MAX_CONTEXT_BYTES = 16 << 20
_NAP_S = 0.05
SHOTS_AHEAD = 8  # shots under way: enough for some workers, little memory


class SimulatedSource:
    """The shots of a recipe, one after another, as a source; see `messages.FrameSource`.

    Shot i is shot i of `generate` with the same seed, whatever the number of workers. Raises
    `InputError` where the recipe's detector does not face the beam.
    """

    def __init__(
        self,
        experiment: Experiment,
        *,
        seed: int,  # of the series. A model must not be measured with a seed that it was trained on
        # how many shots to send a second, at most as many as can be simulated; None for these
        rate_hz: float | None = None,
        count: int | None = None,  # how many to send, None for no end
        first: int = 0,  # the number of the first one
        # executor, ahead: where shots are simulated, by default in one thread here, and how many
        # ahead of time
        executor: Executor | None = None,
        ahead: int = SHOTS_AHEAD,
    ) -> None:
        self._experiment, self._seed, self._rate_hz = experiment, seed, rate_hz
        self._first, self._count, self._ahead = first, count, max(ahead, 1)
        self._executor = executor
        self._context = _context(experiment, seed)
        self.series = series_of(experiment, seed=seed)

    def events(self) -> Iterator[Event | None]:
        """Yield the shots; see `messages.FrameSource`."""
        end = None if self._count is None else self._first + self._count
        yield SeriesBegan(
            series=self.series,
            kind="shot",
            context=self._context,
            expected=end,
            metadata={
                "recipe": self._experiment.name,
                "seed": self._seed,
                "classes": list(self._experiment.classes.names),
                "image size": list(self._experiment.detector.image_size),
            },
        )
        if self._executor is not None:
            yield from self._shots(self._executor, end)
        else:
            with ThreadPoolExecutor(1, thread_name_prefix="beam") as thread:
                yield from self._shots(thread, end)
        yield SeriesEnded(series=self.series, expected=end)

    def _shots(self, executor: Executor, end: int | None) -> Iterator[Event | None]:
        numbers = iter(count_from(self._first) if end is None else range(self._first, end))
        under_way: deque[tuple[int, Future[SimulatedFrame]]] = deque()
        due = time.monotonic()
        try:
            while True:
                while len(under_way) < self._ahead and (number := next(numbers, None)) is not None:
                    task = executor.submit(simulate_frame, self._experiment, self._seed, number)
                    under_way.append((number, task))
                if not under_way:
                    return
                number, shown = under_way.popleft()
                while not wait([shown], timeout=_NAP_S).done:
                    yield None
                while (left := due - time.monotonic()) > 0:
                    time.sleep(min(left, _NAP_S))
                    yield None
                frame, now = shown.result(), time.time()
                yield Arrival(
                    series=self.series,
                    number=number,
                    payload=frame.payload,
                    received=now,
                    sent=now,
                    truth={"label": frame.label, "ice": frame.ice},
                )
                if self._rate_hz is not None:
                    # who has fallen behind does not catch up in a burst
                    due = max(due + 1 / self._rate_hz, time.monotonic() - 1 / self._rate_hz)
        finally:
            for _, task in under_way:
                task.cancel()


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulatedFrame:
    """A simulated shot: its payload, the name of its class, whether ice was in the beam."""

    payload: bytes = field(repr=False)
    label: str
    ice: bool


def simulate_frame(experiment: Experiment, seed: int, index: int) -> SimulatedFrame:
    """Simulate shot `index`; runs in a worker."""
    from deepfreak.physics.exposure import has_ice, scatter
    from deepfreak.physics.noise import detect

    shot = experiment.draw(seed=seed, index=index)
    counts = detect(scatter(shot), experiment.detector, shot.noise_generator())
    head = _HEAD.pack(MAGIC, *counts.shape, shot.wavelength_A)
    return SimulatedFrame(
        payload=head + counts.astype("<u2", copy=False).tobytes(),
        label=shot.class_name,
        ice=has_ice(shot),
    )


def series_of(experiment: Experiment, *, seed: int) -> str:
    """Return the name of the series: another recipe or seed has another one."""
    from deepfreak.physics.recipe import settings_of

    settings = json.dumps(settings_of(experiment), sort_keys=True).encode()
    return f"{experiment.name}-{hashlib.sha256(settings).hexdigest()[:8]}-seed-{seed}"


def _frame(common: Frame, payload: bytes | memoryview, number: int) -> Frame:
    """Return the frame in a payload; `FrameError` where that is no shot of this series."""
    rows, columns = common.counts.shape
    expected = _HEAD.size + 2 * rows * columns
    if len(payload) != expected:
        raise FrameError(
            f"expected a shot of {rows} x {columns} pixels in {expected} bytes, found "
            f"{len(payload)}"
        )
    magic, *shape, wavelength_A = _HEAD.unpack_from(payload)
    if magic != MAGIC or tuple(shape) != (rows, columns):
        raise FrameError(
            f"expected the head of a shot of {rows} x {columns} pixels, found another one"
        )
    if not (math.isfinite(wavelength_A) and wavelength_A > 0):
        raise FrameError(f"expected a wavelength in A, found {wavelength_A:g}")
    counts = np.frombuffer(payload, "<u2", offset=_HEAD.size).reshape(rows, columns)
    return replace(common, index=number, counts=counts.astype(np.uint16), wavelength_A=wavelength_A)


def decoder(context: bytes, *, series: str) -> Callable[[bytes | memoryview, int], Frame]:
    """Return what makes frames of the payloads of a series with this context."""
    wrong = FrameError("expected the context of simulated shots, found something else")
    if len(context) > _MAX_CONTEXT_BYTES:
        raise wrong
    try:
        table: dict[str, Any] = json.loads(context)
        rows, columns = (int(length) for length in table["image_size"])
        require_shape((rows, columns))
        slow, fast = (float(place) for place in table["beam_center_px"])
        common = Frame(
            file=series,
            index=0,
            counts=np.broadcast_to(np.uint16(0), (rows, columns)),
            valid=_unpack_mask(table["measuring"], rows, columns),
            pedestal=_finite(table["pedestal"]),
            gain=1.0,
            saturation=_finite(table["saturation"]),
            beam_center_px=(slow, fast),
            pixel_size_mm=_finite(table["pixel_size_mm"]),
            distance_mm=_finite(table["distance_mm"]),
            simulated=True,
        )
    except (ValueError, TypeError, KeyError, OverflowError, RecursionError, zlib.error) as error:
        raise wrong from error
    return partial(_frame, common)


def _context(experiment: Experiment, seed: int) -> bytes:
    """Return what the frames of all shots have in common, as JSON."""
    from deepfreak.formats.shot_metadata import metadata_of

    header = metadata_of(experiment.draw(seed=seed, index=0))
    table = {
        "image_size": header.image_size,
        "pedestal": header.pedestal,
        "saturation": header.saturation,
        "beam_center_px": header.beam_center_px,
        "pixel_size_mm": header.pixel_size_mm,
        "distance_mm": header.distance_mm,
        "measuring": _pack_mask(~header.missing),
    }
    return json.dumps(table).encode()


def _pack_mask(mask: Valid) -> str:
    return base64.b64encode(zlib.compress(np.packbits(mask).tobytes())).decode("ascii")


def _unpack_mask(text: str, rows: int, columns: int) -> Valid:
    pixels = rows * columns
    size = -(-pixels // 8)
    bits = zlib.decompressobj().decompress(base64.b64decode(text, validate=True), size + 1)
    if len(bits) != size:
        raise ValueError("a mask of another size")
    unpacked = np.unpackbits(np.frombuffer(bits, np.uint8), count=pixels)
    return unpacked.astype(np.bool_).reshape(rows, columns)


def _finite(value: object) -> float:
    number = float(value) if isinstance(value, int | float) else math.nan
    if not math.isfinite(number):
        raise ValueError("not a number")
    return number
