"""`deepfreak join`: shards of one series into one file."""

from pathlib import Path

import click


@click.command()
@click.argument("shards", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), required=True, help="HDF5 file to write.")
@click.option("--overwrite", is_flag=True, help="Replace OUT if it exists.")
def join(*, shards: tuple[Path, ...], out: Path, overwrite: bool) -> None:
    """Join SHARDS, all files that `deepfreak generate --shard` made of one series, into one.

    The file is the one that a single run would have made.
    """
    from deepfreak import datasets as dataset
    from deepfreak.progress import progress

    total = 0
    for path in shards:
        with dataset.Dataset.open(path) as data:
            total += len(data)
    with progress("joining", total) as advance:
        dataset.join(shards, out=out, overwrite=overwrite, advance=advance)
    click.echo(f"{out}: {total} images of {len(shards)} shards", err=True)
