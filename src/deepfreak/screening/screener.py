"""A model and its preprocessing behind one call: frames in, verdicts out."""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, Unpack, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from deepfreak.classes import WITH_DIFFRACTION
from deepfreak.errors import FrameError, InputError, ModelError, ReadingStoppedError
from deepfreak.evidence import Evidence, find_evidence, numbers
from deepfreak.formats.finishing import ReadOptions
from deepfreak.formats.frame import Frame, FrameFile
from deepfreak.formats.guarded import MAX_STOPS, open_guarded
from deepfreak.models.classifier import Classifier
from deepfreak.models.evidence_model import EvidenceModel
from deepfreak.preparation import Prepared, prepare, require_measured
from deepfreak.screening.policy import Policy, decide, shipped_policy
from deepfreak.screening.verdict import (
    STRONG_Z,
    Decision,
    EvidenceSummary,
    Failure,
    Overlay,
    Verdict,
)

_MIN_SHARE = 0.01  # of a frame's pixels that must have measured something
_EVEN = 0.5


@runtime_checkable
class GivesActivation(Protocol):
    """A model that gives activation maps."""

    def look(
        self, images: NDArray[np.uint8], valid: NDArray[np.bool_] | None = None
    ) -> tuple[NDArray[np.float64], NDArray[np.float32]]:
        """Return probabilities (n, classes) and activation maps (n, classes, h, w)."""


@dataclass(frozen=True, slots=True)
class Screener:
    """A model and its policy, to classify frames: `Screener(model)(frame)`.

    Parameters
    ----------
    model
        One of evidence looks at the frame itself, another at `prepare(frame)`.
    policy
        What decides; by default that of the shipped calibration, if it is of this model.
    pictures
        Whether verdicts hold the image and what is drawn over it.
    """

    model: Classifier
    policy: Policy | None = None
    pictures: bool = False

    def __post_init__(self) -> None:
        """Look for thresholds where none are given."""
        if self.policy is None:
            object.__setattr__(self, "policy", shipped_policy(self.model))

    def __call__(self, frame: Frame) -> Verdict:
        """Return the verdict on one frame; `FrameError` where too little of it was measured."""
        if isinstance(self.model, EvidenceModel):
            return self._from_evidence(self.model, frame)
        return self._from_image(frame)

    def _from_evidence(self, model: EvidenceModel, frame: Frame) -> Verdict:
        start = time.perf_counter()
        require_measured(frame)
        share = np.count_nonzero(frame.valid) / frame.valid.size
        if share < _MIN_SHARE:
            raise FrameError(
                f"expected at least {_MIN_SHARE:.0%} of the frame to be measured, found "
                f"{share:.2%}: is the mask inverted?"
            )
        evidence = find_evidence(frame)
        named = numbers(evidence)
        opinion, signs = model.opinion(named), _signs(evidence, named)
        decision: Decision | None = None
        reasons: tuple[str, ...] = ()
        if self.policy is not None:
            decision, reasons = decide(self.policy, opinion.p_crystal, signs, opinion)
        ms = (time.perf_counter() - start) * 1e3
        drawn: dict[str, Any] = {}
        if self.pictures:
            # its window may show too little; the verdict must not depend on whether there is one
            with suppress(FrameError):
                prepared = prepare(frame)
                drawn = {**_picture(prepared), "overlay": _overlay(evidence, prepared)}
        return Verdict(
            file=frame.file,
            frame=frame.index,
            label=_label(opinion.probabilities, decision or "unsure", opinion.p_crystal),
            probabilities=opinion.probabilities,
            p_crystal=opinion.p_crystal,
            ms=ms,
            level=opinion.unlike,
            decision=decision,
            reasons=reasons,
            signs=signs,
            peaks=evidence.peaks,
            **drawn,
        )

    def _from_image(self, frame: Frame) -> Verdict:
        start = time.perf_counter()
        prepared = prepare(frame)
        inputs = prepared.image[None], prepared.valid[None]
        maps = None
        if self.pictures and isinstance(self.model, GivesActivation):
            (row,), (maps,) = self.model.look(*inputs)
        else:
            (row,) = self.model.probabilities(*inputs)
        if not np.isfinite(row).all():
            raise ModelError(f"expected probabilities from {self.model.name}, found {row.tolist()}")
        probabilities = dict(zip(self.model.classes, map(float, row), strict=True))
        p_crystal = min(
            sum(value for name, value in probabilities.items() if name in WITH_DIFFRACTION), 1.0
        )
        label = max(probabilities, key=probabilities.__getitem__)
        decision: Decision | None = None
        reasons: tuple[str, ...] = ()
        if self.policy is not None:
            decision, reasons = decide(self.policy, p_crystal)
            label = _label(probabilities, decision, p_crystal)
        return Verdict(
            file=frame.file,
            frame=frame.index,
            label=label,
            probabilities=probabilities,
            p_crystal=p_crystal,
            ms=(time.perf_counter() - start) * 1e3,
            # where not valid it is 0
            level=float(prepared.image.sum() / max(np.count_nonzero(prepared.valid), 1)),
            decision=decision,
            reasons=reasons,
            activation=None if maps is None else maps[self.model.classes.index(label)],
            **_picture(prepared),
        )


