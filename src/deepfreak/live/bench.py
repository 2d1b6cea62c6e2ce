"""What this machine sustains: frames per second and their latency, through a real socket.

A process of its own speaks like a detector; here the whole program listens: decompression,
preparation, model, policy, ledger and lists. First it sends as fast as frames are taken, which
gives the capacity; then at parts of it, which gives latencies. The processor's time for each frame,
of all our processes and without the detector's, tells what one core would sustain alone.
"""

import multiprocessing
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from numpy.typing import NDArray

from deepfreak.errors import DeepFreakError
from deepfreak.formats.frame import Metadata
from deepfreak.live.ledger import read_ledger
from deepfreak.live.messages import Event, SeriesEnded
from deepfreak.live.receive.dectris.compression import decode
from deepfreak.live.receive.dectris.sender import StreamSender, encode_pixels
from deepfreak.live.receive.dectris.stream import StreamSource
from deepfreak.live.receive.intake import QueueLimits
from deepfreak.live.replay import Recording, record_shots, replay
from deepfreak.live.session import Settings, open_session
from deepfreak.live.workers import interrupts_blocked
from deepfreak.physics.experiment import Experiment

DISTINCT = 32
SECONDS_TO_START = 60.0
MIN_FRAMES = 20
# Of the capacity; latency is a matter of how much of it is used.
LOADS = (0.5, 0.8, 0.95, 1.5)


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """A detector's frames: how many pixels, and how they are made from simulated ones."""

    name: str
    shape: tuple[int, int]
    counts: type[np.unsignedinteger[Any]] = np.uint16


SIZES = (
    Size(name="512 x 512", shape=(512, 512)),
    Size(name="1 Mpx", shape=(1062, 1028)),
    Size(name="4 Mpx", shape=(2162, 2068), counts=np.uint32),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """The results of a stream at one rate."""

    # frames per second that were sent; None for as fast as they were received
    offered_hz: float | None
    judged_hz: float  # frames per second that got a verdict
    core_ms: float  # processor milliseconds for each of these, of all our processes
    # p50_ms, p99_ms: from leaving the detector to the verdict in hand
    p50_ms: float
    p99_ms: float
    # sent, not_taken, received, dropped, missed: numbers of frames
    sent: int
    not_taken: int
    received: int
    dropped: int
    missed: int


def frames_of(experiment: Experiment, size: Size, *, seed: int, count: int) -> Recording:
    """Return shots as frames of `size`, each pixel's light spread over those that it becomes."""
    whole = record_shots(experiment, seed=seed, count=count)
    if size.shape == experiment.detector.image_size:
        return whole
    rng = np.random.default_rng(seed)
    frames = tuple(
        (encode_pixels(_enlarged(decode(coded), size, rng)), truth) for coded, truth in whole.frames
    )
    metadata = Metadata(gain=1.0, saturation=float(np.iinfo(size.counts).max - 1))
    return replace(whole, frames=frames, metadata=metadata)


def _enlarged(
    counts: NDArray[np.uint16], size: Size, rng: np.random.Generator
) -> NDArray[np.unsignedinteger[Any]]:
    """Return counts of a finer detector with the same light; its pixels are those of a counter."""
    factor = max(1, round(min(size.shape) / min(counts.shape)))
    light = np.maximum(counts.astype(np.float64) - 10, 0) / factor**2
    fine = rng.poisson(np.kron(light, np.ones((factor, factor))))
    padding = [(0, max(0, want - have)) for want, have in zip(size.shape, fine.shape, strict=True)]
    whole = np.pad(fine, padding, mode="wrap")[: size.shape[0], : size.shape[1]]
    found: NDArray[np.unsignedinteger[Any]] = whole.astype(size.counts)
    return found


def measure(
    recording: Recording, *, settings: Settings, seconds: float, rate_hz: float | None
) -> Measured:
    """Send frames for `seconds`, and return the results.

    Without a rate nothing is dropped: the detector waits for us. Raises `DeepFreakError` where the
    detector's process does not start, or no frame comes through.
    """
    limits = settings.limits
    if rate_hz is None:
        limits = QueueLimits(frames=4 * settings.workers, when_full="wait")
    with (
        tempfile.TemporaryDirectory(prefix="deepfreak-bench-") as folder,
        _detector(recording, rate_hz=rate_hz, seconds=seconds) as detector,
    ):
        settings = replace(settings, out=Path(folder, "session"), limits=limits)

        def source(_ledger: object) -> _OneSeries:
            return _OneSeries(detector.address, give_up_s=seconds + SECONDS_TO_START)

        with open_session(settings, source, name="bench") as session:
            before = _processor_s(session.processes)
            session.run.until(threading.Event())
            used = _processor_s(session.processes) - before
            counts = session.run.counts()
        with read_ledger(settings.out / "ledger.sqlite") as ledger:
            rows = [row.outcome for rows in ledger.after(0) for row in rows]
        sent, not_taken = detector.said()
    judged = [row for row in rows if row.decision not in {"dropped", "unreadable"}]
    if len(judged) < MIN_FRAMES:
        raise DeepFreakError(
            f"expected at least {MIN_FRAMES} verdicts, found {len(judged)}: measure for longer"
        )
    late_ms = np.array([row.latency_ms for row in judged])
    decided = np.array([row.decided for row in judged])
    return Measured(
        offered_hz=rate_hz,
        judged_hz=(len(judged) - 1) / float(np.ptp(decided)),
        core_ms=1e3 * used / len(judged),
        p50_ms=float(np.quantile(late_ms, 0.5)),
        p99_ms=float(np.quantile(late_ms, 0.99)),
        sent=sent,
        not_taken=not_taken,
        received=counts.received,
        dropped=sum(row.decision == "dropped" for row in rows),
        missed=counts.missed,
    )


def seconds_to_first_verdict(recording: Recording, *, settings: Settings) -> float:
    """Return how long a session takes from nothing to its first verdict, with a model to load."""
    with (
        tempfile.TemporaryDirectory(prefix="deepfreak-bench-") as folder,
        _detector(recording, rate_hz=100.0, seconds=0.5) as detector,
    ):
        out = Path(folder, "session")
        command = [sys.executable, "-m", "deepfreak", "listen", detector.address]
        command += ["--out", str(out), "--workers", str(settings.workers)]
        for name, file in (("--model", settings.model), ("--scores", settings.scores)):
            command += [] if file is None else [name, str(file)]
        began = time.time()
        said = Path(folder, "said")
        with (
            said.open("wb") as errors,
            subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=errors) as one,  # noqa: S603 -- ourselves
        ):
            try:
                while time.time() - began < SECONDS_TO_START:
                    if one.poll() is not None:
                        last = said.read_text().splitlines()[-1:]
                        raise DeepFreakError(f"the session has ended by itself: {''.join(last)}")
                    lines = out / "verdicts.jsonl"
                    if lines.exists() and lines.stat().st_size:
                        return time.time() - began
                    time.sleep(0.01)
            finally:
                one.kill()
    raise DeepFreakError(f"no verdict came within {SECONDS_TO_START:.0f} s of the start")


