"""The receiving side of a run: each frame of a source once, into the spool and a queue.

It runs in a thread of its own and does nothing else, so that a detector's socket never waits for a
verdict. When the machine cannot keep up, a fair part of the frames is classified and the rest is
recorded as dropped. While nothing can be written nothing is received, so that a frame is received
or was never here.
"""

import hashlib
import logging
import os
import threading
from collections import deque
from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, TypeVar

from pydantic import Field

from deepfreak.errors import OutputError
from deepfreak.live.decide import FrameJob
from deepfreak.live.ledger import MAX_NUMBER, Ledger
from deepfreak.live.logs import about
from deepfreak.live.messages import (
    Arrival,
    FrameOutcome,
    FrameSource,
    Notice,
    ResumableSource,
    SeriesBegan,
    SeriesEnded,
    Trouble,
)
from deepfreak.live.receive.frame_accounting import FrameAccounting
from deepfreak.live.spool import Spool

T = TypeVar("T")

# With less of the queue taken, every frame is classified; from there to full, ever fewer.
SAMPLE_FROM = 0.5
POLL_S = 0.005
_HASH_BYTES = 8

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueLimits:
    """How much may wait.

    Attributes
    ----------
    frames
        Frames, at most, that wait for a worker. More is dropped or waits, as `when_full` says.
    bytes
        The same in bytes.
    when_full
        "sample": of what a detector sends, a fair part is classified, whatever is in it; "wait":
        the source keeps what is not taken, as a directory does.
    settle_s, write_s
        How long verdicts are gathered before they go into the ledger together, and from there into
        lists: a transaction for each would cost as much as a small network.
    unsettled
        At most this many outcomes and notices wait for the other thread; then nothing is received.
    retry_s
        Seconds until a full disk or a locked ledger is tried again.
    """

    frames: Annotated[int, Field(ge=2, le=100_000)] = 256
    bytes: int = 512 << 20
    when_full: Literal["sample", "wait"] = "sample"
    settle_s: float = 0.02
    write_s: float = 0.1
    unsettled: int = 10_000
    retry_s: float = 0.5


