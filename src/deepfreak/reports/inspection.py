"""How a detector frame was read, for the user to check: as values, as text and as a picture."""

from itertools import cycle
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
from deepfreak.text import printable, spelled


def describe(frame: Frame, frames: int, evidence: Evidence | None = None) -> dict[str, Any]:
    """Return how `frame`, one of `frames` in its file, was read, as JSON values.

    These are `file` (as `os.fsdecode` has it), `frame`, `frames`; `shape` [slow, fast] and `dtype`
    of the counts; `valid`, the number of pixels that measured something; `missing`, the number of
    others by reason, if the frame was read with `reasons`; `saturated`, the number of valid pixels
    at `saturation` or above; `gain` (counts for each photon), `pedestal` and `saturation` (counts),
    `beam_center_px` (slow, fast), `pixel_size_mm`, `distance_mm`, `wavelength_A`, `detector`;
    `from`, where each value was found; `notes`; `evidence` (`describe_evidence`). What is unknown
    is None.
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

    These are `peaks`, their number with z of 5, 7 and 10 by these words; `peaks_off_rings`, the
    same; `hot_pixels` and `crests`, what was left out; `ring_share`, `ring_center_px` (slow, fast),
    `ring_center_origin` ("given", "found", "unknown"), `rings`, how many; `texture`;
    `lattice_score` and `lattices`; `d_min_A`; `photon`, counts of one photon, and `photon_origin`
    ("header", "estimated"); `noise`, counts. What is unknown is None.
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


_MAX_PICTURE_SIDE = 2048  # pixels
_DARKEST, _BRIGHTEST = 1.0, 99.7  # percentiles of the measured pixels


def draw(frame: Frame, evidence: Evidence, path: Path, *, overwrite: bool = False) -> None:
    """Write a PNG of `frame` at its own contrast, missing pixels in colour, the beam marked.

    Peaks are circled, those on rings in another colour. The brightest pixel of each bin is shown
    where the frame is larger than the picture, so that spots of one pixel stay visible.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.patches import Patch

    factor = -(-max(frame.counts.shape) // _MAX_PICTURE_SIDE)
    gray, low, high = _gray(frame, factor)
    picture = np.repeat(gray[..., None], 3, axis=2)
    colours = dict(zip(frame.missing, cycle(REASON_COLOURS), strict=False))
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
        binned = [-(-length // factor) for length in frame.counts.shape]
        return np.zeros(binned, np.uint8), 0.0, 0.0
    low, high = np.percentile(measured, (_DARKEST, _BRIGHTEST))
    if high <= low:
        low, high = float(measured.min()), float(measured.max())
    counts[~frame.valid] = low
    shown = brightest(counts, factor)
    # square root: faint light shows beside strong spots
    scaled = np.sqrt(np.clip((shown - low) / max(high - low, 1e-12), 0, 1))
    return np.rint(255 * scaled).astype(np.uint8), float(low), float(high)


def _any(where: NDArray[np.bool_], factor: int) -> NDArray[np.bool_]:
    """Return the bins of which at least half are true."""
    rows = np.add.reduceat(where.astype(np.int32), np.arange(0, where.shape[0], factor), axis=0)
    number = np.add.reduceat(rows, np.arange(0, where.shape[1], factor), axis=1)
    return np.asarray(2 * number >= factor * factor)


def inspection_text(record: dict[str, Any]) -> str:
    """Return a record as lines of names, values and where they were found."""
    lines = [spelled(str(record["file"]))]
    if "error" in record:
        return f"{lines[0]}\n  cannot be read: {printable(record['error'])}\n"
    shape, origins = record["shape"], record["from"]
    pixels = shape[0] * shape[1]
    lines += [
        f"  frame        {record['frame']} of {record['frames']}",
        f"  size         {shape[0]} x {shape[1]} (slow x fast), {record['dtype']}",
        f"  measured     {record['valid']} of {pixels} pixels ({record['valid'] / pixels:.1%})",
    ]
    lines += [f"    missing    {count}: {reason}" for reason, count in record["missing"].items()]
    if record["saturated"] is not None:
        lines.append(f"  saturated    {record['saturated']} pixels")
    units = {
        "detector": ("detector", ""),
        "gain": ("gain", "counts per photon"),
        "pedestal": ("pedestal", "counts"),
        "saturation": ("saturation", "counts"),
        "beam_center_px": ("beam", "pixels (slow, fast)"),
        "pixel_size_mm": ("pixel size", "mm"),
        "distance_mm": ("distance", "mm"),
        "wavelength_A": ("wavelength", "A"),
    }
    for key, (name, unit) in units.items():
        value = record[key]
        text = "unknown" if value is None else f"{_shown(value)} {unit}".rstrip()
        origin = f"  [{origins[key]}]" if key in origins else ""
        lines.append(printable(f"  {name:<12} {text}{origin}"))
    lines += _evidence(record["evidence"])
    lines += [printable(f"  note         {note}") for note in record["notes"]]
    return "\n".join(lines) + "\n"


def _evidence(found: dict[str, Any]) -> list[str]:
    """Return what the frame shows as lines of the table."""
    peaks, off = found["peaks"], found["peaks_off_rings"]
    center = "unknown"
    if found["ring_center_px"] is not None:
        center = f"{_shown(found['ring_center_px'])} [{found['ring_center_origin']}]"
    number, d_min = found["lattices"], found["d_min_A"]
    lattices = "" if number is None else f" ({number})"
    return [
        f"  peaks        {peaks['5']} (z > 7: {peaks['7']}, z > 10: {peaks['10']})",
        f"    left out   single pixels: {found['hot_pixels']}, lines: {found['crests']}",
        f"  off rings    {off['5']} (z > 7: {off['7']}, z > 10: {off['10']})",
        f"  on rings     {found['ring_share']:.0%} of the peaks; rings: {found['rings']}",
        f"  centre       {center}",
        f"  lattice      {found['lattice_score']:.1f} sigma{lattices}",
        f"  d_min        {'unknown' if d_min is None else f'{d_min:.2f} A'}",
        f"  photon       {found['photon']:.3g} counts [{found['photon_origin']}]",
        f"  noise        {found['noise']:.3g} counts",
    ]


def _shown(value: object) -> str:
    if isinstance(value, list):
        return ", ".join(f"{number:.2f}" for number in value)
    return f"{value:.6g}" if isinstance(value, float) else str(value)
