"""`deepfreak vary`: images of any crystal on any detector into one file."""

from pathlib import Path

import click


@click.command()
@click.option("--count", type=click.IntRange(1), required=True, help="How many images.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True)
@click.option(
    "--workers", type=click.IntRange(1), default=1, show_default=True, help="Processes to use."
)
@click.option("--out", type=click.Path(path_type=Path), required=True, help="HDF5 file to write.")
@click.option("--resume", is_flag=True, help="Only go on with what an earlier run has left.")
@click.option(
    "--overwrite", is_flag=True, help="Replace OUT if it exists, and what another run has left."
)
def vary(*, count: int, seed: int, workers: int, out: Path, resume: bool, overwrite: bool) -> None:
    """Simulate images of crystals, beams, surroundings and detectors drawn at random.

    Half of them show diffraction, the others anything else: ice, powders, streaks, halos, lone
    pixels. `deepfreak fit --also` lets a network learn from them. Image i depends on the seed and
    i only. A run that was broken off goes on when the same command is given again.
    """
    import numpy as np

    from deepfreak import dataset
    from deepfreak.progress import progress
    from deepfreak.varied import generate_varied

    try:
        with (
            dataset.worker_processes(workers) as executor,
            progress("simulating varied images", count) as advance,
        ):
            generate_varied(
                count=count,
                seed=seed,
                out=out,
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
    with dataset.Dataset.open(out) as data:
        numbers = np.bincount(data.labels, minlength=len(data.classes))
    summary = ", ".join(f"{n} {name}" for name, n in zip(data.classes, numbers, strict=True))
    click.echo(f"{out}: {count} images ({summary})", err=True)
