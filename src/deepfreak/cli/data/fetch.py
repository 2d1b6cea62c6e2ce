"""`deepfreak data fetch`: coordinates of a PDB entry."""

from pathlib import Path

import click

from deepfreak.cli.command import Command, done, log
from deepfreak.cli.options import out_option, overwrite_option


@click.command(cls=Command)
@click.argument("pdb_id")
@out_option(
    "Directory for ID.cif.gz.", directory=True, show_default="where a recipe's pdb:ID looks for it"
)
@overwrite_option
@click.option(
    "--timeout", "timeout_s", type=click.FloatRange(min=0, min_open=True), default=300.0,
    show_default=True, help="Seconds that the whole download may take.",
)  # fmt: skip
@click.option(
    "--url", envvar="DEEPFREAK_PDB_URL", show_default="the RCSB's archive",
    help="Directory of a mirror that holds ID.cif.gz.",
)  # fmt: skip
def fetch(
    pdb_id: str, out: Path | None, overwrite: bool, timeout_s: float, url: str | None
) -> None:
    """Download a PDB entry's coordinates.

    PDB_ID is such as 4RVY; the file is gzipped mmCIF. Nothing uses it until a recipe or an option
    names it, for example as pdb:4RVY.
    """
    import logging
    import sys

    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

    from deepfreak.physics.structure_factors.archive import PDB_URL, fetch_entry

    with Progress(
        TextColumn("fetching {task.description}"),
        BarColumn(),
        DownloadColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
        disable=not sys.stderr.isatty() or log.level > logging.INFO,
    ) as bar:
        task = bar.add_task(pdb_id, total=None)
        path = fetch_entry(
            pdb_id,
            folder=out,
            overwrite=overwrite,
            url=url or PDB_URL,
            timeout_s=timeout_s,
            progress=lambda received, total: bar.update(task, completed=received, total=total),
        )
    click.echo(path)
    done(f"fetched {pdb_id}", then=f"deepfreak data simulate diffranet --structure {pdb_id}")
