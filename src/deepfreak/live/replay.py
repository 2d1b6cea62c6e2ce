"""A detector without a detector: frames sent at a rate, as DECTRIS's Stream V2 sends them.

Frames are made and compressed before the first one leaves, and come again in the same order when
there are more to send; each message has its own number, time and truth. What is not received in
time is dropped, as a detector does, and counted.
"""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from dataclasses import dataclass, field
from itertools import count as count_from
from pathlib import Path
from typing import Any, Unpack
from uuid import uuid4

import numpy as np
from numpy.typing import NDArray

from deepfreak.datasets.executors import in_order
from deepfreak.errors import DeepFreakError, FrameError
from deepfreak.formats.finishing import ReadOptions
from deepfreak.formats.frame import Frame, Metadata
from deepfreak.formats.guarded import open_guarded
from deepfreak.formats.headers import metadata_from
from deepfreak.live.receive.dectris.compression import CompressedArray
from deepfreak.live.receive.dectris.messages import Start
from deepfreak.live.receive.dectris.sender import Compression, Protocol, StreamSender, encode_pixels
from deepfreak.physics.detector import CCD, missing_pixels
from deepfreak.physics.experiment import Experiment
from deepfreak.physics.exposure import has_ice, scatter
from deepfreak.physics.noise import detect

LISTENER_WITHIN_S = 5.0
MAX_NAP_S = 0.1


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Recording:
    """Frames that are ready to be sent, one size all of them."""

    name: str
    # compressed pixels, and the truth of each
    frames: tuple[tuple[CompressedArray, dict[str, Any]], ...]
    metadata: Metadata  # as in the start message
    mask: NDArray[np.bool_] | None  # true where a pixel is missing; None: nowhere
    simulated: bool


@dataclass(slots=True, kw_only=True)
class Sent:
    """How many frames were sent, which were not received, and how late the latest was."""

    sent: int = 0
    dropped: list[int] = field(default_factory=list)
    latest_s: float = 0.0


def record_shots(
    experiment: Experiment,
    *,
    seed: int,
    count: int,
    compression: Compression = "bslz4",
    protocol: Protocol = "v2",
    executor: Executor | None = None,
    advance: Callable[[int], None] | None = None,
) -> Recording:
    """Simulate shots to send."""
    tasks = ((experiment, seed, index, compression, protocol) for index in range(count))
    frames = []
    for frame in in_order(executor, _shot, tasks):
        frames.append(frame)
        if advance is not None:
            advance(1)
    detector = experiment.detector
    response = detector.response
    top = response.saturation_value
    pedestal = response.adc_offset_adu if isinstance(response, CCD) else 0.0
    known = metadata_from(pedestal=pedestal, gain=1.0, saturation=float(top))
    return Recording(
        name=experiment.name,
        frames=tuple(frames),
        metadata=known,
        mask=mask if (mask := missing_pixels(detector)).any() else None,
        simulated=not detector.obstacles,
    )


def record_file(
    path: Path,
    *,
    count: int,
    compression: Compression = "bslz4",
    protocol: Protocol = "v2",
    advance: Callable[[int], None] | None = None,
    **options: Unpack[ReadOptions],  # what is known beside the file; see `ReadOptions`
) -> Recording:
    """Read the first `count` frames of a detector file to send.

    Raises `FrameError` where the file cannot be read, its frames differ in size, or hold what no
    detector sends.
    """
    frames: list[Frame] = []
    with open_guarded(path, **options) as file:
        for index in range(min(count, file.count)):
            frame = file.read(index)
            if frames and frame.counts.shape != frames[0].counts.shape:
                raise FrameError("expected frames of one size to send, found several")
            frames.append(frame)
            if advance is not None:
                advance(1)
    first = frames[0]
    beam_slow, beam_fast = first.beam_center_px or (None, None)
    known = metadata_from(
        pedestal=first.pedestal,
        gain=first.gain,
        saturation=first.saturation,
        beam_slow=beam_slow,
        beam_fast=beam_fast,
        pixel_size_mm=first.pixel_size_mm,
        distance_mm=first.distance_mm,
        wavelength_A=first.wavelength_A,
    )
    coded = (
        encode_pixels(_unsigned(frame), protocol=protocol, compression=compression)
        for frame in frames
    )
    return Recording(
        name=path.name,
        frames=tuple((one, {}) for one in coded),
        metadata=known,
        mask=~first.valid,
        simulated=first.simulated,
    )


