"""`deepfreak import`: published data sets into our files."""

from pathlib import Path

import click


@click.group(name="import")
def import_() -> None:
    """Bring a published data set into this package's HDF5 files."""


@import_.command()
@click.argument("source", metavar="ZIP_OR_FOLDER", type=click.Path(path_type=Path))
@click.option(
    "--out", type=click.Path(file_okay=False, path_type=Path), required=True,
    help="Folder for the files, one a variant.",
)  # fmt: skip
@click.option("--overwrite", is_flag=True, help="Replace existing files.")
def diffranet(*, source: Path, out: Path, overwrite: bool) -> None:
    """Import DiffraNet from the authors' archive, ZIP_OR_FOLDER.

    Writes synthetic.h5, real_raw.h5 and real_preprocessed.h5, those that are there, with labels and
    splits. Nothing is unpacked to disk.
    """
    from contextlib import ExitStack

    from deepfreak.datasets.diffranet import import_diffranet
    from deepfreak.progress import progress

    with ExitStack() as stack:
        imported = import_diffranet(
            source,
            out,
            overwrite=overwrite,
            start=lambda total: stack.enter_context(progress("importing", total)),
        )
    for variant, file in imported.files.items():
        splits = imported.counts[variant]
        said = ", ".join(f"{count} {split}" for split, count in splits.items())
        click.echo(f"{file}: {sum(splits.values())} images ({said})")
    if imported.left_out:
        click.echo(f"left out: {imported.left_out} files that are no pictures of it", err=True)
