"""`deepfreak data simulate`: shots as detector files."""

from pathlib import Path
from typing import Literal

import click

from deepfreak.cli.command import Command, done, is_recipe
from deepfreak.cli.options import (
    out_option,
    overwrite_option,
    recipe_options,
    seed_option,
    workers_option,
)

_FORMATS = ("pgm", "png", "smv", "cbf", "tiff", "h5")


@click.command(cls=Command)
@click.argument("recipe", callback=is_recipe)
@click.option("--count", type=click.IntRange(1), default=1, show_default=True, help="Shots.")
@seed_option()
@click.option(
    "--first", type=click.IntRange(0), default=0, show_default=True,
    help="Number of the first shot in the series of that seed.",
)  # fmt: skip
@click.option("--class", "only", metavar="NAME", help="Only shots of this class.")
@out_option("Directory to write to.", directory=True, default=Path("shots"))
@click.option(
    "--format", "form", type=click.Choice(_FORMATS), default="cbf", show_default=True,
    help="pgm and png: the 8-bit square root; smv, cbf, tiff: counts; h5: counts, all in one file.",
)  # fmt: skip
@click.option("--noiseless", is_flag=True, help="Expected photons (tiff and h5).")
@click.option("--png", is_flag=True, help="Also draw each shot with resolution rings.")
@recipe_options
@workers_option(default=1)
@click.option("--backend", type=click.Choice(("cpu", "gpu")), default="cpu", show_default=True)
@overwrite_option
def simulate(
    *,
    recipe: str,
    count: int,
    seed: int,
    first: int,
    only: str | None,
    out: Path,
    form: Literal["pgm", "png", "smv", "cbf", "tiff", "h5"],
    noiseless: bool,
    png: bool,
    changes: tuple[str, ...],
    structure: str | None,
    workers: int,
    backend: Literal["cpu", "gpu"],
    overwrite: bool,
) -> None:
    """Simulate shots of a recipe as detector files.

    RECIPE is a TOML file or the name of a shipped recipe. Shot i depends on the recipe, the seed
    and i only, and is image i of `deepfreak data generate`. The truth about each goes to
    shots.json.
    """
    from deepfreak.datasets import worker_processes
    from deepfreak.datasets.shots import choose_shots, write_shots
    from deepfreak.physics.recipe import load_recipe
    from deepfreak.progress import progress
    from deepfreak.reports.rings import write_preview

    experiment = load_recipe(recipe, structure=structure, changes=changes)
    shots = choose_shots(experiment, seed=seed, first=first, count=count, only=only)
    with (
        worker_processes(min(workers, count) if backend == "cpu" else 1) as executor,
        progress(f"simulating {experiment.name}", count) as advance,
    ):
        truth = write_shots(
            shots,
            out,
            form=form,
            noiseless=noiseless,
            backend=backend,
            draw_preview=write_preview if png else None,
            executor=executor,
            overwrite=overwrite,
            advance=advance,
        )
    done(
        f"{out}: {count} shots as {form}; the truth about them is in {truth.name}",
        then=f"deepfreak classify {out}",
    )
