"""The receiving side of a run: what a source gives, each frame once, into the spool and a queue.

It runs in a thread of its own and does nothing else, so that a detector's socket never waits for a
verdict. When the machine cannot keep up, a fair part of the frames is taken and the rest is noted
as left out; while nothing can be written nothing is received, so that a frame is either ours or was
never.
"""

import hashlib
import os
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, TypeVar

from pydantic import Field

from deepfreak.errors import OutputError
from deepfreak.live.events import (
    Arrival,
    Outcome,
    ResumableSource,
    SeriesBegan,
    SeriesEnded,
    Source,
    Trouble,
)
from deepfreak.live.judge import Job
from deepfreak.live.ledger import MAX_NUMBER, Ledger
from deepfreak.live.roll import Roll
from deepfreak.live.spool import Spool

T = TypeVar("T")
Notice = SeriesBegan | SeriesEnded | Trouble

# With less of the queue taken, every frame is looked at; from there to full, ever fewer.
SAMPLE_FROM = 0.5
SECONDS_BETWEEN_LOOKS = 0.005
# How long a disk that is full, or a ledger that is locked, is left in peace.
SECONDS_TO_RETRY = 0.5
# So many outcomes and notices wait for the other thread, then nothing is received.
MAX_UNSETTLED = 10_000
_HASH_BYTES = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How much may wait.

    Attributes
    ----------
    frames
        Frames, at most, that wait for a worker. More is dropped or waits, as `when_full` says.
    bytes
        The same in bytes.
    when_full
        "sample": of what a detector sends, a fair part is looked at, whatever is in it; "wait":
        the source keeps what is not taken, as a folder does.
    settle_s, write_s
        How long verdicts are gathered before they go into the ledger together, and from there into
        lists: a transaction for each would cost as much as a small network.
    """

    frames: Annotated[int, Field(ge=2, le=100_000)] = 256
    bytes: int = 512 << 20
    when_full: Literal["sample", "wait"] = "sample"
    settle_s: float = 0.02
    write_s: float = 0.1


class Intake:
    """Receives; the other thread takes from `queue`, `left_out` and `notices`.

    Parameters
    ----------
    say
        Gets a line when something is wrong.

    Attributes
    ----------
    queue
        Frames to judge; the ledger has their series.
    left_out
        Outcomes of frames that were not looked at.
    restarted
        Series of which the ledger has another start than before; said before the frames behind it.
    failure
        What ended the source, if it was an error.
    """

    def __init__(
        self,
        source: Source,
        *,
        ledger: Ledger,
        spool: Spool,
        limits: Limits,
        say: Callable[[str], None],
    ) -> None:
        self._source, self._ledger, self._spool = source, ledger, spool
        self._limits, self._say = limits, say
        self.queue: deque[Job] = deque()
        self.left_out: deque[Outcome] = deque()
        self.notices: deque[Notice] = deque()
        self.restarted: deque[str] = deque()
        self.failure: BaseException | None = None
        self.duplicates, self.troubles = ledger.count("duplicates"), ledger.count("troubles")
        self._roll = Roll()
        self._stop = threading.Event()
        self._stalled = ""  # why nothing can be written
        self._reader, self._writer = os.pipe()
        os.set_blocking(self._reader, False)
        os.set_blocking(self._writer, False)
        self._thread = threading.Thread(target=self._receive, name="deepfreak intake", daemon=True)

    def start(self) -> None:
        """Take up what an earlier run left, and begin to receive.

        Raises
        ------
        OutputError
            The spool cannot be read, or holds frames of another session.
        """
        for line in self._ledger.lines():
            self._roll.take_up(line)
        for path, arrival in self._spool.left():
            if arrival.series not in self._roll:
                raise OutputError(
                    f"expected frames of this session in {self._spool.folder}, found some of "
                    f"series {arrival.series:.60}, which it does not know: go on with the --out "
                    "that they belong to, or give another --spool"
                )
            if self._roll.add(arrival.series, arrival.number):
                self.queue.append(_job(arrival, path, earlier_run=True))
            else:
                self._spool.drop(path)  # its verdict is in the ledger
        if isinstance(self._source, ResumableSource):
            self._source.resume(self._roll)
        self._thread.start()

    @property
    def receiving(self) -> bool:
        """Whether more may come."""
        return self._thread.is_alive()

    @property
    def bell(self) -> int:
        """What becomes readable when something has come, for `multiprocessing.connection.wait`."""
        return self._reader

    def hush(self) -> None:
        """Make `bell` unreadable again."""
        with _unless_blocked():
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
        return self._roll.received

    @property
    def missed(self) -> int:
        """How many numbers are missing."""
        return self._roll.missed

    def trouble(self, line: str) -> None:
        """Note that something is wrong, for people and for the record."""
        self.troubles += 1
        self._say(line)
        self.notices.append(Trouble(message=line))

    def _receive(self) -> None:
        try:
            with closing(self._source.events()) as events:  # type: ignore[type-var] # a generator
                for event in events:
                    while len(self.left_out) + len(self.notices) > MAX_UNSETTLED:
                        if self._stop.wait(SECONDS_BETWEEN_LOOKS):
                            break
                    if self._stop.is_set():
                        return
                    if isinstance(event, Arrival):
                        self._take(event)
                    elif event is not None:
                        self._hear(event)
        except BaseException as error:  # noqa: BLE001 -- raised by the other thread
            self.failure = error
        finally:
            self._ring()

    def _hear(self, event: Notice) -> None:
        if isinstance(event, SeriesBegan):
            # who came in the middle of a series knows less of it than the ledger does
            self._insist(lambda: self._ledger.begin(event))
            if event.brings_start and event.series in self._roll:
                self.restarted.append(event.series)
            self._roll.begin(event)
        elif isinstance(event, SeriesEnded):
            self._insist(lambda: self._ledger.end(event.series, event.expected))
            self._roll.end(event.series, event.expected)
        else:
            self.trouble(event.message)
            return
        self.notices.append(event)

    def _take(self, arrival: Arrival) -> None:
        """Put a frame into the spool and the queue, or leave it out for want of time."""
        series, number = arrival.series, arrival.number
        if series not in self._roll:
            self.trouble(f"a frame of a series that has not begun was not taken: {series:.60}")
            return
        if not 0 <= number < MAX_NUMBER:
            self.trouble(f"a frame whose number can be none was not taken: series {series:.60}")
            return
        if self._roll.has(series, number):
            # a folder that is looked through again gives again what it has
            self.duplicates += self._roll.kind(series) != "file"
            return
        if self._limits.when_full == "wait":
            while self._fill() >= 1 and not self._stop.wait(SECONDS_BETWEEN_LOOKS):
                pass
        elif not self._is_chosen(arrival):
            self._roll.add(series, number)
            self.left_out.append(_left_out(arrival))
            self._ring()
            return
        path: Path | None = None
        if len(arrival.payload):
            path = self._insist(lambda: self._spool.put(arrival))
            if path is None:
                return  # the program ends, and this frame had not reached us
        self._roll.add(series, number)
        self.queue.append(_job(arrival, path))
        if len(self.queue) == 1:
            self._ring()

    def _fill(self) -> float:
        """Return how full the queue is: 1 or more is full."""
        return max(
            len(self.queue) / self._limits.frames, self._spool.waiting_bytes / self._limits.bytes
        )

    def _is_chosen(self, arrival: Arrival) -> bool:
        """Decide by the frame's number alone whether it is looked at, less often if many wait."""
        fill = self._fill()
        if fill < SAMPLE_FROM:
            return True
        # a checksum such as CRC-32 would favour columns of a raster scan
        named = f"{arrival.series}\n{arrival.number}".encode()
        digest = hashlib.blake2b(named, digest_size=_HASH_BYTES).digest()
        drawn = int.from_bytes(digest) / (1 << 8 * _HASH_BYTES)
        return drawn < (1 - fill) / (1 - SAMPLE_FROM)

    def _insist(self, write: Callable[[], T]) -> T | None:
        """Return what `write` does, tried again until it succeeds; None if the run ends."""
        while True:
            try:
                done = write()
            except OutputError as error:
                if self._stalled != str(error):
                    self._stalled = str(error)
                    self.trouble(f"{error}; nothing is received until it can be written")
                if self._stop.wait(SECONDS_TO_RETRY):
                    return None
            else:
                if self._stalled:
                    self._stalled = ""
                    self._say("it can be written again, and frames are received")
                return done

    def _ring(self) -> None:
        with _unless_blocked():
            os.write(self._writer, b"!")


def _job(arrival: Arrival, path: Path | None, *, earlier_run: bool = False) -> Job:
    return Job(
        series=arrival.series,
        number=arrival.number,
        path=path,
        received=arrival.received,
        since=None if earlier_run else arrival.since,
        sent=arrival.sent,
        truth=arrival.truth,
    )


def _left_out(arrival: Arrival) -> Outcome:
    return Outcome(
        series=arrival.series,
        number=arrival.number,
        decision="left-out",
        received=arrival.received,
        sent=arrival.sent,
        decided=arrival.received,
        truth=arrival.truth,
    )


@contextmanager
def _unless_blocked() -> Iterator[None]:
    """Let go of a pipe that is full, which wakes as well, or empty."""
    with suppress(BlockingIOError):
        yield