def replay(
    recording: Recording,
    speaker: StreamSender,
    *,
    count: int | None,
    rate_hz: float | None,
    series: int = 1,
    unique_id: str | None = None,  # the series' unique id; a new one, if None
    # the number of the first frame, after a detector's restart in the middle; the last one is still
    # `count` - 1
    first: int = 0,
    # whether nothing is sent before somebody listens; without a rate each frame waits
    must_listen: bool = True,
    advance: Callable[[int], None] | None = None,
    stopped: Callable[[], bool] = lambda: False,
) -> Sent:
    """Send a series of `count` frames, or of endlessly many, at a rate, or as fast as they go.

    The series is ended in any case. Raises `DeepFreakError` where there is no listener.
    """
    start = _start(recording, series=series, unique_id=unique_id or str(uuid4()), count=count)
    taken = speaker.start(start, within_s=LISTENER_WITHIN_S if must_listen else 0.0)
    if must_listen and not taken:
        raise DeepFreakError(
            f"no listener at {speaker.address} within {LISTENER_WITHIN_S:.0f} s: "
            "begin `deepfreak listen` first"
        )
    done = Sent()
    began = time.perf_counter()
    for place, number in enumerate(_numbers(first, count)):
        if rate_hz is not None:
            due = began + place / rate_hz
            while (early := due - time.perf_counter()) > 0 and not stopped():
                time.sleep(min(early, MAX_NAP_S))
            done.latest_s = max(done.latest_s, -early)
        elif must_listen:
            speaker.wait(LISTENER_WITHIN_S)
        if stopped():
            break
        pixels, truth = recording.frames[number % len(recording.frames)]
        if speaker.image(number, pixels, truth=truth or None):
            done.sent += 1
        else:
            done.dropped.append(number)
        if advance is not None:
            advance(1)
    speaker.end(within_s=LISTENER_WITHIN_S if must_listen else 0.0)
    return done


def _numbers(first: int, count: int | None) -> Iterator[int]:
    return count_from(first) if count is None else iter(range(first, count))


def _start(recording: Recording, *, series: int, unique_id: str, count: int | None) -> Start:
    pixels = recording.frames[0][0]
    return Start(
        series_id=series,
        unique_id=unique_id,
        expected=count,
        shape=pixels.shape,
        dtype=str(pixels.dtype),
        channels=("threshold_1",),
        metadata=recording.metadata,
        masks={} if recording.mask is None else {"threshold_1": recording.mask},
        simulated=recording.simulated,
    )


def _shot(
    experiment: Experiment, seed: int, index: int, compression: Compression, protocol: Protocol
) -> tuple[CompressedArray, dict[str, Any]]:
    """Return a shot's compressed counts and its truth; runs in a worker."""
    shot = experiment.draw(seed=seed, index=index)
    counts = detect(scatter(shot), experiment.detector, shot.noise_generator())
    truth = {"label": experiment.classes.names[shot.label], "ice": bool(has_ice(shot))}
    return encode_pixels(counts, protocol=protocol, compression=compression), truth


def _unsigned(frame: Frame) -> NDArray[np.unsignedinteger[Any]]:
    """Return counts as a detector sends them; what measured nothing is the largest number."""
    counts = np.where(frame.valid, frame.counts, 0)
    if counts.min(initial=0) < 0 or counts.max(initial=0) >= np.iinfo(np.uint32).max:
        raise FrameError("expected counts from 0 to 2^32 - 2 to send, found others")
    small = counts.max(initial=0) < np.iinfo(np.uint16).max
    dtype = np.uint16 if small else np.uint32
    sent: NDArray[np.unsignedinteger[Any]] = np.rint(counts).astype(dtype)
    sent[~frame.valid] = np.iinfo(dtype).max
    return sent


def describe(done: Sent, seconds: float) -> str:
    """Return in a line what has left."""
    return (
        f"sent {done.sent}, not taken {len(done.dropped)}, "
        f"{done.sent / max(seconds, 1e-9):.0f} Hz, at most {1e3 * done.latest_s:.0f} ms late"
    )
