"""`deepfreak search`: the settings of classifiers, chosen by trying."""

import os
from pathlib import Path

import click


@click.group()
def search() -> None:
    """Search for the settings of classifiers."""


@search.command()
@click.argument("data", type=click.Path(path_type=Path))
@click.option(
    "--out", type=click.Path(path_type=Path), required=True,
    help="Folder for the journal, the results and the best model.",
)  # fmt: skip
@click.option("--trials", type=click.IntRange(1), default=150, show_default=True)
@click.option(
    "--workers", type=click.IntRange(1), default=os.cpu_count() or 1, show_default="all cores",
    help="Processes to use.",
)  # fmt: skip
@click.option("--seed", type=click.IntRange(0, 2**32 - 1), default=0, show_default=True)
@click.option(
    "--validation", metavar="REAL.h5", type=click.Path(path_type=Path),
    help="Choose on the split `validation` of this set of real images; learn two classes.",
)  # fmt: skip
@click.option(
    "--trial-seconds", type=click.FloatRange(0, min_open=True), default=600, show_default=True,
    help="After how long a trial is ended.",
)  # fmt: skip
@click.option(
    "--at-once", type=click.IntRange(1), default=8, show_default=True,
    help="How many trials may be under way, however many workers there are.",
)  # fmt: skip
@click.option(
    "--cache", type=click.Path(path_type=Path), show_default="the user's cache",
    help="Folder for features; may be deleted at any time.",
)  # fmt: skip
@click.option(
    "--dask", metavar="ADDRESS", help="Scheduler of a Dask cluster to use in place of processes."
)
@click.option("--overwrite", is_flag=True, help="Begin anew, whatever OUT holds.")
def classical(
    *,
    data: Path,
    out: Path,
    trials: int,
    workers: int,
    seed: int,
    validation: Path | None,
    trial_seconds: float,
    at_once: int,
    cache: Path | None,
    dask: str | None,
    overwrite: bool,
) -> None:
    """Choose extractor and classifier together, by TPE over the paper's Table 8.

    Learns from the split `train` of DATA and judges on its split `validation`. Which trials there
    are depends on the images, the seed and --at-once only. A search that was broken off, however
    roughly, goes on where it was when the same command is given again.
    """
    from deepfreak.evaluation import format_percent
    from deepfreak.features.cache import FeatureCache
    from deepfreak.progress import progress
    from deepfreak.report.search import minutes
    from deepfreak.search.classical import Plan
    from deepfreak.search.classical import search as search_classical
    from deepfreak.search.space import describe
    from deepfreak.search.trial import Images

    try:
        results = search_classical(
            Images(data=data, real=validation),
            out,
            plan=Plan(trials=trials, seed=seed, at_once=at_once, trial_seconds=trial_seconds),
            cache=FeatureCache() if cache is None else FeatureCache(cache),
            workers=workers,
            dask=dask,
            overwrite=overwrite,
            progress=progress,
            say=lambda line: click.echo(line, err=True),
        )
    except KeyboardInterrupt:
        click.echo(
            f"deepfreak: interrupted; the trials that ended are kept in {out}: give the same "
            "command again to go on",
            err=True,
        )
        raise click.exceptions.Exit(130) from None
    best, counts, seconds = results.best, results.counts, results.seconds
    if best is not None and best.outcome is not None:
        click.echo(
            f"{out}: {format_percent(best.outcome.accuracy).strip()} % by trial {best.number}, "
            f"{describe(best.picks)}"
        )
    click.echo(
        f"{counts['done']} trials, {counts['bound']} hit the bound, {counts['failed']} failed; "
        f"extraction {minutes(seconds['extraction'])}, search {minutes(seconds['search'])}"
    )
