"""The preview of a real data set: the shadow that was found, the crop, and the images."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from deepfreak.encoding import SIZE
from deepfreak.preparation import middle_window
from deepfreak.reports.page import write_page
from deepfreak.reports.palette import MISSING_RGB, SHADOW_RGB, WINDOW_RGB
from deepfreak.reports.pictures import picture, png_uri, white_level

if TYPE_CHECKING:
    from deepfreak.datasets.real_images.crop import DetectorSetup
    from deepfreak.datasets.real_images.real_set import Example, RealSet

_SIDE = 512


def write_preview(path: Path, made: "RealSet", *, overwrite: bool = False) -> None:
    """Write a page with each setup's frames, shadow and crop, and the first images of each."""
    details = [
        ("images", str(sum(count for _, count in made.splits.values()))),
        *((name, str(count)) for name, (_, count) in made.splits.items()),
        ("constant", f"{made.constant:.4g}"),
        ("mean of preprocessed", f"{made.mean:.2f}"),
    ]
    setups = [
        {
            "name": setup.frame.file,
            "said": _said(setup),
            "overview": overview(setup),
            "cards": _cards(examples),
        }
        for setup, examples in zip(made.setups, made.examples, strict=True)
    ]
    values = {
        "title": "Preview of the real images",
        "details": details,
        "figures": [],
        "galleries": [],
    }
    write_page(path, "real_set.html", {**values, "setups": setups}, overwrite=overwrite)


def _said(setup: "DetectorSetup") -> str:
    slow, fast = setup.frame.counts.shape
    window = setup.window or middle_window(setup.frame)
    share = np.count_nonzero(setup.shadow) / setup.shadow.size
    crop = f"bins of {window.factor} x {window.factor} pixels, window at {window.origin}"
    free = "" if setup.window else "; no window is free of the shadow: it is missing from this one"
    return f"{setup.count} frames of {slow} x {fast}; shadow {share:.1%} of them; {crop}{free}"


def overview(setup: "DetectorSetup") -> str:
    """Return the sum of the frames as a PNG data URI, with shadow and window drawn in colour."""
    from PIL import Image

    slow, fast = setup.frame.counts.shape
    factor = max(1, -(-max(slow, fast) // _SIDE))
    root = np.sqrt(np.maximum(setup.frame.counts, 0))
    valid = setup.frame.valid
    white = float(np.quantile(root[valid], 0.995)) if valid.any() else 1.0
    gray = np.clip(root / max(white, 1e-6), 0, 1)[::factor, ::factor]
    shown = np.repeat((255 * gray).astype(np.uint8)[..., None], 3, axis=2)
    shown[~valid[::factor, ::factor]] = MISSING_RGB
    shown[setup.shadow[::factor, ::factor]] = SHADOW_RGB
    window = setup.window or middle_window(setup.frame)
    _draw_box(shown, [start // factor for start in window.origin], SIZE * window.factor // factor)
    return png_uri(Image.fromarray(shown))


def _draw_box(shown: NDArray[np.uint8], corner: list[int], side: int) -> None:
    """Draw the edges of a square that lie on the picture; one that hangs over, at its border."""
    (top, left), (rows, columns) = corner, shown.shape[:2]
    first, last = max(top, 0), min(top + side, rows) - 1
    begin, end = max(left, 0), min(left + side, columns) - 1
    for row in (first, last):
        shown[row, begin : end + 1] = WINDOW_RGB
    for column in (begin, end):
        shown[first : last + 1, column] = WINDOW_RGB


def _cards(examples: Sequence["Example"]) -> list[dict[str, Any]]:
    white = white_level([image for each in examples for image in (each.raw, each.preprocessed)])
    return [
        {
            "caption": each.caption,
            "label": each.label,
            "raw": picture(each.raw, each.valid, white=white),
            "preprocessed": picture(each.preprocessed, each.valid, white=white),
        }
        for each in examples
    ]
