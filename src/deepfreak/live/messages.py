"""The messages of sources and their outcomes: the nouns that pass between the rooms of `live`.

A source yields `Event`s. Workers turn each `Arrival` into a `FrameOutcome`; the ledger gives it a
place in the record.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from deepfreak.screening.verdict import EvidenceSummary

if TYPE_CHECKING:
    from deepfreak.formats.frame import Frame
    from deepfreak.live.receive.frame_accounting import FrameAccounting

MAX_TRANSIT_S = 600.0  # between sending and receipt; more is a difference of clocks

Decision = Literal["keep", "discard", "unsure", "unreadable", "dropped"]
DECISIONS: tuple[Decision, ...] = ("keep", "discard", "unsure", "unreadable", "dropped")
# Of these the pixels are saved.
SAVED: frozenset[Decision] = frozenset({"keep", "unsure"})

PayloadKind = str  # how a payload becomes a frame: a name that `receive.decoders` knows


@dataclass(frozen=True, slots=True, kw_only=True)
class SeriesBegan:
    """Frames of a series may follow; sent again for a known series, it opens that again."""

    series: str  # its name, unique indefinitely: two runs of a detector never share one
    # kind, context: what turns the payloads of its frames into frames: a name, and bytes that are
    # kept in the ledger, so that frames can be decoded after a restart
    kind: PayloadKind
    context: bytes = field(default=b"", repr=False)
    expected: int | None = None  # how many frames it will have, numbered from 0; None where unknown
    # for people, as JSON values; "series" is the detector's own count
    metadata: Mapping[str, Any] = field(default_factory=dict)
    # what of a detector's start is not known: "start" for all of it, "mask", "configuration"
    lacks: tuple[str, ...] = ()

    @property
    def brings_start(self) -> bool:
        """Whether it is a detector's start message, which replaces earlier ones."""
        known = bool(self.context) and "start" not in self.lacks
        return known and self.kind.startswith("dectris")

    @property
    def detector_number(self) -> int | None:
        """The detector's own count of the series."""
        return self.metadata.get("series")


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrival:
    """A frame has arrived; it is received when its spool file is complete."""

    series: str
    number: int  # its number in the series, from 0
    # what was received, not yet decoded
    payload: bytes | memoryview = field(default=b"", repr=False)
    received: float  # when, in seconds since 1970
    # the same by `time.monotonic`, which no step of the wall clock changes
    since: float = field(default_factory=time.monotonic, compare=False)
    # when the sender says that it left, in seconds since 1970; None where it does not
    sent: float | None = None
    # what is known of the frame beside its pixels, as of a simulated one: "label", and "ice"
    truth: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SeriesEnded:
    """No more frames of this series will come; `expected` as in `SeriesBegan`, if known now."""

    series: str
    expected: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Trouble:
    """Something came that cannot be understood, or a source lost its connection; one line."""

    message: str
    series: str | None = None


Event = SeriesBegan | Arrival | SeriesEnded | Trouble
Notice = SeriesBegan | SeriesEnded | Trouble


class FrameSource(Protocol):
    """Where frames come from.

    One that must know what an earlier run has received has a method `resume` as well; see
    `ResumableSource`.
    """

    def events(self) -> Iterator[Event | None]:
        """Yield what happens, and None at least every tenth of a second when nothing does.

        It ends when the source has no more to give. Closing the iterator frees what it holds.
        """


@runtime_checkable
class ResumableSource(FrameSource, Protocol):
    """A source that must know what was received before."""

    def resume(self, accounting: "FrameAccounting") -> None:
        """Take what has been received of each series, kept up to date; called before `events`."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class BraggPeaks:
    """Bragg peaks of a frame in pixels of the frame: a pixel's centre is at its index + 0.5."""

    slow: NDArray[np.float64] = field(default_factory=lambda: np.empty(0))
    fast: NDArray[np.float64] = field(default_factory=lambda: np.empty(0))
    photons: NDArray[np.float64] = field(default_factory=lambda: np.empty(0))
    height_sigma: NDArray[np.float64] = field(default_factory=lambda: np.empty(0))

    def __len__(self) -> int:
        return len(self.slow)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FramePicture:
    """A frame for people: uint8 [slow, fast], and what was found in pixels of that image."""

    image: NDArray[np.uint8]
    valid: NDArray[np.bool_]
    peaks: NDArray[np.float64]  # (n, 2): slow, fast
    rings: NDArray[np.float64] = field(default_factory=lambda: np.empty((0, 3)))
    """(m, 3): slow and fast of the centre, radius."""
    activation: NDArray[np.float32] | None = None


