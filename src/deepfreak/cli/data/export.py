"""`deepfreak data export`: our files as the published DiffraNet's directories."""

from pathlib import Path

import click

from deepfreak.cli.command import INPUT, Command, done
from deepfreak.cli.options import out_option


@click.command(cls=Command)
@click.argument("files", nargs=-1, required=True, type=INPUT)
@out_option("Directory to make; it must not exist yet, or be empty.", directory=True)
def export(*, files: tuple[Path, ...], out: Path) -> None:
    """Export data sets as PGM files in DiffraNet's layout.

    The layout is VARIANT/SPLIT/CLASS, classes by number from 1. Without splits all go into train.
    """
    from contextlib import ExitStack

    from deepfreak.datasets.diffranet import export_diffranet
    from deepfreak.progress import progress

    with ExitStack() as stack:
        counts = export_diffranet(
            files, out, start=lambda total: stack.enter_context(progress("exporting", total))
        )
    done(f"{out}: " + ", ".join(f"{count} {variant}" for variant, count in counts.items()))
