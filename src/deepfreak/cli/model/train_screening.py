"""Training the screening model, for `deepfreak model train` on a table of evidence."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from deepfreak.cli.command import done

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from deepfreak.datasets.randomised.table import Table
    from deepfreak.models.screening_fit import CrossValidated


def train_screening(table: Path, out: Path, *, seed: int, overwrite: bool) -> None:
    """Train the screening model, and write its scores beside it.

    Each family of detectors is left out in turn: what is learned about it from the others is
    printed, and becomes the scores, from which `classify` and `watch` take their thresholds.
    """
    from dataclasses import replace

    from threadpoolctl import threadpool_limits

    from deepfreak.datasets.randomised import read_table
    from deepfreak.models import save_model
    from deepfreak.models.screening_fit import fit_screening
    from deepfreak.screening.calibration import calibrate_left_out
    from deepfreak.screening.calibration_file import calibration_path, write_calibration
    from deepfreak.storage.files import check_output

    check_output(calibration_path(out), overwrite=overwrite)
    data = read_table(table)
    with threadpool_limits(1):  # the last bits depend on how many there are
        found = fit_screening(data, seed=seed)
    manifest = {
        "command": f"deepfreak model train {table.name} --seed {seed}",
        "table": data.manifest,
        "frames": len(data),
    }
    model = replace(found.model, manifest=manifest)
    save_model(model, out, overwrite=overwrite)
    write_calibration(
        calibrate_left_out(model, data, found.odds),
        calibration_path(out),
        overwrite=overwrite,
    )
    click.echo(_transfer(data, found))
    click.echo(_bands(data, found.odds))
    click.echo(f"{out}: {model.name}, {len(data)} frames, {out.stat().st_size / 1e6:.2f} MB")
    done(f"wrote {out} and {calibration_path(out)}", then=f"deepfreak classify FILES --model {out}")


def _transfer(table: "Table", found: "CrossValidated") -> str:
    """Return a table: hits against misses of each family, as learned from the others."""
    import numpy as np

    from deepfreak.datasets.randomised.frame import is_hard
    from deepfreak.datasets.randomised.table import HIT, MISS
    from deepfreak.models.screening_fit import area_under_curve

    hard = is_hard(table.kind, table.zingers)
    baselines = {
        "peaks": table.numbers[:, table.names.index("peaks_over_7")],
        "off rings": table.numbers[:, table.names.index("off_rings_over_7")],
        "second": found.second,
        "model": found.odds,
    }
    lines = [
        "area under the curve, hits against clean / hard misses, each family left out in turn",
        f"{'family':<12}{'hits':>6}{'clean':>6}{'hard':>6}"
        + "".join(f"{name:>16}" for name in baselines),
    ]
    for family in (*sorted(set(table.family.tolist())), "all"):
        rows = np.ones(len(table), bool) if family == "all" else table.family == family
        parts = [rows & (table.label == HIT), rows & (table.label == MISS) & ~hard]
        parts.append(rows & (table.label == MISS) & hard)
        cells = [
            f"{area_under_curve(score[parts[0]], score[parts[1]]):.3f} / "
            f"{area_under_curve(score[parts[0]], score[parts[2]]):.3f}"
            for score in baselines.values()
        ]
        lines.append(
            f"{family:<12}"
            + "".join(f"{int(part.sum()):>6}" for part in parts)
            + "".join(f"{cell:>16}" for cell in cells)
        )
    return "\n".join(lines)


def _bands(table: "Table", odds: "NDArray[np.float64]") -> str:
    """Return what thresholds are worth: misses removed for hits lost, and how pure the kept are."""
    import numpy as np

    from deepfreak.datasets.randomised.table import HIT, MISS
    from deepfreak.screening.policy import MAX_EMPTY_KEPT

    hits, misses = odds[table.label == HIT], odds[table.label == MISS]
    removed = ", ".join(
        f"{float((misses < np.quantile(hits, lost)).mean()):.1%} at {lost:.1%} lost hits"
        for lost in (0.005, 0.01, 0.02)
    )
    top = np.quantile(misses, 1 - MAX_EMPTY_KEPT)
    kept, wrong = float((hits >= top).mean()), float((misses >= top).mean())
    pure = ", ".join(
        f"{share * kept / (share * kept + (1 - share) * wrong):.0%} at {share:g}"
        for share in (0.001, 0.01, 0.1)
    )
    return (
        f"misses removed: {removed}\n"
        f"where {MAX_EMPTY_KEPT:.0%} of the misses are kept, {kept:.0%} of the hits are; hits "
        f"among the kept frames, by the share of hits: {pure}"
    )
