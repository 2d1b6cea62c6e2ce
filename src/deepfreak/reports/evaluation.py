"""The page of an evaluation: the confusion, plots, and pictures of right and wrong verdicts."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from deepfreak.features import Images
from deepfreak.models.evaluation import Evaluation, format_percent
from deepfreak.models.importance import Importance, Importances
from deepfreak.reports.figures import INK, Figure, draw_figure, p_crystal_figure, reliability_figure
from deepfreak.reports.page import write_page
from deepfreak.reports.palette import BAR_COLOUR, class_colours
from deepfreak.reports.verdicts import MAX_PICTURES, GalleryItem, gallery

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Three pictures of each of the five classes leave most of the page to what went wrong.
RIGHT_PER_CLASS = 3
# Bars of single features; the others are in the summary.
MAX_BARS = 20


def write_evaluation_page(
    path: Path,
    evaluation: Evaluation,
    *,
    images: Images,
    valid: Images | None = None,
    title: str = "Evaluation",
    details: Sequence[tuple[str, str]] = (),
    importances: Importances | None = None,
    overwrite: bool = False,
    max_pictures: int = MAX_PICTURES,
) -> None:
    """Write a page on `evaluation`; its `images` are read again where a picture is shown.

    So are their `valid` pixels, unless all are.
    The wrong verdicts come first, the surest ones at the front, then a few right ones of each
    class; what does not fit into `max_pictures` is counted. With `importances` there are bars of
    what the verdicts rest on.
    """
    right, wrong = _choose(evaluation, max_pictures)
    wrong_total = evaluation.truth.size - evaluation.accuracy.hits
    shown_wrong, shown_right = (
        [_show(evaluation, images, valid, index) for index in chosen] for chosen in (wrong, right)
    )
    figures = [p_crystal_figure(evaluation), reliability_figure(evaluation)]
    if importances is not None:
        figures += importance_figures(importances)
    grouped = (("grouped from", ", ".join(evaluation.grouped_from)),)
    values = {
        "title": title,
        "details": [
            ("model", evaluation.model),
            ("data", Path(evaluation.data).name),
            ("images", str(evaluation.truth.size)),
            ("accuracy (%)", format_percent(evaluation.accuracy)),
            ("crystal or none (%)", format_percent(evaluation.crystal_accuracy)),
            ("time per image", f"{1000 * evaluation.seconds_per_image:.1f} ms"),
            *(grouped if evaluation.grouped_from else ()),
            *details,
        ],
        "classes": evaluation.classes,
        "rows": _rows(evaluation),
        "precision": [format_percent(each) for each in evaluation.precision],
        "figures": figures,
        "galleries": [
            gallery("Wrong verdicts", shown_wrong, left_out=wrong_total - len(wrong)),
            gallery("Right verdicts", shown_right, left_out=evaluation.accuracy.hits - len(right)),
        ],
        "colours": class_colours(evaluation.classes),
    }
    write_page(path, "evaluation.html", values, overwrite=overwrite)


def importance_figures(importances: Importances) -> list[Figure]:
    """Return the accuracy lost without each kind of features, and without single ones."""
    about = (
        f"Accuracy lost on {importances.images} images (of {100 * importances.accuracy:.2f} %) "
        "when {what} between images, and its standard deviation over the shufflings."
    )
    figures = []
    if importances.kinds:
        figures.append(
            _bars(
                importances.kinds,
                title="Which kinds of features do the verdicts rest on?",
                caption=about.format(what="all features of a kind are shuffled together"),
            )
        )
    shown = importances.features[:MAX_BARS]
    left_out = len(importances.features) - len(shown)
    figures.append(
        _bars(
            shown,
            title="Which single features?",
            caption=about.format(what="one feature is shuffled")
            + " Features that tell the same stand in for one another."
            + (f" {left_out} less important ones are left out." if left_out else ""),
        )
    )
    return figures


def _bars(importances: Sequence[Importance], *, title: str, caption: str) -> Figure:
    names = [
        f"{each.name} ({each.features})" if each.features > 1 else each.name for each in importances
    ]

    def plot(axes: "Axes") -> None:
        axes.barh(
            range(len(names)),
            [100 * each.mean for each in importances],
            xerr=[100 * each.spread for each in importances],
            color=BAR_COLOUR,
            ecolor=INK,
            error_kw={"elinewidth": 0.8},
        )
        axes.set_yticks(range(len(names)), names, fontsize=8)
        axes.invert_yaxis()
        axes.set_xlabel("accuracy lost (points)")

    height = 1.0 + 0.2 * len(names)
    return draw_figure(plot, title=title, caption=caption, size_inch=(5.2, height))


def _choose(evaluation: Evaluation, max_pictures: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return the indices of right and of wrong verdicts to show, together at most `max_pictures`.

    Of the right ones the least sure, the middling and the surest of each class are taken.
    """
    correct = evaluation.predictions == evaluation.truth
    surest = np.argsort(-evaluation.probabilities.max(axis=1), kind="stable")
    right = np.array([], np.intp)
    for label in range(len(evaluation.classes)):
        of_class = surest[correct[surest] & (evaluation.truth[surest] == label)]
        places = np.linspace(0, of_class.size - 1, min(RIGHT_PER_CLASS, of_class.size))
        right = np.append(right, of_class[places.astype(int)])
    right = right[:max_pictures]
    wrong = surest[~correct[surest]][: max_pictures - right.size]
    return right, wrong


def _show(evaluation: Evaluation, images: Images, valid: Images | None, index: int) -> GalleryItem:
    truth = evaluation.classes[evaluation.truth[index]]
    probabilities = evaluation.probabilities[index].tolist()
    return GalleryItem(
        image=np.asarray(images[int(index)]),
        valid=None if valid is None else np.asarray(valid[int(index)], np.bool_),
        caption=f"image {index}",
        label=evaluation.classes[evaluation.predictions[index]],
        truth=truth,
        probabilities=dict(zip(evaluation.classes, probabilities, strict=True)),
    )


def _rows(evaluation: Evaluation) -> list[dict[str, object]]:
    """Return the lines of the confusion matrix with each cell's part of its line."""
    return [
        {
            "name": name,
            "recall": format_percent(recall),
            "cells": [
                {"count": int(count), "part": count / recall.total if recall.total else 0.0}
                for count in counts
            ],
        }
        for name, counts, recall in zip(
            evaluation.classes, evaluation.confusion, evaluation.recall, strict=True
        )
    ]
