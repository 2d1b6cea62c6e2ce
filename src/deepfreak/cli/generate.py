"""`deepfreak generate`: labelled images into one file."""

from pathlib import Path

import click


@click.command()
@click.argument("recipe")
@click.option("--count", type=click.IntRange(1), required=True, help="How many images.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True)
@click.option(
    "--workers", type=click.IntRange(1), default=1, show_default=True, help="Processes to use."
)
@click.option("--out", type=click.Path(path_type=Path), required=True, help="HDF5 file to write.")
@click.option(
    "--structure",
    metavar="FILE_OR_ID",
    help="Crystal structure in place of the recipe's: a PDB, mmCIF or MTZ file, or the id of a PDB "
    "entry that `deepfreak fetch` has stored.",
)
@click.option(
    "--set",
    "changes",
    multiple=True,
    metavar="NAME=VALUE",
    help="Change a setting of the recipe: beam.wavelength_A=1.3; may be given several times.",
)
@click.option("--overwrite", is_flag=True, help="Replace OUT if it exists.")
def generate(
    recipe: str,
    count: int,
    seed: int,
    workers: int,
    out: Path,
    structure: str | None,
    changes: tuple[str, ...],
    overwrite: bool,
) -> None:
    """Simulate labelled images of RECIPE, a TOML file or the name of a shipped recipe.

    Image i depends on the recipe, the seed and i only.
    """
    import numpy as np

    from deepfreak import dataset
    from deepfreak.progress import progress
    from deepfreak.recipe import load_recipe

    experiment = load_recipe(recipe, structure=structure, changes=changes)
    with (
        dataset.worker_processes(min(workers, count)) as executor,
        progress(f"simulating {experiment.name}", count) as advance,
    ):
        dataset.generate(
            experiment,
            count=count,
            seed=seed,
            out=out,
            executor=executor,
            overwrite=overwrite,
            advance=advance,
        )
    with dataset.Dataset.open(out) as data:
        numbers = np.bincount(data.labels, minlength=len(data.classes))
    summary = ", ".join(f"{n} {name}" for name, n in zip(data.classes, numbers, strict=True))
    click.echo(f"{out}: {count} images ({summary})", err=True)
