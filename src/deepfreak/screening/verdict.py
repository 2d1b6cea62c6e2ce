"""Verdicts on frames, and failures to read them."""

from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from deepfreak.evidence.peaks import Peaks

Decision = Literal["keep", "discard", "unsure"]
STRONG_Z = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class EvidenceSummary:
    """Numbers of peaks, rings and lattices."""

    peaks: int  # how many there are, with z of 5 or more
    # how many of these lie on no ring, and of these how many have z of 10 or more
    off_rings: int
    strong_off_rings: int
    ring_share: float  # share of the peaks on rings; 0 where no centre is known
    center_known: bool  # whether rings could be looked for: the centre is given or was found
    lattice_score: float  # how clearly the peaks repeat, in standard deviations
    fullest_quarter: float  # the largest share of the peaks off rings in one quarter of the frame
    d_min_A: float | None = None  # resolution of the peaks off rings; None if unknown

    def to_json(self) -> dict[str, Any]:
        """Return them as JSON values, rounded to what is worth reading."""
        return {
            name: round(value, 4) if isinstance(value, float) else value
            for name, value in asdict(self).items()
        }


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Overlay:
    """Peaks and rings in pixels of the picture."""

    peaks: NDArray[np.float64]  # (n, 2): slow and fast, the most significant first
    rings: NDArray[np.float64]  # (m, 3): slow and fast of the centre, radius


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Verdict:
    """The verdict on a frame."""

    file: str
    frame: int
    # the most probable class among those that the decision, or else the model, allows: with
    # diffraction for a frame to keep, without for one to discard, on the side of `p_crystal` for an
    # unsure one
    label: str
    probabilities: dict[str, float]  # by class, in the model's order
    # the probability that the shot holds crystal diffraction: weak, good and strong together
    p_crystal: float
    ms: float  # what evidence or preparing, and classifying took, in milliseconds
    # how unlike the frame is to those that the model was trained on: `Opinion.unlike`, or the mean
    # gray level of the prepared image
    level: float
    # whether to keep the frame, and why; None and empty where no thresholds are known
    decision: Decision | None = None
    reasons: tuple[str, ...] = ()
    # the evidence in numbers, and the peaks in pixels of the frame; None for models of images
    signs: EvidenceSummary | None = None
    peaks: Peaks | None = field(default=None, repr=False)
    # the frame as 512 x 512 pixels: uint8 [slow, fast] and where it is valid. None for a model of
    # evidence unless a picture was requested and could be made
    image: NDArray[np.uint8] | None = field(default=None, repr=False)
    valid: NDArray[np.bool_] | None = field(default=None, repr=False)
    # where that lies in the frame; see `Prepared`
    factor: int = 1
    origin: tuple[int, int] = (0, 0)
    # the activation map of the verdict, [slow, fast] over the whole image in fewer and larger
    # parts; None if it was not requested or the model gives none
    activation: NDArray[np.float32] | None = field(default=None, repr=False)
    # the peaks and rings of the evidence on the image; None without an image or evidence
    overlay: Overlay | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """A file or frame without a verdict, and the line that says why; `frame` None: the file."""

    file: str
    frame: int | None
    error: str
