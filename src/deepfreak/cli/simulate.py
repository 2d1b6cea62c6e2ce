"""`deepfreak simulate`: shots as detector files."""

from pathlib import Path
from typing import Literal

import click

_FORMATS = ("pgm", "png", "smv", "cbf", "tiff", "h5")


@click.command()
@click.argument("recipe")
@click.option("--count", type=click.IntRange(1), default=1, show_default=True, help="How many.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True)
@click.option(
    "--first",
    type=click.IntRange(0),
    default=0,
    show_default=True,
    help="Number of the first shot in the series that the seed names.",
)
@click.option("--class", "only", metavar="NAME", help="Take shots of this class only.")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default=Path("shots"),
    show_default=True,
    help="Folder to write to.",
)
@click.option(
    "--format",
    "form",
    type=click.Choice(_FORMATS),
    default="cbf",
    show_default=True,
    help="pgm and png: the 8-bit square root; smv, cbf, tiff: counts; h5: counts, all in one file.",
)
@click.option("--noiseless", is_flag=True, help="Expected photons (tiff and h5).")
@click.option("--png", is_flag=True, help="Beside each shot a picture with resolution rings.")
@click.option(
    "--set",
    "changes",
    multiple=True,
    metavar="NAME=VALUE",
    help="Change a setting of the recipe: beam.wavelength_A=1.3; may be given several times.",
)
@click.option(
    "--structure",
    metavar="FILE_OR_ID",
    help="Crystal structure in place of the recipe's: a PDB, mmCIF or MTZ file, or the id of a PDB "
    "entry that `deepfreak fetch` has stored.",
)
@click.option(
    "--workers", type=click.IntRange(1), default=1, show_default=True, help="Processes to use."
)
@click.option("--backend", type=click.Choice(("cpu", "gpu")), default="cpu", show_default=True)
@click.option("--overwrite", is_flag=True, help="Replace files that are there already.")
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
    """Render shots of RECIPE, a TOML file or the name of a shipped recipe, into files.

    Shot i depends on the recipe, the seed and i only, and is image i of `deepfreak generate`. The
    truth about each goes to shots.json beside them.
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
    click.echo(f"{out}: {count} shots as {form}; the truth about them is in {truth.name}", err=True)
