"""`deepfreak data import`: the published DiffraNet into our files."""

from pathlib import Path

import click

from deepfreak.cli.command import INPUT, Command, done
from deepfreak.cli.options import out_option, overwrite_option


@click.command("import", cls=Command)
@click.argument("source", metavar="ZIP|DIRECTORY", type=INPUT)
@out_option("Directory for the files, one a variant.", directory=True)
@overwrite_option
def import_(*, source: Path, out: Path, overwrite: bool) -> None:
    """Import DiffraNet from the authors' archive.

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
    left_out = f"; left out: {imported.left_out} files that are none of its images"
    done(f"wrote {out}" + left_out * bool(imported.left_out), then="deepfreak data show FILE")
