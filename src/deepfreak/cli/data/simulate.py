"""`deepfreak data simulate`, `generate` and `randomise`: shots, labelled images and evidence."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from deepfreak.cli.command import Command, done, is_recipe, resumable
from deepfreak.cli.options import (
    dask_option,
    out_option,
    overwrite_option,
    recipe_options,
    resume_option,
    seed_option,
    take,
    workers_option,
)
from deepfreak.progress import progress

if TYPE_CHECKING:
    from concurrent.futures import Executor

_FORMATS = ("pgm", "png", "smv", "cbf", "tiff", "h5")


@click.command(cls=Command)
@click.argument("recipe", type=is_recipe)
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
    out: Path,
    count: int,
    workers: int,
    png: bool,
    **options: Any,  # noqa: ANN401 -- of `write_shots`, for example
) -> None:
    """Simulate shots of a recipe as detector files.

    RECIPE is a TOML file or the name of a shipped recipe. Shot i depends on the recipe, the seed
    and i only, and is image i of `deepfreak data generate`. The truth about each goes to
    shots.json.
    """
    from deepfreak.datasets import worker_processes
    from deepfreak.datasets.shots import choose_shots, write_shots
    from deepfreak.physics.recipe import load_recipe
    from deepfreak.reports.rings import write_preview

    experiment = load_recipe(recipe, **take(options, "structure", "changes"))
    shots = choose_shots(experiment, count=count, **take(options, "seed", "first", "only"))
    with (
        worker_processes(min(workers, count) if options["backend"] == "cpu" else 1) as executor,
        progress(f"simulating {experiment.name}", count) as advance,
    ):
        options |= {"executor": executor, "advance": advance}
        truth = write_shots(shots, out, draw_preview=write_preview if png else None, **options)
    done(
        f"{out}: {count} shots as {options['form']}; the truth about them is in {truth.name}",
        then=f"deepfreak classify {out}",
    )


def _splits(value: str) -> dict[str, int]:
    """Read `train=10,test=5`."""
    splits: dict[str, int] = {}
    for part in value.split(","):
        name, _, size = part.partition("=")
        if not size.strip().isdecimal() or name.strip() in splits:
            raise click.BadParameter(
                f"expected names and sizes such as train=10,test=5, found {value!r}"
            )
        splits[name.strip()] = int(size)
    return splits


def _shard(value: str) -> tuple[int, int]:
    """Read `2/5`."""
    k, slash, n = value.partition("/")
    if not (slash and k.isdecimal() and n.isdecimal() and 1 <= int(k) <= int(n)):
        raise click.BadParameter(f"expected K/N with 1 <= K <= N, such as 2/5, found {value!r}")
    return int(k), int(n)


@contextmanager
def _executor(dask: str | None, workers: int) -> Iterator[tuple["Executor | None", int]]:
    """Give where to work, and how many tasks to hand out at once."""
    from deepfreak import datasets as dataset

    if dask is None:
        with dataset.worker_processes(workers) as executor:
            yield executor, max(dataset.AHEAD, 4 * workers)
    else:
        with dataset.dask_cluster(dask) as (executor, threads):
            yield executor, max(dataset.AHEAD, 4 * threads)


@click.command(cls=Command)
@click.argument("recipe", type=is_recipe)
@click.option("--count", type=click.IntRange(1), help="Images.", show_default="the recipe's")
@seed_option(default=None, show_default="the recipe's, or 0")
@click.option(
    "--splits", type=_splits, metavar="NAME=N,...", help="Sizes of consecutive parts.",
    show_default="the recipe's, for its own count",
)  # fmt: skip
@click.option(
    "--shard", type=_shard, metavar="K/N", default="1/1",
    help="Make only part K of N, counted from 1; `deepfreak data join` joins them.",
)  # fmt: skip
@workers_option(default=1)
@dask_option
@out_option("HDF5 file to write.")
@recipe_options
@resume_option
@overwrite_option
def generate(*, recipe: str, out: Path, workers: int, dask: str | None, **options: Any) -> None:  # noqa: ANN401 -- of `generate`
    """Simulate labelled images into one file.

    RECIPE is a TOML file or the name of a shipped recipe. Image i depends on the recipe, the seed
    and i only. An interrupted run resumes when the same command is given again.
    """
    import numpy as np

    from deepfreak import datasets as dataset
    from deepfreak.physics.recipe import load_recipe

    experiment = load_recipe(recipe, **take(options, "structure", "changes"))
    plan = experiment.dataset
    if options["count"] is None:
        if plan is None:
            raise click.UsageError("Missing option '--count': the recipe has no [dataset] count.")
        options["count"] = plan.count
    if options["seed"] is None:
        options["seed"] = 0 if plan is None else plan.seed
    share = dataset.part_of(options["count"], options["shard"])[1]
    with (
        resumable(lambda: _kept_draft(out)),
        _executor(dask, min(workers, share)) as (executor, ahead),
        progress(f"simulating {experiment.name}", share) as advance,
    ):
        options |= {"executor": executor, "ahead": ahead, "advance": advance}
        dataset.generate(experiment, out=out, **options)
    with dataset.Dataset.open(out) as data:
        numbers = np.bincount(data.labels, minlength=len(data.classes))
    summary = ", ".join(f"{n} {name}" for name, n in zip(data.classes, numbers, strict=True))
    then = f"show {out}" if options["shard"] == (1, 1) else "join SHARDS --out FILE"
    done(f"{out}: {share} images ({summary})", then=f"deepfreak data {then}")


def _kept_draft(out: Path) -> str | None:
    """Return what is kept of a file that an interrupted run did not complete."""
    from deepfreak.datasets import draft_path

    draft = draft_path(out)
    return f"what is done is kept in {draft.name}" if draft.exists() else None


@click.command(cls=Command)
@click.option("--count", type=click.IntRange(1), required=True, help="Frames.")
@seed_option()
@click.option("--family", metavar="NAME", help="Only detectors of this family.")
@click.option("--without", multiple=True, metavar="NAME", help="Leave out a scatterer or a fault.")
@workers_option(default=1)
@out_option("HDF5 file to write.")
@resume_option
@overwrite_option
def randomise(*, count: int, out: Path, workers: int, **options: Any) -> None:  # noqa: ANN401 -- those of `make_table`
    """Simulate randomised frames into a table of evidence.

    Detectors, crystals and faults are drawn at random. A crystal is in the beam of half of the
    frames. A frame is a hit if at least 10 of its true spots can be seen in it, a miss if at most
    2. Frame i depends on the seed and i only. An interrupted run resumes when the same command is
    given again.
    """
    import numpy as np

    from deepfreak.datasets import worker_processes
    from deepfreak.datasets.randomised import make_table, read_table

    with (
        resumable(lambda: _kept_draft(out)),
        worker_processes(workers) as executor,
        progress("simulating frames", count) as advance,
    ):
        make_table(count=count, out=out, executor=executor, advance=advance, **options)
    label = read_table(out).label
    hits, misses = np.count_nonzero(label == 1), np.count_nonzero(label == 0)
    done(
        f"{out}: {count} frames ({hits} hits, {misses} misses, {count - hits - misses} between)",
        then=f"deepfreak model train {out} --out MODEL",
    )
