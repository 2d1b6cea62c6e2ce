"""Plots as SVG inside a page: their text and axes take the page's own colour, light or dark."""

import io
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from deepfreak.models.evaluation import Evaluation, Proportion
from deepfreak.reports.palette import CRYSTAL_COLOUR, NO_CRYSTAL_COLOUR

if TYPE_CHECKING:
    from collections.abc import Callable

    from matplotlib.axes import Axes

# Stands for the page's text colour while matplotlib draws; nothing else is of this colour.
INK = "#010203"


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """A plot with a title and a sentence on how to read it; `svg` is markup that is not escaped."""

    title: str
    caption: str
    svg: str


def draw_figure(
    plot: "Callable[[Axes], None]",
    *,
    title: str,
    caption: str,
    size_inch: tuple[float, float] = (5.2, 3.4),
) -> Figure:
    """Return what `plot` draws on the axes that it is given.

    Draw lines that should follow the page's colour in `INK`; labels and axes do so anyway.
    """
    import matplotlib as mpl
    from matplotlib.figure import Figure as Canvas

    style: Any = {
        "svg.fonttype": "none",
        "svg.hashsalt": title,
        "font.family": "sans-serif",
        "font.size": 10,
        "text.color": INK,
        "axes.edgecolor": INK,
        "axes.labelcolor": INK,
        "axes.facecolor": "none",
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.linewidth": 0.7,
        "xtick.color": INK,
        "ytick.color": INK,
        "legend.frameon": False,
    }
    buffer = io.StringIO()
    with mpl.rc_context(style):
        canvas = Canvas(figsize=size_inch, layout="constrained")
        plot(canvas.add_subplot())
        canvas.savefig(
            buffer,
            format="svg",
            transparent=True,
            metadata=dict.fromkeys(("Date", "Creator", "Format", "Type")),
        )
    return Figure(title=title, caption=caption, svg=_inline(buffer.getvalue()))


def _inline(document: str) -> str:
    """Return the svg element of a document, fit to stand in a page several times."""
    svg = document[document.index("<svg") :]
    svg = svg.replace(INK, "currentColor")
    # Two plots would have the same ids for their parts, which nothing refers to.
    svg = re.sub(r' id="[A-Za-z0-9]+_\d+"', "", svg)
    return re.sub(r' (?:width|height)="[\d.]+pt"', "", svg, count=2)


def p_crystal_figure(evaluation: Evaluation) -> Figure:
    """Return how the probability of a crystal is spread over images with and without one."""
    holds = evaluation.crystal[evaluation.truth]
    edges = np.linspace(0, 1, 41).tolist()

    def plot(axes: "Axes") -> None:
        for chosen, label, colour in (
            (~holds, "no crystal in the shot", NO_CRYSTAL_COLOUR),
            (holds, "crystal in the shot", CRYSTAL_COLOUR),
        ):
            axes.hist(evaluation.p_crystal[chosen], edges, label=label, color=colour, alpha=0.75)
        axes.set(xlabel="probability of a crystal", ylabel="images", xlim=(0, 1), yscale="symlog")
        axes.set_ylim(bottom=0)
        axes.yaxis.set_major_formatter("{x:g}")
        axes.legend()

    return draw_figure(
        plot,
        title="Does the shot hold a crystal?",
        caption="The two colours should keep to either end. Counts are on a logarithmic scale.",
    )


def reliability_figure(evaluation: Evaluation) -> Figure:
    """Return how often images hold a crystal, by the probability that they were given."""
    holds = evaluation.crystal[evaluation.truth]
    place = np.minimum((evaluation.p_crystal * 10).astype(int), 9)
    said, found, below, above = [], [], [], []
    for tenth in range(10):
        chosen = place == tenth
        if chosen.any():
            observed = Proportion(int(holds[chosen].sum()), int(chosen.sum()))
            said.append(float(evaluation.p_crystal[chosen].mean()))
            found.append(observed.value)
            below.append(observed.value - observed.interval[0])
            above.append(observed.interval[1] - observed.value)

    def plot(axes: "Axes") -> None:
        axes.plot([0, 1], [0, 1], color=INK, linewidth=0.7, linestyle=":")
        # Rounding may leave an interval's end a hair on the wrong side of its value.
        bars = np.maximum([below, above], 0)
        axes.errorbar(said, found, yerr=bars, fmt="o", color=CRYSTAL_COLOUR, capsize=3)
        axes.set(
            xlabel="probability given",
            ylabel="part that holds a crystal",
            xlim=(-0.03, 1.03),
            ylim=(-0.03, 1.03),
        )

    return draw_figure(
        plot,
        title="Can the probability be believed?",
        caption="Dots on the dotted line mean yes; bars are 95 % intervals. "
        "Above the line the model was too cautious, below it too sure.",
    )
