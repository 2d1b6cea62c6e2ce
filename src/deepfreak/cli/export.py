"""`deepfreak export`: our files as the published DiffraNet's folders."""

from pathlib import Path

import click


@click.command()
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--out", type=click.Path(file_okay=False, path_type=Path), required=True,
    help="Folder to make; it must not be there yet, or be empty.",
)  # fmt: skip
def export(*, files: tuple[Path, ...], out: Path) -> None:
    """Write the images of FILES, data sets, as PGM in DiffraNet's folders.

    These are VARIANT/SPLIT/CLASS, classes by number from 1. Without splits all go into train.
    """
    from contextlib import ExitStack

    from deepfreak.datasets.diffranet import export_diffranet
    from deepfreak.progress import progress

    with ExitStack() as stack:
        counts = export_diffranet(
            files, out, start=lambda total: stack.enter_context(progress("exporting", total))
        )
    said = ", ".join(f"{count} {variant}" for variant, count in counts.items())
    click.echo(f"{out}: {said}")
