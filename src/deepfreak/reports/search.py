"""The page of a search: the best configurations, how it got there, and what mattered."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from deepfreak.models.evaluation import Proportion, format_percent
from deepfreak.reports.figures import INK, Figure, draw_figure
from deepfreak.reports.page import write_page
from deepfreak.reports.palette import CLASS_COLOURS

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# The paper's validation accuracies in per cent (Tables 3 and 4).
PAPER = {"glcm": "98.58", "lbp": "96.71", "sift": "56.42", "forest": "98.58", "svm": "97.88"}
_COLOURS = {"glcm": CLASS_COLOURS[3], "lbp": CLASS_COLOURS[1], "sift": CLASS_COLOURS[4]}
_MARKS = {"forest": "o", "svm": "s"}
_LISTED = 15

Json = Mapping[str, Any]


def write_search_page(path: Path, results: Json, *, overwrite: bool = False) -> None:
    """Write a page on the `results` of a search, as `results.json` has them."""
    seconds, counts, trials = results["seconds"], results["counts"], results["trials"]
    train, validation = (results["purpose"][split] for split in ("train", "validation"))
    real = train["classes"] != validation["classes"]
    succeeded = sorted(
        (trial for trial in trials if trial["accuracy"]),
        key=lambda trial: (-trial["accuracy"]["value"], trial["number"]),
    )
    limits = sorted({f"{session['trial_seconds']:g} s" for session in results["sessions"]})
    values = {
        "title": "Search: extractor and classifier together",
        "details": [
            ("best accuracy (%)", _accuracy(results["best"])),
            ("trials", f"{counts['done']} of {results['points_in_space']:,} points"),
            ("timed out", f"{counts['timed out']} ({', '.join(limits)})"),
            ("failed", str(counts["failed"])),
            ("time, extraction", minutes(seconds["extraction"])),
            ("time, search", minutes(seconds["search"])),
            ("trained on", f"{train['name']}, {train['count']} images"),
            ("chosen on", f"{validation['name']}, {validation['count']} images"),
            ("seed", str(results["seed"])),
        ],
        "summary": (f"Best: {results['best']['description']}",),
        "tables": [
            _best_table("extractor", results["best_by_extractor"], real=real),
            _best_table("classifier", results["best_by_classifier"], real=real),
            _table(
                "Best trials",
                ("trial", "accuracy (%)", "settings", "features (s)", "fit (s)", "evaluate (s)"),
                [_row(trial) for trial in succeeded[:_LISTED]],
            ),
            _table(
                "Trials without a result",
                ("trial", "settings", "why"),
                [
                    (trial["number"], trial["description"], trial["reason"])
                    for trial in trials
                    if not trial["accuracy"]
                ],
            ),
        ],
        "figures": [
            _history_figure(trials),
            *([_importance_figure(results["importance"])] if results["importance"] else []),
            _time_figure(succeeded),
        ],
        "galleries": [],
    }
    write_page(path, "record.html", values, overwrite=overwrite)


def minutes(seconds: float) -> str:
    """Return a time as `42 s` or `12.3 min`."""
    return f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.1f} min"


def _accuracy(trial: Json) -> str:
    return format_percent(Proportion(trial["accuracy"]["hits"], trial["accuracy"]["total"]))


def _table(title: str, columns: Sequence[str], rows: Sequence[Any], *remarks: str) -> Json:
    return {"title": title, "columns": columns, "rows": rows, "remarks": remarks}


def _best_table(choice: str, best: Mapping[str, Json], *, real: bool) -> Json:
    """Return the best trial for each value of a parameter, and the paper's for synthetic images."""
    rows = sorted(best.items(), key=lambda item: -item[1]["accuracy"]["value"])
    return _table(
        f"Best by {choice}",
        (choice, "accuracy (%)", "paper (%)", "settings", "trial"),
        [
            (
                name,
                _accuracy(trial),
                "-" if real else PAPER[name],
                trial["description"],
                trial["number"],
            )
            for name, trial in rows
        ],
        "In brackets: 95 % intervals (Wilson). The best of many was chosen on these same images: "
        "on others it is a little worse.",
    )


