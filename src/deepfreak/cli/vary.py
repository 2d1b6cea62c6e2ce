"""`deepfreak vary`: the evidence of any crystal on any detector into one file."""

from pathlib import Path

import click


@click.command()
@click.option("--count", type=click.IntRange(1), required=True, help="How many frames.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True)
@click.option("--family", metavar="NAME", help="Detectors of this family only.")
@click.option(
    "--without", multiple=True, metavar="NAME", help="Leave a kind of light or a fault out."
)
@click.option(
    "--workers", type=click.IntRange(1), default=1, show_default=True, help="Processes to use."
)
@click.option("--out", type=click.Path(path_type=Path), required=True, help="HDF5 file to write.")
@click.option("--resume", is_flag=True, help="Only go on with what an earlier run has left.")
@click.option(
    "--overwrite", is_flag=True, help="Replace OUT if it exists, and what another run has left."
)
def vary(
    *,
    count: int,
    seed: int,
    family: str | None,
    without: tuple[str, ...],
    workers: int,
    out: Path,
    resume: bool,
    overwrite: bool,
) -> None:
    """Simulate frames of detectors, crystals and faults drawn at random; write their evidence.

    A crystal is in the beam of half of them. A frame is a hit if at least 10 of its true spots can
    be seen in it, a miss if at most 2. `deepfreak train-screening` learns from the file. Frame i
    depends on the seed and i only. A run that was broken off goes on when the same command is given
    again.
    """
    import numpy as np

    from deepfreak import datasets as dataset
    from deepfreak.datasets.randomised import make_table, read_table
    from deepfreak.progress import progress

    try:
        with (
            dataset.worker_processes(workers) as executor,
            progress("simulating frames", count) as advance,
        ):
            make_table(
                count=count,
                seed=seed,
                out=out,
                family=family,
                without=without,
                executor=executor,
                overwrite=overwrite,
                resume=resume,
                advance=advance,
            )
    except KeyboardInterrupt:
        draft = dataset.draft_path(out)
        if not draft.exists():
            raise
        click.echo(
            f"deepfreak: interrupted; what is done is kept in {draft.name}: give the same command "
            "again to go on",
            err=True,
        )
        raise click.exceptions.Exit(130) from None
    label = read_table(out).label
    hits, misses = np.count_nonzero(label == 1), np.count_nonzero(label == 0)
    click.echo(
        f"{out}: {count} frames ({hits} hits, {misses} misses, {count - hits - misses} between)",
        err=True,
    )
