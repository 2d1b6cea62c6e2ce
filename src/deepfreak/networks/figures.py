"""Pages and plots of networks: learning curves, and the search for a configuration."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from deepfreak.models.evaluation import Proportion, format_percent
from deepfreak.networks.architecture import TOPOLOGIES
from deepfreak.networks.configuration import (
    CONFIGURATION_A,
    CONFIGURATION_B,
    CONFIGURATION_C,
    FOR_PREPROCESSED_IMAGES,
    FOR_RAW_IMAGES,
    Configuration,
)
from deepfreak.networks.state import Epoch
from deepfreak.reports.figures import INK, Figure, draw_figure
from deepfreak.reports.page import write_page
from deepfreak.reports.palette import CLASS_COLOURS

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Json = Mapping[str, Any]

PAPER_SYNTHETIC = {
    "Table 11, A": CONFIGURATION_A,
    "Table 11, B": CONFIGURATION_B,
    "Table 11, C": CONFIGURATION_C,
}
PAPER_REAL = {"Table 15, raw": FOR_RAW_IMAGES, "Table 17, preprocessed": FOR_PREPROCESSED_IMAGES}
SETTINGS = ("topology", "learning rate", "momentum", "weight decay", "batch size")


def settings_row(configuration: Configuration) -> tuple[str, ...]:
    """Return the `SETTINGS` of a configuration as the paper's Table 11 has them."""
    training = configuration.training
    return (
        _topology_name(configuration),
        f"{training.learning_rate:.4e}",
        f"{training.momentum:.5f}",
        f"{training.weight_decay:.4e}",
        str(training.batch),
    )


def chosen_row(chosen: Json) -> tuple[str, ...]:
    """Return the `SETTINGS` of a trial of a search."""
    return (
        str(chosen["topology"]),
        f"{chosen['learning_rate']:.4e}",
        f"{chosen['momentum']:.5f}",
        f"{chosen['weight_decay']:.4e}",
        str(chosen["batch_size"]),
    )


def _topology_name(configuration: Configuration) -> str:
    """Return the number of a topology in Table 9."""
    topology = configuration.topology
    if topology in TOPOLOGIES:
        return str(TOPOLOGIES.index(topology))
    return f"{topology.filters} filters, strides {topology.block_strides}"


def write_training_page(
    path: Path, *, title: str, facts: Sequence[tuple[str, str]], history: Sequence[Epoch]
) -> None:
    """Write a page with the learning curve of one training, in place of what was there."""
    _write(path, title=title, details=list(facts), figures=[curve_figure(history)])


def curve_figure(history: Sequence[Epoch], *, title: str = "Learning curve") -> Figure:
    """Return accuracy (solid) and loss (dashed) by epoch, as the paper's Fig. 4."""
    epochs = [row.epoch for row in history]
    training = [(row.accuracy, row.loss) for row in history]
    validation = [(row.validation_accuracy, row.validation_loss) for row in history]
    lines = (("training", CLASS_COLOURS[1], training), ("validation", CLASS_COLOURS[3], validation))

    def plot(axes: "Axes") -> None:
        losses = axes.twinx()
        losses.spines["right"].set_visible(True)
        for label, colour, values in lines:
            accuracy, loss = np.array(values, dtype=np.float64).T  # None is nan: a gap
            if not np.isnan(loss).all():
                axes.plot(epochs, 100 * accuracy, color=colour, label=label)
                losses.plot(epochs, loss, color=colour, linestyle="--")
        axes.set(xlabel="epoch", ylabel="accuracy (%)")
        losses.set(ylabel="loss", yscale="log")
        axes.legend(loc="center right")

    return draw_figure(
        plot,
        title=title,
        caption="Solid: accuracy. Dashed: loss. Training figures are those of the network while "
        "it was changing, so early ones lag behind validation.",
    )


def _write(path: Path, *, overwrite: bool = True, **values: object) -> None:
    """Write a page of these values of `record.html`; the others are empty."""
    empty: dict[str, object] = dict.fromkeys(
        ("details", "summary", "tables", "figures", "galleries"), ()
    )
    write_page(path, "record.html", empty | values, overwrite=overwrite)