def _row(trial: Json) -> tuple[str, ...]:
    seconds = trial["seconds"]
    return (
        str(trial["number"]),
        _accuracy(trial),
        trial["description"],
        f"{seconds['features']:.1f}",
        f"{seconds['fit']:.1f}",
        f"{seconds['evaluate']:.1f}",
    )


def _history_figure(trials: list[Json]) -> Figure:
    """Return the accuracies in the order of the trials, and the best so far."""
    values = np.array(
        [100 * trial["accuracy"]["value"] if trial["accuracy"] else -1.0 for trial in trials]
    )
    so_far = np.maximum.accumulate(values)
    numbers = np.array([trial["number"] for trial in trials])

    def plot(axes: "Axes") -> None:
        # equal steps for halves of the error, where the good ones differ
        axes.set_yscale(
            "function", functions=(lambda x: -_log2_error(x), lambda y: 100.5 - 2.0 ** (-y))
        )
        for extractor, colour in _COLOURS.items():
            for classifier, mark in _MARKS.items():
                pair = {"extractor": extractor, "classifier": classifier}
                chosen = (values >= 0) & [
                    pair.items() <= each["settings"].items() for each in trials
                ]
                if chosen.any():
                    axes.scatter(
                        numbers[chosen],
                        values[chosen],
                        color=colour,
                        marker=mark,
                        s=16,
                        alpha=0.8,
                        label=f"{extractor} + {classifier}",
                    )
        shown = so_far >= 0
        axes.step(numbers[shown], so_far[shown], where="post", color=INK, linewidth=1)
        low = values[values >= 0].min()
        failed = numbers[values < 0]
        if failed.size:
            axes.scatter(
                failed,
                np.full(failed.size, low),
                color=CLASS_COLOURS[0],
                marker="x",
                s=20,
                label="no result",
            )
        ticks = [tick for tick in (0, 20, 40, 60, 80, 90, 95, 98, 99, 100) if tick >= low - 5]
        axes.set_yticks(ticks, [f"{tick}" for tick in ticks])
        axes.minorticks_off()
        axes.set(xlabel="trial", ylabel="validation accuracy (%)")
        axes.legend(fontsize=8)

    return draw_figure(
        plot,
        title="How the search went",
        caption="Line: the best so far. Equal steps of the scale halve the error.",
    )


def _log2_error(per_cent: Any) -> Any:  # noqa: ANN401 -- matplotlib's: numbers or arrays
    """Return the binary logarithm of the error in per cent, which counts as 0.5 at least."""
    return np.log2(np.maximum(100.5 - np.asarray(per_cent, float), 0.5))


def _importance_figure(importance: Mapping[str, float]) -> Figure:
    names = list(importance)[::-1]

    def plot(axes: "Axes") -> None:
        shares = [100 * importance[name] for name in names]
        axes.barh(names, shares, color=CLASS_COLOURS[1])
        axes.set(xlabel="share of the importance (%)")

    return draw_figure(
        plot,
        title="What mattered",
        caption="How much each setting distinguishes the best tenth of the trials that have it "
        "from the others (PED-ANOVA): a tendency, less certain with fewer trials.",
    )


def _time_figure(succeeded: list[Json]) -> Figure:
    def plot(axes: "Axes") -> None:
        for classifier, mark in _MARKS.items():
            chosen = [
                (max(trial["seconds"]["total"], 0.01), 100 * trial["accuracy"]["value"])
                for trial in succeeded
                if trial["settings"]["classifier"] == classifier
            ]
            if chosen:
                spent, reached = zip(*chosen, strict=True)
                axes.scatter(
                    spent,
                    reached,
                    marker=mark,
                    s=16,
                    color=CLASS_COLOURS[2 if classifier == "forest" else 5],
                    label=classifier,
                )
        axes.set(xscale="log", xlabel="seconds for the trial", ylabel="validation accuracy (%)")
        axes.legend(fontsize=8)

    total = math.fsum(trial["seconds"]["total"] for trial in succeeded)
    return draw_figure(
        plot,
        title="What it cost",
        caption=f"All successful trials took the workers {minutes(total)}, without the features.",
    )
