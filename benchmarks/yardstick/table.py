"""The table of all runs, ours beside the published figures."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from yardstick.labels import LABELS
from yardstick.scores import EVEN, ONE_THRESHOLD


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """What the public label files say of DIALS on all frames of a run.

    Attributes
    ----------
    dials_auc
        Of its number of spots.
    dials_tuned, dials_at_one_threshold
        Balanced accuracy with a threshold chosen for the run, and with `ONE_THRESHOLD`.
    """

    dials_auc: float
    dials_tuned: float
    dials_at_one_threshold: float


PUBLISHED = {
    "L498": Published(dials_auc=0.920, dials_tuned=0.720, dials_at_one_threshold=0.841),
    "LG36": Published(dials_auc=0.991, dials_tuned=0.951, dials_at_one_threshold=0.954),
    "LN84": Published(dials_auc=0.997, dials_tuned=0.904, dials_at_one_threshold=0.964),
    "LN83": Published(dials_auc=0.998, dials_tuned=0.985, dials_at_one_threshold=0.985),
    "LO19": Published(dials_auc=0.997, dials_tuned=0.976, dials_at_one_threshold=0.950),
}


def table(by_run: Mapping[str, Mapping[str, Any]]) -> list[list[str]]:
    """Return the rows of the table, the first one being the heads; a column for each run."""

    def each(name: str, show: Any) -> list[str]:  # noqa: ANN401 - a function of what is there
        return [show(one[name]) if one.get(name) is not None else "-" for one in by_run.values()]

    def mean(name: str) -> str:
        known = [one.get(name) for one in by_run.values()]
        values = [one[0] if isinstance(one, list) else one for one in known if one is not None]
        return f"{np.mean(values):.3f}" if len(values) == len(known) else "-"

    def share(label: str, decision: str) -> list[str]:
        counts = [
            (one["decided"][label][decision], one["frames"][label]) for one in by_run.values()
        ]
        return [f"{count} of {total}" for count, total in counts]

    def line(name: str, values: list[str], last: str = "") -> list[str]:
        return [name, *values, last]

    def percent(value: float) -> str:
        return f"{value:.1%}"

    def accuracy(name: str, key: str) -> list[str]:
        average = mean(key)
        return line(name, each(key, percent), percent(float(average)) if average != "-" else "-")

    def published(name: str, show: Any = percent) -> list[str]:  # noqa: ANN401 - as above
        return [show(getattr(PUBLISHED[run], name)) for run in by_run]

    numbers = [" / ".join(str(one["frames"][label]) for label in LABELS) for one in by_run.values()]
    return [
        ["", *by_run, "mean"],
        line("frames: hit / maybe / miss", numbers),
        line("AUC, DeepFreak", each("auc", _interval), mean("auc")),
        line("AUC, DIALS's number of spots", each("dials_auc", _interval), mean("dials_auc")),
        line("difference", each("auc_over_dials", _signed), mean("auc_over_dials")),
        accuracy("balanced accuracy, unsure is kept", "balanced_unsure_kept"),
        accuracy("balanced accuracy, unsure is discarded", "balanced_unsure_discarded"),
        accuracy(f"balanced accuracy, p_crystal >= {EVEN:g}", "balanced_even"),
        accuracy("DIALS, its threshold for each run", "dials_tuned"),
        accuracy(f"DIALS, {ONE_THRESHOLD} spots", "dials_at_one_threshold"),
        line(
            "DIALS's number of spots, AUC, all frames [1]",
            published("dials_auc", "{:.3f}".format),
        ),
        line("DIALS, its thresholds, all frames [1]", published("dials_tuned")),
        line(f"DIALS, {ONE_THRESHOLD} spots, all frames [1]", published("dials_at_one_threshold")),
        line("Ke et al. (2018), accuracy [2]", ["-"] * len(by_run), "about 93%"),
        line("hits discarded", share("hit", "discard")),
        line("hits unsure", share("hit", "unsure")),
        line("misses kept", share("miss", "keep")),
        line("misses unsure", share("miss", "unsure")),
        line("maybes kept", share("maybe", "keep")),
        line("maybes discarded", share("maybe", "discard")),
        line("frames that could not be read", [str(one["unreadable"]) for one in by_run.values()]),
        line(
            "our peaks and DIALS's spots, rank correlation",
            each("peaks_against_spots", "{:.2f}".format),
        ),
    ]


NOTES = (
    (
        "Labels: an expert's. Maybes are left out of AUC and balanced accuracy. Intervals: 95 %, "
        "DeLong. The mean gives each run the same weight. DIALS without [1]: on the same frames."
    ),
    "[1] From the label files of nksauter/fv5080, all 2,000 frames of each run.",
    (
        "[2] J. Synchrotron Rad. 25, 655-670: a network trained on such frames; the share in the "
        "right one of three classes (hit, maybe, miss), as Souza et al. (2019) cite it. Not the "
        "same measure."
    ),
    "Frames: http://cxidb.org/id-76.html",
)


def _interval(values: Sequence[float]) -> str:
    value, low, high = values
    return f"{value:.3f} [{low:.3f}, {high:.3f}]"


def _signed(values: Sequence[float]) -> str:
    value, low, high = values
    return f"{value:+.3f} [{low:+.3f}, {high:+.3f}]"


def as_text(rows: list[list[str]], *, markdown: bool) -> str:
    """Return a table as aligned text or as Markdown."""
    if markdown:
        lines = ["| " + " | ".join(row) + " |" for row in rows]
        return "\n".join([lines[0], "|" + "---|" * len(rows[0]), *lines[1:]])
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join(
        "  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    )


# The command
