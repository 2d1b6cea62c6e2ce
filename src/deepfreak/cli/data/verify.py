"""`deepfreak data verify`: whether a data set is what its manifest says."""

from pathlib import Path

import click

from deepfreak.cli.command import INPUT, Command
from deepfreak.cli.options import workers_option


@click.command(cls=Command)
@click.argument("data", type=INPUT)
@click.option(
    "--sample", type=click.IntRange(0), default=20, show_default=True,
    help="Images, chosen at random, to simulate again.",
)  # fmt: skip
@click.option("--full", is_flag=True, help="Simulate all images again.")
@workers_option(default=1)
def verify(*, data: Path, sample: int, full: bool, workers: int) -> None:
    """Verify a data set against its manifest.

    Images, labels and truth are hashed, and a sample is simulated again: equal bytes on the
    versions and processor features that made it, elsewhere at most 1e-4 of the pixels off by one.
    Prints one line for each problem and exits with 2 if there is any; otherwise says whether this
    is the released data set, or why not.
    """
    import numpy as np

    from deepfreak import datasets as dataset
    from deepfreak.datasets.verifying import RELEASED_NAME, why_not_released
    from deepfreak.errors import DatasetError
    from deepfreak.progress import progress

    with dataset.Dataset.open(data) as opened:
        count, manifest = len(opened), opened.manifest
    with (
        dataset.worker_processes(workers) as executor,
        progress(f"reading {data.name}", count) as advance,
    ):
        proof = dataset.verify(
            data,
            rng=np.random.default_rng(),  # a sample that cannot be predicted
            sample=count if full else sample,
            executor=executor,
            advance=advance,
        )
    for problem in proof.problems:
        click.echo(f"{data}: {problem}", err=True)
    if proof.rule is not None:
        again = f"; {proof.simulated} simulated again, compared by {proof.rule} ({proof.reason})"
    else:
        again = "; none simulated again"
    if proof.problems:
        raise click.exceptions.Exit(DatasetError.exit_code)
    click.echo(f"{data}: {proof.images} images are what the manifest says{again}")
    why = why_not_released(manifest)
    click.echo(f"this is not {RELEASED_NAME}: {why}" if why else f"this is {RELEASED_NAME}")
