"""The picture of one frame that `inspect` draws."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deepfreak.evidence import Evidence
from deepfreak.formats.frame import Frame
from deepfreak.formats.measured import counted
from deepfreak.reports.palette import (
    BEAM_COLOUR,
    PEAK_COLOUR,
    PEAK_ON_RING_COLOUR,
    REASON_COLOURS,
    rgb,
)
from deepfreak.reports.pictures import brightest
from deepfreak.storage.files import whole_file

_MAX_PICTURE_SIDE = 2048  # pixels
_DARKEST, _BRIGHTEST = 1.0, 99.7  # percentiles of the measured pixels


def draw(frame: Frame, evidence: Evidence, path: Path, *, overwrite: bool = False) -> None:
    """Write a PNG of `frame` at its own contrast, missing pixels in colour, the beam marked.

    Peaks are circled, those on rings in another colour. The brightest pixel of each bin is shown
    where the frame is larger than the picture, so that spots of one pixel stay visible.

    Raises
    ------
    OutputError
        `path` exists, or cannot be written.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.patches import Patch

    factor = -(-max(frame.counts.shape) // _MAX_PICTURE_SIDE)
    gray, low, high = _gray(frame, factor)
    picture = np.repeat(gray[..., None], 3, axis=2)
    colours = _colours(frame.missing)
    for reason, where in frame.missing.items():
        picture[_any(where, factor)] = rgb(colours[reason])
    slow, fast = frame.counts.shape
    figure = Figure(figsize=(9, 9 * slow / fast + 1.2), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    axes.imshow(picture, extent=(0, fast, slow, 0), interpolation="nearest")
    if frame.beam_center_px is not None:
        beam_slow, beam_fast = frame.beam_center_px
        axes.plot(beam_fast, beam_slow, "+", color=BEAM_COLOUR, markersize=14, markeredgewidth=2)
    axes.set_xlim(0, fast)
    axes.set_ylim(slow, 0)
    axes.set(xlabel="fast, pixels", ylabel="slow, pixels")
    name = Path(frame.file).name.encode("utf-8", "backslashreplace").decode()
    axes.set_title(
        f"{name}, frame {frame.index}: {low:g} (black) to {high:g} counts (white)".replace(
            "$", r"\$"
        ),
        fontsize=10,
    )
    circles = _circle(axes, evidence)
    patches = [
        Patch(color=colours[reason], label=f"{reason}: {count} pixels")
        for reason, count in counted(frame.missing).items()
    ]
    if patches or circles:
        axes.legend(handles=[*patches, *circles], loc="upper left", fontsize=8, framealpha=0.9)
    with whole_file(path, overwrite=overwrite) as partial:
        figure.savefig(partial, format="png")


def _circle(axes: Any, evidence: Evidence) -> list[Any]:  # noqa: ANN401 -- matplotlib's
    """Circle the peaks and return what the legend shows of them."""
    on_ring, drawn = evidence.rings.on_ring, []
    for which, colour, name in (
        (~on_ring, PEAK_COLOUR, "peaks"),
        (on_ring, PEAK_ON_RING_COLOUR, "peaks on rings"),
    ):
        peaks = evidence.peaks.take(which)
        if len(peaks):
            style = {"s": 60, "facecolors": "none", "edgecolors": colour, "linewidths": 0.7}
            drawn += [axes.scatter(peaks.fast, peaks.slow, label=f"{name}: {len(peaks)}", **style)]
    return drawn


def _gray(frame: Frame, factor: int) -> tuple[NDArray[np.uint8], float, float]:
    """Return the picture and the counts that are black and white in it."""
    counts = frame.counts.astype(np.float64)
    measured = counts[frame.valid]
    if not measured.size:
        return np.zeros(_binned_shape(frame.counts.shape, factor), np.uint8), 0.0, 0.0
    low, high = np.percentile(measured, (_DARKEST, _BRIGHTEST))
    if high <= low:
        low, high = float(measured.min()), float(measured.max())
    counts[~frame.valid] = low
    shown = brightest(counts, factor)
    # square root: faint light shows beside strong spots
    scaled = np.sqrt(np.clip((shown - low) / max(high - low, 1e-12), 0, 1))
    return np.rint(255 * scaled).astype(np.uint8), float(low), float(high)


def _binned_shape(shape: tuple[int, ...], factor: int) -> tuple[int, int]:
    return -(-shape[0] // factor), -(-shape[1] // factor)


def _any(where: NDArray[np.bool_], factor: int) -> NDArray[np.bool_]:
    """Return the bins of which at least half are true."""
    rows = np.add.reduceat(where.astype(np.int32), np.arange(0, where.shape[0], factor), axis=0)
    number = np.add.reduceat(rows, np.arange(0, where.shape[1], factor), axis=1)
    return np.asarray(2 * number >= factor * factor)


def _colours(missing: Mapping[str, object]) -> dict[str, str]:
    return {
        reason: REASON_COLOURS[place % len(REASON_COLOURS)] for place, reason in enumerate(missing)
    }
