"""The page of an evaluation: the confusion, two plots, and pictures of right and wrong verdicts."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from deepfreak.evaluation import Evaluation, format_percent
from deepfreak.features import Images
from deepfreak.report.figures import p_crystal_figure, reliability_figure
from deepfreak.report.page import class_colours, write_page
from deepfreak.report.verdicts import MAX_PICTURES, ShownVerdict, gallery

# Three pictures of each of the five classes leave most of the page to what went wrong.
RIGHT_PER_CLASS = 3


def write_evaluation_page(
    path: Path,
    evaluation: Evaluation,
    *,
    images: Images,
    title: str = "Evaluation",
    facts: Sequence[tuple[str, str]] = (),
    overwrite: bool = False,
    max_pictures: int = MAX_PICTURES,
) -> None:
    """Write a page on `evaluation`, whose `images` are read again where a picture is shown.

    The wrong verdicts come first, the surest ones at the front, then a few right ones of each
    class; what does not fit into `max_pictures` is counted.

    Raises
    ------
    OutputError
        The file exists and `overwrite` is false, or it cannot be written.
    """
    right, wrong = _choose(evaluation, max_pictures)
    wrong_total = evaluation.truth.size - evaluation.accuracy.hits
    shown_wrong, shown_right = (
        [_show(evaluation, images, index) for index in chosen] for chosen in (wrong, right)
    )
    values = {
        "title": title,
        "facts": [
            ("model", evaluation.model),
            ("data", Path(evaluation.data).name),
            ("images", str(evaluation.truth.size)),
            ("accuracy (%)", format_percent(evaluation.accuracy)),
            ("crystal or none (%)", format_percent(evaluation.crystal_accuracy)),
            ("time per image", f"{1000 * evaluation.seconds_per_image:.1f} ms"),
            *facts,
        ],
        "classes": evaluation.classes,
        "rows": _rows(evaluation),
        "precision": [format_percent(each) for each in evaluation.precision],
        "figures": [p_crystal_figure(evaluation), reliability_figure(evaluation)],
        "galleries": [
            gallery("Wrong verdicts", shown_wrong, left_out=wrong_total - len(wrong)),
            gallery(
                "Right verdicts",
                shown_right,
                left_out=evaluation.accuracy.hits - len(right),
            ),
        ],
        "colours": class_colours(evaluation.classes),
    }
    write_page(path, "evaluation.html", values, overwrite=overwrite)


def _choose(evaluation: Evaluation, max_pictures: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return the indices of right and of wrong verdicts to show, together at most `max_pictures`.

    Of the right ones the least sure, the middling and the surest of each class are taken.
    """
    correct = evaluation.verdicts == evaluation.truth
    surest = np.argsort(-evaluation.probabilities.max(axis=1), kind="stable")
    right = np.array([], np.intp)
    for label in range(len(evaluation.classes)):
        of_class = surest[correct[surest] & (evaluation.truth[surest] == label)]
        places = np.linspace(0, of_class.size - 1, min(RIGHT_PER_CLASS, of_class.size))
        right = np.append(right, of_class[places.astype(int)])
    right = right[:max_pictures]
    wrong = surest[~correct[surest]][: max_pictures - right.size]
    return right, wrong


def _show(evaluation: Evaluation, images: Images, index: int) -> ShownVerdict:
    truth = evaluation.classes[evaluation.truth[index]]
    probabilities = evaluation.probabilities[index].tolist()
    return ShownVerdict(
        image=np.asarray(images[int(index)]),
        caption=f"image {index}",
        label=evaluation.classes[evaluation.verdicts[index]],
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
