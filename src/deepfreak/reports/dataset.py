"""What a data set holds: classes, splits, the truth's spread, and a contact sheet."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from deepfreak.datasets import Dataset
from deepfreak.reports.figures import Figure, draw_figure
from deepfreak.reports.page import write_page
from deepfreak.reports.palette import CLASS_COLOURS, class_colours
from deepfreak.reports.pictures import picture, white_level

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes

PICTURES_PER_CLASS = 6
BINS = 40
# What is drawn of the truth: quantity, its name, and whether its scale is logarithmic.
SHOWN = (
    ("pulse_photons", "photons of the pulse", True),
    ("bragg_photons", "photons in spots", True),
    ("background_photons", "photons beside the spots", True),
    ("crystal_volume_mm3", "crystal in the beam (mm\u00b3)", True),
    ("spots_5sigma", "spots above 5 sigma", True),
    ("d_min_A", "finest spacing with a spot above 5 sigma (\u00c5)", False),
    ("wavelength_A", "wavelength (\u00c5)", False),
)


def numbers_by_split(data: Dataset) -> list[tuple[str, list[int]]]:
    """Return how many images of each class all of `data` and each split hold: rows for a table."""
    parts = [("all", data), *((name, data.split(name)) for name in data.splits)]
    size = len(data.classes)
    return [(name, np.bincount(part.labels, minlength=size).tolist()) for name, part in parts]


def summary_of_truth(data: Dataset) -> list[tuple[str, NDArray[np.float64]]]:
    """Return the least, middle and largest value of each number of the truth, without None."""
    rows = []
    for name, values in data.truth.items():
        known = values[np.isfinite(values)] if values.ndim == 1 else np.array([])
        if known.size:
            rows.append((name, np.quantile(known, [0, 0.5, 1])))
    return rows


def write_dataset_page(
    path: Path, data: Dataset, *, rng: np.random.Generator, overwrite: bool = False
) -> None:
    """Write a page on `data`; `rng` draws the images of the contact sheet."""
    manifest = data.manifest
    details = [
        ("file", data.path.name),
        ("images", f"{len(data)} of {' x '.join(map(str, data.images.shape[1:]))} pixels"),
        ("seed", str(manifest.get("seed", "unknown"))),
        ("made by", f"deepfreak {manifest.get('versions', {}).get('deepfreak', 'unknown')}"),
        ("on", ", ".join(map(str, manifest.get("processors", []))) or "unknown"),
    ]
    values = {
        "title": f"Data set {data.path.name}",
        "details": details,
        "classes": data.classes,
        "rows": numbers_by_split(data),
        "figures": [
            _histogram(data, name, words, logarithmic)
            for name, words, logarithmic in SHOWN
            if name in data.truth and np.any(np.isfinite(data.truth[name]))
        ],
        "sheets": _contact_sheets(data, rng),
        "galleries": [],
        "colours": class_colours(data.classes),
    }
    write_page(path, "dataset.html", values, overwrite=overwrite)


def _histogram(data: Dataset, name: str, words: str, logarithmic: bool) -> Figure:
    values = data.truth[name]
    shown = np.isfinite(values) & ((values > 0) | (not logarithmic))
    if shown.any():
        low, high = float(values[shown].min()), float(values[shown].max())
    else:
        low, high = 1.0, 10.0
    if low == high:
        low, high = 0.9 * low, 1.1 * high
    edges: Sequence[float] = (
        np.geomspace(low, high, BINS + 1) if logarithmic else np.linspace(low, high, BINS + 1)
    ).tolist()

    def plot(axes: "Axes") -> None:
        chosen = [values[shown & (data.labels == label)] for label in range(len(data.classes))]
        colours = [CLASS_COLOURS[i % len(CLASS_COLOURS)] for i in range(len(data.classes))]
        axes.hist(chosen, edges, stacked=True, color=colours, label=list(data.classes))
        axes.set(xlabel=words, ylabel="images", xscale="log" if logarithmic else "linear")
        axes.legend(fontsize=8)

    left_out = int((~shown).sum())
    caption = f"{left_out} images without any are left out." if left_out else "All images."
    return draw_figure(plot, title=words[0].upper() + words[1:], caption=caption)


def _contact_sheets(data: Dataset, rng: np.random.Generator) -> list[dict[str, Any]]:
    """Return some images of each class, all on one scale of brightness."""
    chosen = []
    for label in range(len(data.classes)):
        of_class = np.flatnonzero(data.labels == label)
        number = min(PICTURES_PER_CLASS, of_class.size)
        chosen.append(np.sort(rng.choice(of_class, number, replace=False)).tolist())
    images = {index: np.asarray(data.images[index]) for group in chosen for index in group}
    white = white_level(list(images.values()))
    return [
        {"name": name, "pictures": [(i, picture(images[i], None, white=white)) for i in group]}
        for name, group in zip(data.classes, chosen, strict=True)
        if group
    ]
