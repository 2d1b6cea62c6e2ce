"""Training the screening model, for `deepfreak model train` on a table of evidence."""

from pathlib import Path

import click

from deepfreak.cli.command import done


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
    from deepfreak.reports.screening import thresholds_text, transfer_table
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
        calibrate_left_out(model, data, found.odds), calibration_path(out), overwrite=overwrite
    )
    click.echo(transfer_table(data, found))
    click.echo(thresholds_text(data, found.odds))
    click.echo(f"{out}: {model.name}, {len(data)} frames, {out.stat().st_size / 1e6:.2f} MB")
    done(f"wrote {out} and {calibration_path(out)}", then=f"deepfreak classify FILES --model {out}")