class _OneSeries:
    """A detector's stream until the end of its first series."""

    def __init__(self, address: str, *, give_up_s: float) -> None:
        self._listener = StreamSource(address)
        self._give_up_s = give_up_s

    def events(self) -> Iterator[Event | None]:
        """Yield what the detector says."""
        until = time.monotonic() + self._give_up_s
        for event in self._listener.events():
            yield event
            if isinstance(event, SeriesEnded) or time.monotonic() > until:
                return


@dataclass(frozen=True, slots=True, kw_only=True)
class _Detector:
    address: str
    pipe: Connection

    def said(self) -> tuple[int, int]:
        """Return how many frames were sent, and how many were not received."""
        if not self.pipe.poll(SECONDS_TO_START):
            raise DeepFreakError("the detector's process does not end: is the machine overloaded?")
        sent, not_taken = self.pipe.recv()
        return int(sent), int(not_taken)


@contextmanager
def _detector(
    recording: Recording, *, rate_hz: float | None, seconds: float
) -> Iterator[_Detector]:
    """Give a process that sends as soon as somebody listens."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(
        target=_speak, args=(recording, rate_hz, seconds, theirs), daemon=True
    )
    try:
        with interrupts_blocked():  # one that came meanwhile is raised at its end
            process.start()
        if not ours.poll(SECONDS_TO_START):
            raise DeepFreakError(
                "the detector's process does not start: is the machine overloaded?"
            )
        yield _Detector(address=str(ours.recv()), pipe=ours)
    finally:
        if process.pid is not None:
            process.kill()
            process.join()


def _speak(recording: Recording, rate_hz: float | None, seconds: float, pipe: Connection) -> None:
    """Be a detector; runs in a process of its own."""
    with StreamSender("tcp://127.0.0.1:*", high_water=20) as speaker:
        pipe.send(speaker.address)
        if not speaker.wait(SECONDS_TO_START):
            return
        until = time.monotonic() + seconds
        done = replay(
            recording,
            speaker,
            count=None,
            rate_hz=rate_hz,
            stopped=lambda: time.monotonic() > until,
        )
        pipe.send((done.sent, len(done.dropped)))
        speaker.close(within_s=SECONDS_TO_START)


def _processor_s(processes: Iterable[int]) -> float:
    """Return the processor seconds that processes have used."""
    times = [psutil.Process(number).cpu_times() for number in processes]
    return float(sum(one.user + one.system for one in times))
