"""What a worker does with one frame: decode, prepare, classify, decide."""

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from deepfreak.compiled import njit
from deepfreak.errors import FrameError, InputError
from deepfreak.formats.frame import Counts, Frame, Notices, Valid
from deepfreak.live.logs import about
from deepfreak.live.messages import SAVED, BraggPeaks, Decision, FrameOutcome, FramePicture
from deepfreak.live.receive.decoders import Decoders
from deepfreak.live.spool import read
from deepfreak.models import Classifier
from deepfreak.screening.policy import Policy
from deepfreak.screening.screener import Screener
from deepfreak.screening.verdict import Verdict

_log = logging.getLogger(__name__)

# A frame is saturated if more of its measured pixels are at the top than a few spots' middles take.
SATURATED_SHARE = 2e-4


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameJob:
    """A frame to classify."""

    series: str
    number: int
    path: Path | None  # its file in the spool; None where the decoder needs none
    received: float
    # as in `Arrival`; None for a frame that an earlier run received
    since: float | None = field(default=None, compare=False)
    sent: float | None = None
    truth: Mapping[str, Any] | None = field(default=None, compare=False)
    picture: bool = False  # whether people want to see it

    def now(self) -> float:
        """Return the time in seconds since 1970 by the clock that showed `received`.

        The same on the clocks of all processes of a machine, and no step of the wall clock since
        the receipt changes it.
        """
        if self.since is None:
            return max(self.received, time.time())
        return self.received + max(0.0, time.monotonic() - self.since)

    def outcome(self, decision: Decision, **found: Any) -> FrameOutcome:  # noqa: ANN401
        """Return the outcome of this frame, decided now unless `found` says when."""
        decided = found.pop("decided", None)
        return FrameOutcome(
            series=self.series,
            number=self.number,
            decision=decision,
            received=self.received,
            sent=self.sent,
            decided=self.now() if decided is None else decided,
            truth=self.truth,
            **found,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameDecider:
    """Decides about frames, by a model and a policy."""

    model: Classifier
    policy: Policy
    decoders: Decoders
    peaks: bool = False  # whether the peaks of all frames to save are wanted
    # keeps what was said of the reading of frames
    notices: Notices = field(default_factory=Notices)

    def __call__(self, job: FrameJob) -> FrameOutcome:
        """Return the outcome of a frame; it may be that it cannot be read."""
        start = time.perf_counter()
        try:
            frame = self.decoders.frame(job.series, payload_of(job), job.number)
            verdict = Screener(self.model, self.policy, pictures=job.picture)(frame)
            decision = verdict.decision or "unsure"  # with a policy there is one
            peaks = picture = None
            wanted = self.peaks and decision in SAVED
            if wanted or job.picture:
                peaks, picture = _found(frame, verdict)
        except InputError as error:
            return self._unreadable(job, str(error), start)
        except MemoryError:
            return self._unreadable(job, "reading it takes more memory than a frame may", start)
        # whatever a frame is made of, the next one has its turn
        except Exception as error:  # noqa: BLE001 -- it is logged
            at = about(job.series, job.number)
            _log.info("unexpected error in a frame", exc_info=True, extra=at)
            return self._unreadable(job, f"{type(error).__name__}: {error}", start)
        return job.outcome(
            decision,
            label=verdict.label,
            probabilities=tuple(verdict.probabilities.values()),
            p_crystal=verdict.p_crystal,
            saturated=is_saturated(frame),
            level=verdict.level,
            reasons=verdict.reasons,
            signs=verdict.signs,
            ms=(time.perf_counter() - start) * 1e3,
            judged_without=self.decoders.lacks(job.series),
            notes=self.notices.new(frame),
            picture=picture if job.picture else None,
            peaks=peaks if wanted else None,
        )

    def _unreadable(self, job: FrameJob, reason: str, start: float) -> FrameOutcome:
        ms = (time.perf_counter() - start) * 1e3
        return job.outcome("unreadable", ms=ms, error=f"{' '.join(reason.split()):.300}")


def warm_up(screen: Callable[[Frame], object], *dtypes: type) -> None:
    """Classify noise, so that compiled code is loaded before the first frame comes."""
    counts = np.random.default_rng(0).poisson(20, (512, 512))
    valid = np.ones(counts.shape, np.bool_)
    for dtype in dtypes:
        screen(Frame(file="warm-up", index=0, counts=counts.astype(dtype), valid=valid))


def payload_of(job: FrameJob) -> bytes | memoryview:
    """Return what was received of a frame."""
    if job.path is None:
        return b""
    arrival = read(job.path)
    if (arrival.series, arrival.number) != (job.series, job.number):
        raise FrameError("expected the frame that was put into the spool, found another")
    return arrival.payload


def is_saturated(frame: Frame) -> bool:
    """Return whether too many pixels are at or over the largest trusted count."""
    if frame.saturation is None:
        return False
    over = _count_from(frame.saturation, frame.counts, frame.valid)
    return bool(over > SATURATED_SHARE * frame.counts.size)


@njit(cache=True, nogil=True)
def _count_from(top: float, counts: Counts, valid: Valid) -> int:
    """Return how many valid pixels are at `top` or over it, without a map of them in between.

    Slow equivalent: ((counts >= top) & valid).sum()
    """
    least = np.float32(top)
    found = 0
    for i in range(counts.shape[0]):
        values, measured = counts[i], valid[i]
        for j in range(len(values)):
            found += (np.float32(values[j]) >= least) & measured[j]
    return found


def _found(frame: Frame, verdict: Verdict) -> tuple[BraggPeaks, FramePicture | None]:
    """Return the peaks in pixels of the frame, and the picture with its own if there is one.

    They are those of the evidence, or else those found on the image that the model saw.
    """
    if verdict.peaks is not None:
        found = verdict.peaks
        peaks = BraggPeaks(
            slow=found.slow, fast=found.fast, photons=found.photons, height_sigma=found.z
        )
        return peaks, _picture(verdict)
    return _found_on_image(frame, verdict)


def _picture(verdict: Verdict) -> FramePicture | None:
    if verdict.image is None or verdict.valid is None or verdict.overlay is None:
        return None
    return FramePicture(
        image=verdict.image,
        valid=verdict.valid,
        peaks=verdict.overlay.peaks,
        rings=verdict.overlay.rings,
    )


def _found_on_image(frame: Frame, verdict: Verdict) -> tuple[BraggPeaks, FramePicture]:
    from deepfreak.features.peaks import find_peaks

    if verdict.image is None or verdict.valid is None:
        raise FrameError("expected an image to find peaks on, found none")
    found = find_peaks(verdict.image, verdict.valid)
    (first_slow, first_fast), factor = verdict.origin, verdict.factor
    picture = FramePicture(
        image=verdict.image,
        valid=verdict.valid,
        peaks=np.stack([found.slow, found.fast], axis=1),
        activation=verdict.activation,
    )
    slow, fast = found.slow * factor + first_slow, found.fast * factor + first_fast
    height, width = frame.counts.shape
    inside = (slow >= 0) & (fast >= 0) & (slow < height) & (fast < width)
    peaks = BraggPeaks(
        slow=slow[inside],
        fast=fast[inside],
        photons=found.photons[inside],
        height_sigma=found.height_sigma[inside],
    )
    return peaks, picture
