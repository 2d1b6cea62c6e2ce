"""`deepfreak fetch`: coordinates of a PDB entry."""

from pathlib import Path

import click


@click.command()
@click.argument("pdb_id")
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder for ID.cif.gz; by default the place where a recipe's pdb:ID looks for it.",
)
@click.option("--overwrite", is_flag=True, help="Replace a file that is there already.")
@click.option(
    "--timeout",
    "timeout_s",
    type=click.FloatRange(min=0, min_open=True),
    default=300.0,
    show_default=True,
    help="Seconds that the whole download may take.",
)
@click.option(
    "--url",
    envvar="DEEPFREAK_PDB_URL",
    help="Folder of a mirror that holds ID.cif.gz.  [default: the RCSB's archive]",
)
def fetch(
    pdb_id: str, out: Path | None, overwrite: bool, timeout_s: float, url: str | None
) -> None:
    """Download the coordinates of PDB entry PDB_ID (such as 4RVY) as gzipped mmCIF.

    Nothing uses them until a recipe or an option names them, for example as pdb:4RVY.
    """
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
        disable=not sys.stderr.isatty(),
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