class Intake:
    """Receives; the other thread takes from `queue`, `dropped` and `notices`."""

    def __init__(
        self, source: FrameSource, *, ledger: Ledger, spool: Spool, limits: QueueLimits
    ) -> None:
        self._source, self._ledger, self._spool = source, ledger, spool
        self._limits = limits
        self.queue: deque[FrameJob] = deque()  # frames to judge; the ledger has their series
        self.dropped: deque[FrameOutcome] = deque()  # outcomes of frames that were not looked at
        self.notices: deque[Notice] = deque()
        # series of which the ledger has another start than before; said before the frames behind it
        self.restarted: deque[str] = deque()
        self.failure: BaseException | None = None  # what ended the source, if it was an error
        self.duplicates, self.troubles = ledger.count("duplicates"), ledger.count("troubles")
        self._accounting = FrameAccounting()
        self._stop = threading.Event()
        self._stalled = ""  # why nothing can be written
        self._reader, self._writer = os.pipe()
        os.set_blocking(self._reader, False)
        os.set_blocking(self._writer, False)
        self._thread = threading.Thread(target=self._receive, name="deepfreak intake", daemon=True)

    def start(self) -> None:
        """Resume from what an earlier run left, and start receiving.

        Raises `OutputError` where the spool cannot be read, or holds frames of another session.
        """
        for line in self._ledger.lines():
            self._accounting.restore(line)
        for path, arrival in self._spool.left():
            if arrival.series not in self._accounting:
                raise OutputError(
                    f"expected frames of this session in {self._spool.folder}, found some of "
                    f"series {arrival.series:.60}, which it does not know: resume with the --out "
                    "that they belong to, or give another --spool"
                )
            if self._accounting.add(arrival.series, arrival.number):
                self.queue.append(_job(arrival, path, earlier_run=True))
            else:
                self._spool.drop(path)  # its verdict is in the ledger
        if isinstance(self._source, ResumableSource):
            self._source.resume(self._accounting)
        self._thread.start()

    @property
    def receiving(self) -> bool:
        """Whether further frames may come."""
        return self._thread.is_alive()

    @property
    def wake_up_fd(self) -> int:
        """The read end of the wake-up pipe, for `multiprocessing.connection.wait`."""
        return self._reader

    def clear_wake_up(self) -> None:
        """Empty the wake-up pipe."""
        with suppress(BlockingIOError):
            os.read(self._reader, 1 << 16)

    def stop(self) -> None:
        """Receive no more; what has come is in the queue."""
        self._stop.set()

    def close(self) -> None:
        """Stop, and free what is held."""
        self.stop()
        if self._thread.ident is not None:  # it has started
            self._thread.join(5)
        if not self._thread.is_alive():
            os.close(self._reader)
            os.close(self._writer)

    @property
    def received(self) -> int:
        """How many frames have come, each once."""
        return self._accounting.received

    @property
    def missed(self) -> int:
        """How many numbers are missing."""
        return self._accounting.missed

    def trouble(self, message: str, series: str | None = None, number: int | None = None) -> None:
        """Log that something is wrong, and tell the observers of the run."""
        self.troubles += 1
        _log.warning(message, extra=about(series, number))
        self.notices.append(Trouble(message=message, series=series))

    def _receive(self) -> None:
        try:
            with closing(self._source.events()) as events:  # type: ignore[type-var] # a generator
                for event in events:
                    while len(self.dropped) + len(self.notices) > self._limits.unsettled:
                        if self._stop.wait(POLL_S):
                            break
                    if self._stop.is_set():
                        return
                    if isinstance(event, Arrival):
                        self._take(event)
                    elif event is not None:
                        self._take_notice(event)
        except BaseException as error:  # noqa: BLE001 -- raised by the other thread
            self.failure = error
        finally:
            self._wake_up()

    def _take_notice(self, event: Notice) -> None:
        if isinstance(event, SeriesBegan):
            # who came in the middle of a series knows less of it than the ledger does
            self._until_written(lambda: self._ledger.begin(event))
            if event.brings_start and event.series in self._accounting:
                self.restarted.append(event.series)
            self._accounting.begin(event)
        elif isinstance(event, SeriesEnded):
            self._until_written(lambda: self._ledger.end(event.series, event.expected))
            self._accounting.end(event.series, event.expected)
        else:
            self.trouble(event.message, event.series)
            return
        did = "began" if isinstance(event, SeriesBegan) else "ended"
        frames = "" if event.expected is None else f", {event.expected} frames expected"
        _log.info("series %s%s", did, frames, extra=about(event.series))
        self.notices.append(event)

    def _take(self, arrival: Arrival) -> None:
        """Put a frame into the spool and the queue, or drop it if too many wait."""
        series, number = arrival.series, arrival.number
        line = self._accounting.line(series)
        if line is None:
            self.trouble(f"rejected frame: series {series:.60} has not begun", series, number)
            return
        if not 0 <= number < MAX_NUMBER:
            self.trouble(f"rejected frame: invalid frame number in series {series:.60}", series)
            return
        if number in line.seen:
            # a directory that is looked through again gives again what it has
            self.duplicates += line.kind != "file"
            return
        if self._limits.when_full == "wait":
            while self._fill() >= 1 and not self._stop.wait(POLL_S):
                pass
        elif not self._is_chosen(arrival):
            self._accounting.add(series, number)
            self.dropped.append(_job(arrival, None).outcome("dropped", decided=arrival.received))
            self._wake_up()
            return
        path: Path | None = None
        if len(arrival.payload):
            path = self._until_written(lambda: self._spool.put(arrival))
            if path is None:
                return  # the program ends, and this frame had not reached us
        self._accounting.add(series, number)
        self.queue.append(_job(arrival, path))
        if len(self.queue) == 1:
            self._wake_up()

    def _fill(self) -> float:
        """Return how full the queue is: 1 or more is full."""
        return max(
            len(self.queue) / self._limits.frames, self._spool.waiting_bytes / self._limits.bytes
        )

    def _is_chosen(self, arrival: Arrival) -> bool:
        """Decide by the frame's number alone whether it is classified, less often if many wait."""
        fill = self._fill()
        if fill < SAMPLE_FROM:
            return True
        # a checksum such as CRC-32 would favour columns of a raster scan
        named = f"{arrival.series}\n{arrival.number}".encode()
        digest = hashlib.blake2b(named, digest_size=_HASH_BYTES).digest()
        drawn = int.from_bytes(digest) / (1 << 8 * _HASH_BYTES)
        return drawn < (1 - fill) / (1 - SAMPLE_FROM)

    def _until_written(self, write: Callable[[], T]) -> T | None:
        """Return what `write` does, tried again until it succeeds; None if the run ends."""
        while True:
            try:
                done = write()
            except OutputError as error:
                if self._stalled != str(error):
                    self._stalled = str(error)
                    self.trouble(f"{error}; nothing is received until it can be written")
                if self._stop.wait(self._limits.retry_s):
                    return None
            else:
                if self._stalled:
                    self._stalled = ""
                    _log.warning("it can be written again, and frames are received")
                return done

    def _wake_up(self) -> None:
        with suppress(BlockingIOError):
            os.write(self._writer, b"!")


def _job(arrival: Arrival, path: Path | None, *, earlier_run: bool = False) -> FrameJob:
    return FrameJob(
        series=arrival.series,
        number=arrival.number,
        path=path,
        received=arrival.received,
        since=None if earlier_run else arrival.since,
        sent=arrival.sent,
        truth=arrival.truth,
    )
