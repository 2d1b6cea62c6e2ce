"""Tables of networks beside the paper's."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deepfreak.models.evaluation import Evaluation, format_percent
from deepfreak.networks import Configuration
from deepfreak.networks.figures import (
    SETTINGS,
    chosen_row,
    hours,
    mean_and_half_width,
    settings_row,
)
from paper.published import B_VALIDATION, EPOCHS, IMAGES, PLAIN_TRAINING, PLAIN_VALIDATION
from paper.record import Table, compared, mean_and_deviation
from paper.trainings import Runs

NORMALISED = (
    "B is trained in batches of one, so that each image is normalised by itself, and evaluated "
    "with running statistics, of ten images or so, as in the published code; the line below "
    "evaluates it as it was trained."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """A classifier and its evaluations, one per run."""

    name: str
    evaluations: tuple[Evaluation, ...]
    published: float | None = None  # the paper's accuracy in per cent
    chosen: int = 0  # the run that represents it
    multiply_adds: int | None = None  # for one image, of networks

    @property
    def evaluation(self) -> Evaluation:
        """That of the chosen run."""
        return self.evaluations[self.chosen]


def accuracy_table(title: str, lines: Sequence[Line], *, remarks: Sequence[str] = ()) -> Table:
    """Return accuracies with 95 % intervals and what they cost, as Table 5."""
    return Table(
        title=title,
        columns=(
            "classifier",
            "images",
            "paper",
            "all runs, mean ± sd",
            "chosen run [95 %]",
            "crystal or none [95 %]",
            "multiply-adds (10^6)",
        ),
        rows=tuple(
            (
                line.name,
                f"{line.evaluation.truth.size:,}",
                "-" if line.published is None else f"{line.published:.2f}",
                spread(np.array([found.accuracy.value for found in line.evaluations])),
                format_percent(line.evaluation.accuracy).strip(),
                format_percent(line.evaluation.crystal_accuracy).strip(),
                "-" if line.multiply_adds is None else f"{line.multiply_adds / 1e6:,.0f}",
            )
            for line in lines
        ),
        remarks=tuple(remarks),
    )


def compared_lines(one: Line, other: Line) -> str:
    """Return in a sentence whether one classifier is better than another on the same images."""
    return compared(one.name, other.name, one.evaluation, other.evaluation)


def spread(values: NDArray[np.float64]) -> str:
    """Return mean and standard deviation over runs, in per cent."""
    runs = f" ({values.size} runs)" if values.size > 1 else ""
    return mean_and_deviation(values) + runs


def table_11(
    runs: Mapping[str, Runs],
    configurations: Mapping[str, Configuration],
    searched: Mapping[str, Any] | None,
) -> Table:
    """Return the paper's configurations with their accuracies, and the best of a search of ours."""
    rows: list[tuple[str, ...]] = []
    for name, found in runs.items():
        last = found.validation[:, -1]
        (mean,), (half,) = mean_and_half_width(last[:, None])
        interval = f"{100 * mean:.2f} [{100 * (mean - half):.2f}, {100 * (mean + half):.2f}]"
        rows.append(
            (
                f"{name}, the paper's",
                *settings_row(configurations[name]),
                f"{B_VALIDATION:.2f}" if name == "B" else "-",
                interval if len(last) > 1 else f"{100 * mean:.2f}",
                spread(last),
            )
        )
    for row, made in _best(searched):
        accuracy = f"{100 * made['accuracy']['value']:.2f} ({made['epochs']} epochs)"
        rows.append((*row, "-", "-", accuracy))
    return Table(
        title="Table 11: the best configurations, validation accuracy (%)",
        columns=("", *SETTINGS, "paper", "ours, mean [80 %]", "ours, mean ± sd"),
        rows=tuple(rows),
        remarks=("The 80 % interval is Student's, of the mean over the runs, as in Fig. 3.",),
    )


def best_on_real(
    number: int, variant: str, published: Configuration, searched: Mapping[str, Any] | None
) -> Table:
    """Return Table 15 or 17: what was chosen on real validation images."""
    ours = (row for row, _ in _best(searched))
    return Table(
        title=f"Table {number}: best network for {variant} real images",
        columns=("", *SETTINGS),
        rows=(("the paper's", *settings_row(published)), *ours),
    )


def _best(
    searched: Mapping[str, Any] | None,
) -> Iterator[tuple[tuple[str, ...], Mapping[str, Any]]]:
    """Yield the row and the JSON values of each of the best of a search, if there was one."""
    for place, made in enumerate(searched["best"] if searched else (), start=1):
        yield (f"our search, {place}", *chosen_row(made["settings"])), made


def plain_table(plain: Runs, on_test: Evaluation, b: Runs | None) -> Table:
    """Return section 4.3's plain network, beside configuration B if that was trained."""
    published = [(plain, f"{PLAIN_TRAINING:.2f}", f"{PLAIN_VALIDATION:.2f}")]
    if b is not None:
        published.append((b, "-", f"{B_VALIDATION:.2f}"))
    return Table(
        title="Section 4.3: a plain ResNet-50 on images shrunk to 224 x 224 (%)",
        columns=("", "training, paper", "training, ours", "validation, paper", "validation, ours"),
        rows=tuple(
            (
                found.candidate.name,
                training,
                f"{100 * found.training[found.chosen, -1]:.2f}",
                validation,
                f"{100 * found.validation[found.chosen, -1]:.2f}",
            )
            for found, training, validation in published
        ),
        remarks=(
            (
                "The paper does not say how the plain network was trained: here as configuration "
                f"B. On the test images it reaches {format_percent(on_test.accuracy).strip()} %."
            ),
        ),
    )


def training_table(trained: Iterable[Runs], *, images: int) -> Table:
    """Return how each was trained on so many images, how long, and the paper's run at that rate."""
    rows = []
    for each in trained:
        training, epoch_s = each.candidate.training, each.seconds_per_epoch
        step_s = epoch_s / -(-images // training.batch)
        rows.append(
            (
                each.candidate.name,
                str(len(each.weights)),
                str(training.epochs),
                str(training.batch),
                f"{training.learning_rate:.4g}",
                training.precision,
                f"{epoch_s:.1f}",
                f"{images / epoch_s:,.0f}",
                f"{1000 * step_s:.1f}",
                hours(epoch_s / images * IMAGES["train"] * EPOCHS),
            )
        )
    return Table(
        title="Training",
        columns=(
            "network",
            "runs",
            "epochs",
            "batch",
            "learning rate",
            "precision",
            "s an epoch",
            "images/s",
            "ms a step",
            "180 epochs of 10,000 images",
        ),
        rows=tuple(rows),
        remarks=("An epoch's time includes the evaluation on the validation images.",),
    )


def measured_table(measured: Sequence[tuple[str, str]]) -> Table:
    """Return what was measured of the simulation."""
    return Table(title="The images, simulated in memory", columns=("", ""), rows=tuple(measured))
