"""A gallery of images and what was decided about each."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deepfreak.evidence.peaks import MIN_Z
from deepfreak.reports.figures import Figure
from deepfreak.reports.page import write_page
from deepfreak.reports.palette import class_colours
from deepfreak.reports.pictures import circles, circles_at, picture, tint, white_level
from deepfreak.screening.verdict import Overlay

MAX_PICTURES = 60


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class GalleryItem:
    """What a gallery shows of one image."""

    # the 8-bit image [slow, fast] that was classified, and where it measured something; None for
    # everywhere
    image: NDArray[np.uint8]
    valid: NDArray[np.bool_] | None = None
    caption: str  # where the image comes from, in a few words
    # the class of the verdict, and the right one if it is known
    label: str
    truth: str | None = None
    probabilities: Mapping[str, float]
    # the activation map [slow, fast] over the whole image; None if unknown
    activation: NDArray[np.float32] | None = None
    # what to do with the frame, and why
    decision: str | None = None
    reasons: tuple[str, ...] = ()
    overlay: Overlay | None = None  # peaks and rings to draw; None for those found on the image

    @property
    def correct(self) -> bool | None:
        """Whether the verdict is the truth."""
        return None if self.truth is None else self.label == self.truth


def write_verdict_page(
    path: Path,
    *,
    title: str,
    verdicts: Iterable[GalleryItem],
    figures: Sequence[Figure] = (),
    details: Sequence[tuple[str, str]] = (),
    overwrite: bool = False,
    max_pictures: int = MAX_PICTURES,
) -> None:
    """Write a page with the first `max_pictures` verdicts as pictures and the number of them all.

    `verdicts` may be an iterator: images after the last picture are let go of at once. `details`
    are (name, value) pairs for the head of the page.
    """
    kept: list[GalleryItem] = []
    labels: Counter[str] = Counter()
    decisions: Counter[str] = Counter()
    right = known = 0
    classes: tuple[str, ...] = ()
    for verdict in verdicts:
        if len(kept) < max_pictures:
            kept.append(verdict)
        classes = classes or tuple(verdict.probabilities)
        labels[verdict.label] += 1
        decisions.update([verdict.decision] if verdict.decision else [])
        known += verdict.correct is not None
        right += verdict.correct is True
    total = labels.total()
    counts = [("verdicts right", f"{right} of {known} ({right / known:.1%})")] if known else []
    if decisions:
        counts.append(("decisions", ", ".join(f"{n} {name}" for name, n in decisions.items())))
    values = {
        "title": title,
        "details": [*details, ("images", str(total)), *counts],
        "labels": [(name, labels[name]) for name in classes],
        "total": total,
        "figures": figures,
        "galleries": [gallery("Verdicts", kept, left_out=total - len(kept))],
        "colours": class_colours(classes),
    }
    write_page(path, "verdicts.html", values, overwrite=overwrite)


def gallery(heading: str, verdicts: Sequence[GalleryItem], *, left_out: int = 0) -> dict[str, Any]:
    """Return what the templates need to show `verdicts`, all on one scale of brightness.

    The peaks and rings of the evidence are drawn where a model used it, else the peaks that
    `find_peaks` finds on the image; and a network's activation map, if it is known.
    """
    white = white_level([verdict.image for verdict in verdicts])
    return {
        "heading": heading,
        "left_out": left_out,
        "white": white,
        "tinted": any(verdict.activation is not None for verdict in verdicts),
        "missing": any(v.valid is not None and not v.valid.all() for v in verdicts),
        "cards": [
            {
                "picture": picture(verdict.image, verdict.valid, white=white),
                "tint": None if verdict.activation is None else tint(verdict.activation),
                "circles": circles(verdict.image, verdict.valid)
                if (drawn := verdict.overlay) is None
                else circles_at(verdict.image.shape, drawn.peaks, drawn.rings, sigma=MIN_Z),
                "decision": verdict.decision,
                "reasons": verdict.reasons,
                "caption": verdict.caption,
                "label": verdict.label,
                "truth": verdict.truth,
                "correct": verdict.correct,
                "bars": [(name, float(p)) for name, p in verdict.probabilities.items()],
            }
            for verdict in verdicts
        ],
    }
