"""`deepfreak data generate`: labelled images into one file."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from deepfreak.cli.command import Command, done, is_recipe, resumable
from deepfreak.cli.options import (
    dask_option,
    out_option,
    overwrite_option,
    recipe_options,
    resume_option,
    seed_option,
    workers_option,
)

if TYPE_CHECKING:
    from concurrent.futures import Executor


def _splits(
    _context: click.Context, _parameter: click.Parameter, value: str | None
) -> dict[str, int] | None:
    """Read `train=10,test=5`."""
    if value is None:
        return None
    splits: dict[str, int] = {}
    for part in value.split(","):
        name, _, size = part.partition("=")
        if not size.strip().isdecimal() or name.strip() in splits:
            raise click.BadParameter(
                f"expected names and sizes such as train=10,test=5, found {value!r}"
            )
        splits[name.strip()] = int(size)
    return splits


def _shard(
    _context: click.Context, _parameter: click.Parameter, value: str | None
) -> tuple[int, int]:
    """Read `2/5`."""
    if value is None:
        return (1, 1)
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
@click.argument("recipe", callback=is_recipe)
@click.option("--count", type=click.IntRange(1), help="Images.", show_default="the recipe's")
@seed_option(default=None, show_default="the recipe's, or 0")
@click.option(
    "--splits", callback=_splits, metavar="NAME=N,...", help="Sizes of consecutive parts.",
    show_default="the recipe's, for its own count",
)  # fmt: skip
@click.option(
    "--shard", callback=_shard, metavar="K/N",
    help="Make only part K of N, counted from 1; `deepfreak data join` joins them.",
)  # fmt: skip
@workers_option(default=1)
@dask_option
@out_option("HDF5 file to write.")
@recipe_options
@resume_option
@overwrite_option
def generate(
    *,
    recipe: str,
    count: int | None,
    seed: int | None,
    splits: dict[str, int] | None,
    shard: tuple[int, int],
    workers: int,
    dask: str | None,
    out: Path,
    structure: str | None,
    changes: tuple[str, ...],
    resume: bool,
    overwrite: bool,
) -> None:
    """Simulate labelled images into one file.

    RECIPE is a TOML file or the name of a shipped recipe. Image i depends on the recipe, the seed
    and i only. An interrupted run resumes when the same command is given again.
    """
    import numpy as np

    from deepfreak import datasets as dataset
    from deepfreak.physics.recipe import load_recipe
    from deepfreak.progress import progress

    experiment = load_recipe(recipe, structure=structure, changes=changes)
    plan = experiment.dataset
    if count is None and plan is None:
        raise click.UsageError("Missing option '--count': the recipe has no [dataset] count.")
    number = count if count is not None else plan.count if plan is not None else 0
    chosen_seed = seed if seed is not None else plan.seed if plan is not None else 0
    share = dataset.part_of(number, shard)[1]
    with (
        resumable(lambda: kept_draft(out)),
        _executor(dask, min(workers, share)) as (executor, ahead),
        progress(f"simulating {experiment.name}", share) as advance,
    ):
        dataset.generate(
            experiment,
            count=number,
            seed=chosen_seed,
            out=out,
            splits=splits,
            shard=shard,
            executor=executor,
            ahead=ahead,
            overwrite=overwrite,
            resume=resume,
            advance=advance,
        )
    with dataset.Dataset.open(out) as data:
        numbers = np.bincount(data.labels, minlength=len(data.classes))
    summary = ", ".join(f"{n} {name}" for name, n in zip(data.classes, numbers, strict=True))
    then = (
        f"deepfreak data show {out}" if shard == (1, 1) else "deepfreak data join SHARDS --out FILE"
    )
    done(f"{out}: {share} images ({summary})", then=then)


def kept_draft(out: Path) -> str | None:
    """Return what is kept of a file that an interrupted run did not complete."""
    from deepfreak.datasets import draft_path

    draft = draft_path(out)
    return f"what is done is kept in {draft.name}" if draft.exists() else None