@dataclass(frozen=True, slots=True)
class HitCopy:
    """Where a frame's copy lies: a file below the session's directory, and its number there."""

    file: str
    index: int


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FrameOutcome:
    """The outcome of one frame."""

    series: str
    number: int
    # "dropped" where the machine could not keep up and the frame was not looked at
    decision: Decision
    # label, probabilities, p_crystal: as in `screening.Verdict`, probabilities in the model's
    # order; None and empty for frames that were unreadable or dropped
    label: str | None = None
    probabilities: tuple[float, ...] = ()
    p_crystal: float | None = None
    # whether more of the frame is over the largest trusted count than a few spots are
    saturated: bool = False
    # as in `screening.Verdict`: by it drift is noticed; None without a verdict
    level: float | None = None
    # reasons, signs: as in `screening.Verdict`
    reasons: tuple[str, ...] = ()
    signs: EvidenceSummary | None = None
    # received, sent, decided: seconds since 1970; `sent` where the sender says it. `decided` is
    # `received` and what has passed since, also when the clock was set in between
    received: float
    sent: float | None = None
    decided: float
    ms: float = 0.0  # what decoding, preparing and classifying took
    error: str | None = None
    truth: Mapping[str, Any] | None = None
    # what of the detector's start was not known, as in `SeriesBegan.lacks`
    judged_without: tuple[str, ...] = ()
    # what reading the frame noted for the first time in its worker; not recorded
    notes: tuple[str, ...] = ()
    # picture, peaks: where they were asked for
    picture: FramePicture | None = field(default=None, repr=False)
    peaks: BraggPeaks | None = field(default=None, repr=False)
    copy: HitCopy | None = None  # where the frame was copied, None if it was not

    @property
    def left_sender(self) -> float | None:
        """When the frame was sent, None if unknown or not before its receipt.

        The sender's clock may differ from ours by any amount.
        """
        if self.sent is None or not 0 <= self.received - self.sent <= MAX_TRANSIT_S:
            return None
        return self.sent

    @property
    def latency_ms(self) -> float:
        """From the time at which the frame was sent, or else received, to the verdict."""
        sent = self.left_sender
        return 1e3 * (self.decided - (self.received if sent is None else sent))


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerRow:
    """An outcome as the ledger has it: `sequence` counts all of them from 1, without a gap."""

    sequence: int
    outcome: FrameOutcome


class OutcomeSink(Protocol):
    """Takes every outcome once and in order, after the ledger has it; may be rebuilt from it."""

    def last(self) -> int:
        """Return the sequence number of the last outcome that it holds, 0 if none."""

    def write(self, rows: Sequence[LedgerRow]) -> None:
        """Take further outcomes; they are safe from `kill -9` when this returns.

        Raises `OutputError` where they cannot be written, as on a full disk; what it holds is then
        as it was.
        """

    def close(self) -> None:
        """Take no more."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Hit:
    """A frame to save, to keep or unsure. `frame` decodes it; its peaks are found."""

    outcome: FrameOutcome
    classes: tuple[str, ...]
    peaks: BraggPeaks
    frame: "Callable[[], Frame]"


class HitSink(Protocol):
    """Takes the frames of `SAVED` decisions, before the ledger has their outcome.

    After a crash a hit may come again: a file must not hold it twice then, a socket may send it
    twice.
    """

    def keep(self, hit: Hit) -> HitCopy | None:
        """Take a frame, and return where its copy lies if it has one.

        The copy is safe from `kill -9` when this returns. Raises `OutputError` where it cannot be
        written.
        """

    def close(self) -> None:
        """Finish what was begun."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunCounts:
    """What is not in the rows of the ledger."""

    received: int = 0  # frames that have reached us, each once
    duplicates: int = 0  # frames that came again, which were not looked at again
    # frames whose numbers say that they were sent, or will have been, and never came
    missed: int = 0
    troubles: int = 0  # messages that were not understood, and what else was wrong
    # waiting, capacity: frames that wait for a verdict, and the most that may
    waiting: int = 0
    capacity: int = 0
    # workers, crashes: worker processes, and how many of them have crashed
    workers: int = 0
    crashes: int = 0


class RunObserver(Protocol):
    """Is told of all that happens, as the dashboard is."""

    def add(self, rows: Sequence[LedgerRow]) -> None:
        """Take what the ledger has."""

    def notice(self, event: Notice) -> None:
        """Take note of a message of the source."""

    def count(self, counts: RunCounts) -> None:
        """Take the state of the run."""