def mean_curves_figure(
    curves: Mapping[str, NDArray[np.float64]], *, part: float = 0.8, title: str
) -> Figure:
    """Return the mean of several runs by epoch and the interval of that mean, as Fig. 3.

    `curves` are accuracies (runs, epochs) between 0 and 1 by name, `part` is the confidence level.
    """

    def plot(axes: "Axes") -> None:
        for (name, runs), colour in zip(curves.items(), CLASS_COLOURS[1:], strict=False):
            epochs = np.arange(1, runs.shape[1] + 1)
            mean, half = mean_and_half_width(runs, part=part)
            axes.plot(epochs, 100 * mean, color=colour, linewidth=1, label=name)
            axes.fill_between(
                epochs,
                100 * (mean - half),
                100 * (mean + half),
                color=colour,
                alpha=0.25,
                linewidth=0,
            )
        axes.set(xlabel="epoch", ylabel="validation accuracy (%)")
        axes.legend(loc="lower right")

    counts = sorted({runs.shape[0] for runs in curves.values()})
    return draw_figure(
        plot,
        title=title,
        caption=f"Line: mean of {' or '.join(map(str, counts))} runs. Shade: {100 * part:.0f} % "
        "interval of the mean (Student's t).",
    )


def mean_and_half_width(
    runs: NDArray[np.float64], *, part: float = 0.8
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the mean over the first axis, and half the width of its interval; 0 for one run."""
    from scipy.stats import t

    count = runs.shape[0]
    mean: NDArray[np.float64] = runs.mean(axis=0)
    if count == 1:
        return mean, np.zeros_like(mean)
    factor = float(t.ppf(0.5 + part / 2, count - 1))
    half: NDArray[np.float64] = factor * runs.std(axis=0, ddof=1) / np.sqrt(count)
    return mean, half


def write_cnn_search_page(path: Path, results: Json, *, overwrite: bool = False) -> None:
    """Write a page on the `results` of a search for the network, as `results.json` has them."""
    purpose, plan, best = results["purpose"], results["plan"], results["best"]
    evaluations = results["evaluations"]
    real = purpose["judged"]["classes"] != purpose["train"]["classes"]
    ended = "" if results["complete"] else " (interrupted; the same command resumes)"
    _write(
        path,
        overwrite=overwrite,
        title="Search: the network",
        details=[
            ("best accuracy (%)", _accuracy(best[0]) if best else "none"),
            ("trainings", f"{len(evaluations)} of {results['planned']}{ended}"),
            ("failed", str(results["failed"])),
            ("epochs trained", str(results["epochs_trained"])),
            ("time", hours(results["seconds"])),
            ("space", plan["space"]),
            ("filters", "as Table 9" if plan["filters"] is None else f"{plan['filters']} at most"),
            ("normalised by", plan["normalise"]),
            ("trained on", f"{purpose['train']['name']}, {purpose['train']['count']} images"),
            ("chosen on", f"{purpose['judged']['name']}, {purpose['judged']['count']} images"),
            ("seed", str(plan["seed"])),
        ],
        tables=[
            _best_table(best, PAPER_REAL if real else PAPER_SYNTHETIC),
            _budgets_table(evaluations),
            *([_failures_table(evaluations)] if results["failed"] else []),
        ],
        figures=[_incumbent_figure(results), _budgets_figure(evaluations)] if best else [],
    )


def _best_table(best: Sequence[Json], paper: Mapping[str, Configuration]) -> Json:
    rows: list[tuple[str, ...]] = [
        (f"ours, {place}", *chosen_row(made["settings"]), str(made["epochs"]), _accuracy(made))
        for place, made in enumerate(best, start=1)
    ]
    rows += [(name, *settings_row(each), "-", "-") for name, each in paper.items()]
    return {
        "title": "Best configurations, beside the paper's",
        "columns": ("", *SETTINGS, "epochs", "validation accuracy (%)"),
        "rows": rows,
        "remarks": (
            (
                "In brackets: 95 % intervals (Wilson). The best of many is chosen on these same "
                "images: on others it does a little worse."
            ),
        ),
    }


def _budgets_table(evaluations: Sequence[Json]) -> Json:
    rows = []
    for epochs in sorted({made["epochs"] for made in evaluations}):
        chosen = [made for made in evaluations if made["epochs"] == epochs]
        values = [made["accuracy"]["value"] for made in chosen if made["accuracy"]]
        rows.append(
            (
                str(epochs),
                str(len(chosen)),
                str(len(chosen) - len(values)),
                f"{100 * float(np.median(values)):.2f}" if values else "-",
                f"{100 * max(values):.2f}" if values else "-",
                hours(sum(made["seconds"] for made in chosen)),
            )
        )
    return {
        "title": "Budgets",
        "columns": ("epochs", "trainings", "failed", "median (%)", "best (%)", "time"),
        "rows": rows,
        "remarks": (),
    }


def _failures_table(evaluations: Sequence[Json]) -> Json:
    return {
        "title": "Trainings without a result",
        "columns": ("configuration", "epochs", "why"),
        "rows": [
            (made["configuration"], str(made["epochs"]), made["error"])
            for made in evaluations
            if made["accuracy"] is None
        ],
        "remarks": (),
    }


def _incumbent_figure(results: Json) -> Figure:
    """Return accuracies by the time of each trial, and the best so far."""
    evaluations, trajectory = results["evaluations"], results["trajectory"]
    ends = np.cumsum([made["seconds"] for made in evaluations]) / 3600
    budgets = sorted({made["epochs"] for made in evaluations})

    def plot(axes: "Axes") -> None:
        for epochs, colour in zip(budgets, CLASS_COLOURS[1:] * len(budgets), strict=False):
            chosen = [
                (end, 100 * made["accuracy"]["value"])
                for end, made in zip(ends, evaluations, strict=True)
                if made["epochs"] == epochs and made["accuracy"]
            ]
            if chosen:
                label = f"{epochs} epoch{'s' if epochs > 1 else ''}"
                at, reached = zip(*chosen, strict=True)
                axes.scatter(at, reached, color=colour, s=14, alpha=0.8, label=label)
        times = [each["seconds"] / 3600 for each in trajectory]
        values = [100 * each["accuracy"]["value"] for each in trajectory]
        axes.step(
            [*times, float(ends[-1])], [*values, values[-1]], where="post", color=INK, linewidth=1
        )
        axes.set(xlabel="hours of training", ylabel="validation accuracy (%)")
        axes.legend(fontsize=8)

    return draw_figure(
        plot,
        title="Best accuracy by time",
        caption="The line is the best at the largest budget so far; it falls where a larger budget "
        "is reached for the first time with less.",
    )


def _budgets_figure(evaluations: Sequence[Json]) -> Figure:
    """Return the accuracy of each configuration by epochs."""
    reached: dict[str, list[tuple[int, float]]] = {}
    for made in evaluations:
        if made["accuracy"]:
            place = (made["epochs"], 100 * made["accuracy"]["value"])
            reached.setdefault(made["configuration"], []).append(place)
    from_model = {made["configuration"]: made["from_model"] for made in evaluations}

    def plot(axes: "Axes") -> None:
        for name, places in reached.items():
            axes.plot(
                *zip(*places, strict=True),
                color=CLASS_COLOURS[3 if from_model[name] else 0],
                marker="o",
                markersize=3,
                linewidth=0.8,
                alpha=0.7,
            )
        ticks = sorted({made["epochs"] for made in evaluations})
        axes.set(xscale="log", xlabel="epochs", ylabel="validation accuracy (%)")
        axes.set_xticks(ticks, [str(tick) for tick in ticks])
        axes.minorticks_off()

    return draw_figure(
        plot,
        title="Accuracy by budget",
        caption="A line is a configuration: drawn at random (gray) or suggested by the model "
        "(green).",
    )


def _accuracy(made: Json) -> str:
    return format_percent(Proportion(made["accuracy"]["hits"], made["accuracy"]["total"])).strip()


def hours(seconds: float) -> str:
    """Return a time as `12.3 min` or `2.5 h`."""
    return f"{seconds / 60:.1f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
