"""`deepfreak train-screening`: from evidence of simulated frames to a model that screens."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from deepfreak.processors import usable_processors

if TYPE_CHECKING:
    from deepfreak.models.screening_fit import Graded, Training
    from deepfreak.varied.table import Table

_MOST_GRADED = 12_400


@click.command("train-screening")
@click.argument("table", type=click.Path(path_type=Path))
@click.option(
    "--graded", type=click.Path(path_type=Path), metavar="DIFFRANET",
    help="Images of the five classes; without them, there are two.",
)  # fmt: skip
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Model file to write.")
@click.option("--seed", type=click.IntRange(0, 2**32 - 1), default=0, show_default=True)
@click.option(
    "--workers", type=click.IntRange(min=1), default=usable_processors,
    show_default="all usable cores",
)  # fmt: skip
@click.option("--overwrite", is_flag=True, help="Replace an existing model and its scores.")
def train_screening(
    *, table: Path, graded: Path | None, out: Path, seed: int, workers: int, overwrite: bool
) -> None:
    """Train a model that screens frames on TABLE, made by `deepfreak vary`.

    Each family of detectors is left out in turn: what the others teach about it is printed, and
    becomes the scores beside the model, from which `classify` and `watch` take their thresholds.
    """
    from dataclasses import replace

    from threadpoolctl import threadpool_limits

    from deepfreak import scores
    from deepfreak.files import check_output
    from deepfreak.models import save_model
    from deepfreak.models.screening_fit import fit_screening
    from deepfreak.varied import read_table

    for path in (out, scores.scores_path(out)):
        check_output(path, overwrite=overwrite)
    data = read_table(table)
    grades = None if graded is None else _graded(graded, workers)
    with threadpool_limits(1):  # the last bits depend on how many there are
        found = fit_screening(data, graded=grades, seed=seed)
    manifest = {
        "command": f"deepfreak train-screening {table.name} --seed {seed}"
        + ("" if graded is None else f" --graded {graded.name}"),
        "table": data.manifest,
        "frames": len(data),
        "graded": None if grades is None else len(grades.labels),
    }
    model = replace(found.model, manifest=manifest)
    save_model(model, out, overwrite=overwrite)
    scores.write_scores(
        scores.score_left_out(model, data, found.odds),
        scores.scores_path(out),
        overwrite=overwrite,
    )
    click.echo(_transfer(data, found))
    click.echo(f"{out}: {model.name}, {len(data)} frames, {out.stat().st_size / 1e6:.2f} MB")


def _graded(path: Path, workers: int) -> "Graded":
    """Return the evidence of a data set's images of training and validation."""
    import numpy as np

    from deepfreak.dataset import Dataset
    from deepfreak.errors import DatasetError
    from deepfreak.exchange.importing import SYNTHETIC_CLASSES
    from deepfreak.models.evidence_model import measured_images
    from deepfreak.models.screening_fit import Graded
    from deepfreak.progress import progress

    with Dataset.open(path) as data:
        if tuple(data.classes) != SYNTHETIC_CLASSES:
            raise DatasetError(
                f"expected images of the classes {', '.join(SYNTHETIC_CLASSES)} in {path}, found "
                f"{', '.join(data.classes)}"
            )
        test = data.manifest.get("splits", {}).get("test")
        count = min(len(data), _MOST_GRADED if test is None else int(test[0]))
        rows = []
        with progress("evidence of graded images", count) as advance:
            for first in range(0, count, 200):
                images = np.asarray(data.images[first : min(first + 200, count)])
                names, numbers = measured_images(images, workers=workers)
                rows.append(numbers)
                advance(len(images))
        return Graded(
            names=names, numbers=np.concatenate(rows), labels=np.asarray(data.labels[:count])
        )


def _transfer(table: "Table", found: "Training") -> str:
    """Return a table: hits against misses of each family, by what the others teach."""
    import numpy as np

    from deepfreak.models.screening_fit import area_under_curve
    from deepfreak.varied.frame import is_hard
    from deepfreak.varied.table import HIT, MISS

    hard = is_hard(table.kind, table.zingers)
    contenders = {
        "peaks": table.numbers[:, table.names.index("peaks_over_7")],
        "off rings": table.numbers[:, table.names.index("off_rings_over_7")],
        "second": found.second,
        "model": found.odds,
    }
    lines = [
        "area under the curve, hits against clean / hard misses, each family left out in turn",
        f"{'family':<12}{'hits':>6}{'clean':>6}{'hard':>6}"
        + "".join(f"{name:>16}" for name in contenders),
    ]
    for family in (*sorted(set(table.family.tolist())), "all"):
        rows = np.ones(len(table), bool) if family == "all" else table.family == family
        parts = [rows & (table.label == HIT), rows & (table.label == MISS) & ~hard]
        parts.append(rows & (table.label == MISS) & hard)
        cells = [
            f"{area_under_curve(score[parts[0]], score[parts[1]]):.3f} / "
            f"{area_under_curve(score[parts[0]], score[parts[2]]):.3f}"
            for score in contenders.values()
        ]
        lines.append(
            f"{family:<12}"
            + "".join(f"{int(part.sum()):>6}" for part in parts)
            + "".join(f"{cell:>16}" for cell in cells)
        )
    return "\n".join(lines)
