"""A model and its preprocessing behind one call: frames in, verdicts out."""

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, Unpack, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from deepfreak.errors import InputError, ModelError, ReadingStoppedError
from deepfreak.frames.frame import Frame, FrameFile
from deepfreak.frames.guarded import MAX_STOPS, open_guarded
from deepfreak.frames.options import ReadOptions
from deepfreak.models.classifier import Classifier
from deepfreak.models.group import WITH_DIFFRACTION
from deepfreak.prepare import prepare


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Verdict:
    """What the model says of a frame.

    Attributes
    ----------
    probabilities
        By class, in the model's order.
    p_crystal
        The probability that the shot holds crystal diffraction: weak, good and strong together.
    ms
        What preparing and classifying took, in milliseconds.
    image, valid
        What the model saw: uint8 [slow, fast] and where it is valid.
    factor, origin
        Where that lies in the frame; see `Prepared`.
    activation
        What spoke for the verdict, [slow, fast] over the whole image in fewer and larger parts;
        None where it was not asked for or the model cannot tell.
    """

    file: str
    frame: int
    label: str
    probabilities: dict[str, float]
    p_crystal: float
    ms: float
    image: NDArray[np.uint8] = field(repr=False)
    valid: NDArray[np.bool_] = field(repr=False)
    factor: int = 1
    origin: tuple[int, int] = (0, 0)
    activation: NDArray[np.float32] | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """A file or frame without a verdict, and the line that says why; `frame` None: the file."""

    file: str
    frame: int | None
    error: str


@runtime_checkable
class Looking(Protocol):
    """A model that can say where it looked."""

    def look(
        self, images: NDArray[np.uint8], valid: NDArray[np.bool_] | None = None
    ) -> tuple[NDArray[np.float64], NDArray[np.float32]]:
        """Return probabilities (n, classes) and what spoke for each class (n, classes, h, w)."""


@dataclass(frozen=True, slots=True)
class Screener:
    """A model that is asked about frames: `Screener(model)(frame)`.

    With `maps` verdicts hold what spoke for them, if the model can tell.
    """

    model: Classifier
    maps: bool = False

    def __call__(self, frame: Frame) -> Verdict:
        """Return the verdict on one frame; `FrameError` where too little of it was measured."""
        start = time.perf_counter()
        prepared = prepare(frame)
        asked = prepared.image[None], prepared.valid[None]
        maps = None
        if self.maps and isinstance(self.model, Looking):
            (row,), (maps,) = self.model.look(*asked)
        else:
            (row,) = self.model.probabilities(*asked)
        if not np.isfinite(row).all():
            raise ModelError(f"expected probabilities from {self.model.name}, found {row.tolist()}")
        probabilities = dict(zip(self.model.classes, map(float, row), strict=True))
        p_crystal = sum(
            probability for name, probability in probabilities.items() if name in WITH_DIFFRACTION
        )
        verdict = int(np.argmax(row))
        return Verdict(
            file=frame.file,
            frame=frame.index,
            label=self.model.classes[verdict],
            probabilities=probabilities,
            p_crystal=min(p_crystal, 1.0),
            ms=(time.perf_counter() - start) * 1e3,
            image=prepared.image,
            valid=prepared.valid,
            factor=prepared.factor,
            origin=prepared.origin,
            activation=None if maps is None else maps[verdict],
        )


def screen_files(
    files: Iterable[Path],
    screener: Screener,
    *,
    see: Callable[[Frame], None] = lambda _: None,
    **options: Unpack[ReadOptions],
) -> Iterator[Verdict | Failure]:
    """Yield a verdict or a failure for each frame of each file, in order.

    A file or frame that cannot be read does not keep the others from being read: files are opened
    in a process with limits (`frames.guarded`). Frames for which a file has room but no counts are
    one failure in a row.

    Parameters
    ----------
    see
        Called with each frame that was read, for instance to say its notes.
    options
        What is known beside the files; see `ReadOptions`.
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
    """Yield what comes of each frame of a file, up to one with which there is no getting on."""
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
