"""What was understood of a detector frame, so that nobody has to trust the reader."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deepfreak.evidence import Evidence
from deepfreak.formats.frame import Frame
from deepfreak.formats.measured import counted

FACTS = ("gain", "pedestal", "saturation", "beam_center_px", "distance_mm", "wavelength_A")
_MAX_PICTURE_SIDE = 2048  # pixels
_COLOURS = ("#d95f02", "#1f78b4", "#7570b3", "#e7298a", "#66a61e", "#a6761d", "#666666", "#1b9e77")
_PEAK_COLOUR, _RING_COLOUR = "#00e5ff", "#ffd54f"
_DARKEST, _BRIGHTEST = 1.0, 99.7  # percentiles of the measured pixels


def describe(frame: Frame, frames: int, evidence: Evidence | None = None) -> dict[str, Any]:
    """Return what was understood of `frame`, one of `frames` in its file, as JSON has it.

    Read the frame with `reasons`, or `missing` is empty.

    Returns
    -------
    dict
        `file` (as `os.fsdecode` has it), `frame`, `frames`; `shape` [slow, fast] and `dtype` of
        the counts; `valid`, the number of pixels that measured something; `missing`, the number of
        others by reason;
        `saturated`, the number of valid pixels at `saturation` or above; `gain` (counts for each
        photon), `pedestal` and `saturation` (counts), `beam_center_px` (slow, fast),
        `pixel_size_mm`, `distance_mm`, `wavelength_A`, `detector`; `from`, where each fact was
        found; `notes`; `evidence` (`describe_evidence`). What is unknown is None.
    """
    saturated = None
    if frame.saturation is not None:
        saturated = int(np.count_nonzero((frame.counts >= frame.saturation) & frame.valid))
    pedestal = frame.pedestal if "pedestal" in frame.origins else None
    center = frame.beam_center_px
    return {
        "file": frame.file,
        "frame": frame.index,
        "frames": frames,
        "shape": list(frame.counts.shape),
        "dtype": str(frame.counts.dtype),
        "valid": int(np.count_nonzero(frame.valid)),
        "missing": counted(frame.missing),
        "saturated": saturated,
        "gain": frame.gain,
        "pedestal": pedestal,
        "saturation": frame.saturation,
        "beam_center_px": None if center is None else [float(center[0]), float(center[1])],
        "pixel_size_mm": frame.pixel_size_mm,
        "distance_mm": frame.distance_mm,
        "wavelength_A": frame.wavelength_A,
        "detector": frame.detector,
        "from": dict(frame.origins),
        "notes": list(frame.notes),
        "evidence": None if evidence is None else describe_evidence(evidence),
    }


def describe_evidence(evidence: Evidence) -> dict[str, Any]:
    """Return what a crystallographer can check of the evidence, as JSON has it.

    Returns
    -------
    dict
        `peaks`, their number with z of 5, 7 and 10 by these words; `peaks_off_rings`, the same;
        `hot_pixels` and `crests`, what was left out; `ring_share`, `ring_center_px` (slow, fast),
        `ring_center_origin` ("given", "found", "unknown"), `rings`, how many; `texture`;
        `lattice_score` and `lattices`; `d_min_A`; `photon`, counts of one photon, and
        `photon_origin` ("header", "estimated"); `noise`, counts. What cannot be told is None.
    """
    rings, lattices = evidence.rings, evidence.lattices
    center = rings.center_px
    return {
        "peaks": _over(evidence.peaks.z),
        "peaks_off_rings": _over(evidence.off_rings.z),
        "hot_pixels": evidence.hot_pixels,
        "crests": evidence.crests,
        "ring_share": round(rings.share, 4),
        "ring_center_px": None if center is None else [round(float(x), 2) for x in center],
        "ring_center_origin": rings.origin,
        "rings": len(rings.radii_px),
        "texture": round(rings.texture, 4),
        "lattice_score": round(lattices.score, 2),
        "lattices": lattices.number,
        "d_min_A": None if evidence.d_min_A is None else round(evidence.d_min_A, 3),
        "photon": evidence.photon,
        "photon_origin": "header" if evidence.photon_known else "estimated",
        "noise": evidence.noise,
    }


def _over(z: NDArray[np.float64]) -> dict[str, int]:
    return {str(least): int(np.count_nonzero(z >= least)) for least in (5, 7, 10)}


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

    from deepfreak.storage.files import whole_file

    factor = -(-max(frame.counts.shape) // _MAX_PICTURE_SIDE)
    gray, low, high = _gray(frame, factor)
    picture = np.repeat(gray[..., None], 3, axis=2)
    colours = _colours(frame.missing)
    for reason, where in frame.missing.items():
        picture[_any(where, factor)] = _rgb(colours[reason])
    slow, fast = frame.counts.shape
    figure = Figure(figsize=(9, 9 * slow / fast + 1.2), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    axes.imshow(picture, extent=(0, fast, slow, 0), interpolation="nearest")
    if frame.beam_center_px is not None:
        beam_slow, beam_fast = frame.beam_center_px
        axes.plot(beam_fast, beam_slow, "+", color="#e31a1c", markersize=14, markeredgewidth=2)
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
        (~on_ring, _PEAK_COLOUR, "peaks"),
        (on_ring, _RING_COLOUR, "peaks on rings"),
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
    shown = _brightest(counts, factor)
    # square root: faint light shows beside strong spots
    scaled = np.sqrt(np.clip((shown - low) / max(high - low, 1e-12), 0, 1))
    return np.rint(255 * scaled).astype(np.uint8), float(low), float(high)


def _binned_shape(shape: tuple[int, ...], factor: int) -> tuple[int, int]:
    return -(-shape[0] // factor), -(-shape[1] // factor)


def _brightest(values: NDArray[np.float64], factor: int) -> NDArray[np.float64]:
    """Return the largest value of each bin."""
    rows = np.maximum.reduceat(values, np.arange(0, values.shape[0], factor), axis=0)
    largest: NDArray[np.float64] = np.maximum.reduceat(
        rows, np.arange(0, values.shape[1], factor), axis=1
    )
    return largest


def _any(where: NDArray[np.bool_], factor: int) -> NDArray[np.bool_]:
    """Return the bins of which at least half are true."""
    rows = np.add.reduceat(where.astype(np.int32), np.arange(0, where.shape[0], factor), axis=0)
    number = np.add.reduceat(rows, np.arange(0, where.shape[1], factor), axis=1)
    return np.asarray(2 * number >= factor * factor)


def _colours(missing: Mapping[str, object]) -> dict[str, str]:
    return {reason: _COLOURS[place % len(_COLOURS)] for place, reason in enumerate(missing)}


def _rgb(colour: str) -> tuple[int, int, int]:
    red, green, blue = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return red, green, blue
