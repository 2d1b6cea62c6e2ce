"""The learning curve: the results of each epoch, as lines of JSON and as a plot."""

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from deepfreak.errors import ModelError
from deepfreak.storage.files import whole_file

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from deepfreak.reports.figures import Figure


@dataclass(frozen=True, slots=True, kw_only=True)
class Epoch:
    """The results of one epoch.

    Parameters
    ----------
    epoch
        Number of epochs done at its end.
    learning_rate
        At its last step.
    loss, accuracy
        Means over the augmented images, by the network as it was at each step.
    validation_loss, validation_accuracy
        Of the network after the epoch; None without validation images.
    images
        Number of images shown.
    seconds
        Of training so far, without steps that an interruption lost.
    """

    epoch: int
    learning_rate: float
    loss: float
    accuracy: float
    validation_loss: float | None
    validation_accuracy: float | None
    images: int
    seconds: float


def write_curve(path: Path, history: Sequence[Epoch]) -> None:
    """Write one line of JSON an epoch, in place of what was there."""
    lines = "".join(json.dumps(asdict(epoch)) + "\n" for epoch in history)
    with whole_file(path, overwrite=True) as partial:
        partial.write_text(lines, encoding="utf-8")


def read_curve(path: str | Path) -> tuple[Epoch, ...]:
    """Return the epochs that `write_curve` wrote.

    Raises
    ------
    ModelError
        There is no such file, or its lines are others.
    """
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
        return tuple(Epoch(**json.loads(line)) for line in lines)
    except (OSError, ValueError, TypeError) as error:
        raise ModelError(f"{path}: expected a learning curve, found {error}") from error


def curve_figure(history: Sequence[Epoch], *, title: str = "Learning curve") -> "Figure":
    """Return accuracy (solid) and loss (dashed) by epoch, as the paper's Fig. 4."""
    from deepfreak.reports.figures import draw_figure
    from deepfreak.reports.palette import CLASS_COLOURS

    epochs = [row.epoch for row in history]
    lines = [
        (
            "training",
            CLASS_COLOURS[1],
            [100 * row.accuracy for row in history],
            [row.loss for row in history],
        ),
        (
            "validation",
            CLASS_COLOURS[3],
            [_or_gap(row.validation_accuracy) * 100 for row in history],
            [_or_gap(row.validation_loss) for row in history],
        ),
    ]

    def plot(axes: "Axes") -> None:
        losses = axes.twinx()
        losses.spines["right"].set_visible(True)
        for label, colour, accuracy, loss in lines:
            if not all(map(math.isnan, loss)):
                axes.plot(epochs, accuracy, color=colour, label=label)
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


def _or_gap(value: float | None) -> float:
    """Return a value that leaves a gap in a line where there is none."""
    return math.nan if value is None else value