def _label(probabilities: Mapping[str, float], decision: Decision, p_crystal: float) -> str:
    """Return the most probable class that does not contradict the decision."""
    crystal = decision == "keep" or (decision == "unsure" and p_crystal >= _EVEN)
    allowed = [name for name in probabilities if (name in WITH_DIFFRACTION) == crystal]
    return max(allowed or probabilities, key=probabilities.__getitem__)


def _signs(evidence: Evidence, named: Mapping[str, float]) -> EvidenceSummary:
    """Return what can be checked of `evidence`, whose numbers are `named`."""
    off = evidence.off_rings
    return EvidenceSummary(
        peaks=len(evidence.peaks),
        off_rings=len(off),
        strong_off_rings=int(np.count_nonzero(off.z >= STRONG_Z)),
        ring_share=float(evidence.rings.share),
        center_known=evidence.rings.center_px is not None,
        lattice_score=float(evidence.lattices.score),
        fullest_quarter=float(named["fullest_quarter"]),
        d_min_A=evidence.d_min_A,
    )


def _picture(prepared: Prepared) -> dict[str, Any]:
    """Return the picture of a frame as a verdict has it."""
    return {name: getattr(prepared, name) for name in ("image", "valid", "factor", "origin")}


def _overlay(evidence: Evidence, prepared: Prepared) -> Overlay:
    """Return the peaks and rings of a frame in pixels of its picture."""
    origin, factor = np.array(prepared.origin), prepared.factor
    places = np.stack([evidence.peaks.slow, evidence.peaks.fast], axis=1)
    center, radii = evidence.rings.center_px, evidence.rings.radii_px
    rings = np.empty((0, 3))
    if center is not None and len(radii):
        middle = np.broadcast_to((np.array(center) - origin) / factor, (len(radii), 2))
        rings = np.column_stack([middle, radii / factor])
    return Overlay(peaks=(places - origin) / factor, rings=rings)


def screen_files(
    files: Iterable[Path],
    screener: Screener,
    *,
    see: Callable[[Frame], None] = lambda _: None,
    **options: Unpack[ReadOptions],
) -> Iterator[Verdict | Failure]:
    """Yield a verdict or a failure for each frame of each file, in order.

    A file or frame that cannot be read does not keep the others from being read: files are opened
    in a process with limits (`formats.guarded`). Frames for which a file has room but no counts are
    one failure in a row.

    `see`: called with each frame that was read, for instance to say its notes. `options`: what is
    known beside the files; see `ReadOptions`.
    """
    for path in files:
        try:
            with open_guarded(path, **options) as file:
                yield from _screen(path, file, screener, see)
        except InputError as error:
            yield Failure(file=str(path), frame=None, error=str(error))


def _screen(
    path: Path, file: FrameFile, screener: Screener, see: Callable[[Frame], None]
) -> Iterator[Verdict | Failure]:
    """Yield a verdict or failure for each frame of a file, until reading was stopped too often."""
    stops = 0
    for run, is_there in file.runs():
        if not is_there:
            yield Failure(file=str(path), frame=run.start, error=_not_written(run))
            continue
        for index in run:
            try:
                frame = file.read(index)
                see(frame)
                yield screener(frame)
            except ReadingStoppedError as error:
                yield Failure(file=str(path), frame=index, error=str(error))
                stops += 1
                if stops >= MAX_STOPS and index + 1 < file.count:
                    yield Failure(
                        file=str(path),
                        frame=None,
                        error=f"reading was stopped at {stops} frames: the others were not tried",
                    )
                    return
            except InputError as error:
                yield Failure(file=str(path), frame=index, error=str(error))


def _not_written(run: range) -> str:
    if len(run) == 1:
        return f"expected counts of frame {run.start}, found that none were written"
    return (
        f"expected counts of frames {run.start} to {run.stop - 1}, found that none of these "
        f"{len(run)} were written"
    )
