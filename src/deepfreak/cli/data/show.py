"""`deepfreak data show`: what a data set holds."""

from pathlib import Path

import click

from deepfreak.cli.command import INPUT, Command, done
from deepfreak.cli.options import overwrite_option, report_option


@click.command(cls=Command)
@click.argument("data", type=INPUT)
@report_option
@overwrite_option
def show(*, data: Path, report: Path | None, overwrite: bool) -> None:
    """Show what a data set holds.

    Classes, splits, and the least, middle and largest value of each truth.
    """
    import numpy as np

    from deepfreak.datasets import Dataset
    from deepfreak.datasets.verifying import RELEASED_NAME, identity, why_not_released
    from deepfreak.reports.dataset import numbers_by_split, summary_of_truth, write_dataset_page

    with Dataset.open(data) as images:
        manifest = images.manifest
        made_by = manifest.get("versions", {}).get("deepfreak", "unknown")
        size = " x ".join(map(str, images.images.shape[1:]))
        click.echo(f"{data}: {len(images)} images of {size} pixels")
        click.echo(f"seed {manifest.get('seed', 'unknown')}, made by deepfreak {made_by}")
        told = identity(manifest)
        click.echo(f"label version {told['label_version'] or 'unknown'}; sha256 by its manifest:")
        for part in ("images", "labels", "truth"):
            click.echo(f"  {part:<8}{(told['sha256'] or {}).get(part, 'unknown')}")
        why = why_not_released(manifest)
        click.echo(
            f"not {RELEASED_NAME}: {why}"
            if why
            else f"the hashes are those of {RELEASED_NAME}; `deepfreak data verify` proves them"
        )
        columns = [*images.classes, "images"]
        width = max(11, *(len(name) + 1 for name in columns))
        click.echo("\n" + " " * 12 + "".join(f"{name:>{width}}" for name in columns))
        for name, counts in numbers_by_split(images):
            numbers = "".join(f"{number:>{width}}" for number in [*counts, sum(counts)])
            click.echo(f"{name:<12}{numbers}")
        rows = summary_of_truth(images)
        if rows:
            click.echo(f"\n{'truth':<22}{'least':>12}{'middle':>12}{'largest':>12}")
        for name, (least, middle, largest) in rows:
            click.echo(f"{name:<22}{least:>12.5g}{middle:>12.5g}{largest:>12.5g}")
        if report is not None:
            # the same sheet of the same file
            write_dataset_page(report, images, rng=np.random.default_rng(0), overwrite=overwrite)
            done(f"wrote {report}")
