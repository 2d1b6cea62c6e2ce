"""The tables of networks beside the paper's, from what was trained and judged."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from deepfreak.models.evaluation import Evaluation, format_percent
from deepfreak.networks import CONFIGURATION_A, CONFIGURATION_B, CONFIGURATION_C, Configuration
from deepfreak.networks.figures import (
    SETTINGS,
    chosen_row,
    mean_and_half_width,
    settings_row,
)
from paper.contenders import mcnemar
from paper.record import Table
from paper.runs import Runs, spread

# Section 4.3, in per cent: a plain ResNet-50 on images shrunk to 224 x 224.
PLAIN_TRAINING, PLAIN_VALIDATION = 96.79, 72.08
# Section 5.2, in per cent: configuration B on the validation images.
B_VALIDATION = 98.42

NORMALISED = (
    "B learns in batches of one, so that each image is normalised by itself, and is judged by "
    "running statistics, of ten images or so, as the published code does it; the line below has it "
    "judged as it learned."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """A classifier and what it said of images, in each of its runs.

    Attributes
    ----------
    published
        The paper's accuracy in per cent.
    chosen
        The run that stands for it.
    multiply_adds
        Of one image, for networks.
    """

    name: str
    evaluations: tuple[Evaluation, ...]
    published: float | None = None
    chosen: int = 0
    multiply_adds: int | None = None

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


def compared(one: Line, other: Line) -> str:
    """Return in a sentence whether one classifier is better than another on the same images."""
    only_one, only_other, p = mcnemar(one.evaluation, other.evaluation)
    said = f"= {p:.1e}" if p > 0 else "< 1e-300"
    return (
        f"{one.name} against {other.name}: {only_one} images were judged rightly by the former "
        f"only, {only_other} by the latter only; McNemar's exact test p {said}."
    )


def table_11(runs: Sequence[Runs], searched: Mapping[str, Any] | None) -> Table:
    """Return configurations A, B, C with their accuracies, and the best of a search of ours."""
    published = (CONFIGURATION_A, CONFIGURATION_B, CONFIGURATION_C)
    accuracies = ("-", f"{B_VALIDATION:.2f}", "-")
    rows: list[tuple[str, ...]] = []
    for found, configuration, accuracy in zip(runs, published, accuracies, strict=True):
        last = found.validation[:, -1]
        (mean,), (half,) = mean_and_half_width(last[:, None])
        interval = f"{100 * mean:.2f} [{100 * (mean - half):.2f}, {100 * (mean + half):.2f}]"
        rows.append(
            (
                f"{found.candidate.name.removeprefix('configuration ')}, the paper's",
                *settings_row(configuration),
                accuracy,
                interval if len(last) > 1 else f"{100 * mean:.2f}",
                spread(last),
            )
        )
    for place, made in enumerate(_best(searched), start=1):
        accuracy = f"{100 * made['accuracy']['value']:.2f} ({made['epochs']} epochs)"
        rows.append((f"our search, {place}", *chosen_row(made["settings"]), "-", "-", accuracy))
    return Table(
        title="Table 11: the best configurations, validation accuracy (%)",
        columns=("", *SETTINGS, "paper", "ours, mean [80 %]", "ours, mean ± sd"),
        rows=tuple(rows),
        remarks=("The 80 % interval is Student's, of the mean over the runs, as in Fig. 3.",),
    )


def best_on_real(
    number: int, published: Configuration, searched: Mapping[str, Any] | None
) -> Table:
    """Return Table 15 or 17: what was chosen on real validation images."""
    ours = (
        (f"our search, {place}", *chosen_row(made["settings"]))
        for place, made in enumerate(_best(searched), start=1)
    )
    variant = {15: "raw", 17: "preprocessed"}[number]
    return Table(
        title=f"Table {number}: best network for {variant} real images",
        columns=("", *SETTINGS),
        rows=(("the paper's", *settings_row(published)), *ours),
    )


def _best(searched: Mapping[str, Any] | None) -> Sequence[Mapping[str, Any]]:
    return [] if searched is None else list(searched["best"])


def plain_table(plain: Runs, on_test: Evaluation, b: Runs) -> Table:
    """Return section 4.3's plain network beside configuration B."""
    published = {
        plain: (f"{PLAIN_TRAINING:.2f}", f"{PLAIN_VALIDATION:.2f}"),
        b: ("-", f"{B_VALIDATION:.2f}"),
    }
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
            for found, (training, validation) in published.items()
        ),
        remarks=(
            (
                "The paper does not say how the plain network was trained: here as configuration "
                f"B. On the test images it reaches {format_percent(on_test.accuracy).strip()} %."
            ),
        ),
    )
