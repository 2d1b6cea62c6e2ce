"""`deepfreak data randomise`: the evidence of any crystal on any detector, into one file."""

from pathlib import Path

import click

from deepfreak.cli.command import Command, done, resumable
from deepfreak.cli.data.generate import kept_draft
from deepfreak.cli.options import (
    out_option,
    overwrite_option,
    resume_option,
    seed_option,
    workers_option,
)


@click.command(cls=Command)
@click.option("--count", type=click.IntRange(1), required=True, help="Frames.")
@seed_option()
@click.option("--family", metavar="NAME", help="Only detectors of this family.")
@click.option("--without", multiple=True, metavar="NAME", help="Leave out a scatterer or a fault.")
@workers_option(default=1)
@out_option("HDF5 file to write.")
@resume_option
@overwrite_option
def randomise(
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
    """Simulate randomised frames into a table of evidence.

    Detectors, crystals and faults are drawn at random. A crystal is in the beam of half of the
    frames. A frame is a hit if at least 10 of its true spots can be seen in it, a miss if at most
    2. Frame i depends on the seed and i only. An interrupted run resumes when the same command is
    given again.
    """
    import numpy as np

    from deepfreak.datasets import worker_processes
    from deepfreak.datasets.randomised import make_table, read_table
    from deepfreak.progress import progress

    with (
        resumable(lambda: kept_draft(out)),
        worker_processes(workers) as executor,
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
    label = read_table(out).label
    hits, misses = np.count_nonzero(label == 1), np.count_nonzero(label == 0)
    done(
        f"{out}: {count} frames ({hits} hits, {misses} misses, {count - hits - misses} between)",
        then=f"deepfreak model train {out} --out MODEL",
    )
