"""`deepfreak data join`: shards of one series into one file."""

from pathlib import Path

import click

from deepfreak.cli.command import INPUT, Command, done
from deepfreak.cli.options import out_option, overwrite_option


@click.command(cls=Command)
@click.argument("shards", nargs=-1, required=True, type=INPUT)
@out_option("HDF5 file to write.")
@overwrite_option
def join(*, shards: tuple[Path, ...], out: Path, overwrite: bool) -> None:
    """Join the shards of one data set.

    SHARDS are all files that `deepfreak data generate --shard` made of one series. The result is
    the file that a single run would have made.
    """
    from deepfreak import datasets
    from deepfreak.progress import progress

    total = 0
    for path in shards:
        with datasets.Dataset.open(path) as data:
            total += len(data)
    with progress("joining", total) as advance:
        datasets.join(shards, out=out, overwrite=overwrite, advance=advance)
    done(f"{out}: {total} images of {len(shards)} shards", then=f"deepfreak data verify {out}")
