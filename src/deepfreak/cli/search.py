"""`deepfreak search`: the settings of classifiers, chosen by trying."""

from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from deepfreak.processors import usable_processors

if TYPE_CHECKING:
    from collections.abc import Iterator

    from deepfreak.datasets import Dataset


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
    "--workers", type=click.IntRange(1), default=usable_processors, show_default="all usable cores",
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
    from deepfreak.features.cache import FeatureCache
    from deepfreak.models.evaluation import format_percent
    from deepfreak.progress import progress
    from deepfreak.reports.search import minutes
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


@search.command()
@click.argument("data")
@click.option(
    "--out", type=click.Path(path_type=Path), required=True,
    help="Folder for the journal, the results and the networks.",
)  # fmt: skip
@click.option(
    "--validation", metavar="REAL.h5", type=click.Path(path_type=Path),
    help="Choose on the split `validation` of this set of real images, in two groups of classes.",
)  # fmt: skip
@click.option("--iterations", type=click.IntRange(1), default=16, show_default=True)
@click.option(
    "--max-epochs", type=click.IntRange(1), default=50, show_default=True,
    help="The largest budget.",
)  # fmt: skip
@click.option(
    "--eta", type=click.FloatRange(2), default=3.0, show_default=True, help="Ratio of budgets."
)
@click.option(
    "--space", type=click.Choice(["table-10", "published-code"]), default="table-10",
    show_default=True, help="The paper's table, or what its authors' code searches.",
)  # fmt: skip
@click.option(
    "--images",
    type=click.IntRange(1),
    help="At most so many images of each split; a smaller search.",
)
@click.option(
    "--filters",
    type=click.IntRange(1),
    help="At most so many filters a topology; a smaller search.",
)
@click.option(
    "--precision", type=click.Choice(["float32", "bf16"]), default="float32", show_default=True,
    help="Of the convolutions.",
)  # fmt: skip
@click.option(
    "--normalise", type=click.Choice(["batch", "image"]), default="batch", show_default=True,
    help="By what; by image is what batches of one learn, and what they are judged by then.",
)  # fmt: skip
@click.option("--seed", type=click.IntRange(0, 2**32 - 1), default=0, show_default=True)
@click.option("--device", help="Such as cpu or cuda.", show_default="a GPU where there is one")
@click.option(
    "--time-limit", metavar="MINUTES", type=click.FloatRange(0),
    help="Begin no training later; the same command goes on.",
)  # fmt: skip
@click.option(
    "--simulate", metavar="SEED", type=click.IntRange(0, 2**63 - 1),
    help="DATA is a recipe: simulate its images in memory, on a GPU where there is one.",
)  # fmt: skip
@click.option(
    "--workers", type=click.IntRange(1), default=usable_processors, show_default="all usable cores",
    help="Processes that simulate, where there is no GPU.",
)  # fmt: skip
def cnn(
    *,
    data: str,
    out: Path,
    validation: Path | None,
    iterations: int,
    max_epochs: int,
    eta: float,
    space: Any,  # noqa: ANN401 -- one of two names
    images: int | None,
    filters: int | None,
    precision: Any,  # noqa: ANN401 -- one of two names
    normalise: Any,  # noqa: ANN401 -- one of two names
    seed: int,
    device: str | None,
    time_limit: float | None,
    simulate: int | None,
    workers: int,
) -> None:
    """Choose the network's topology and training, by BOHB over the paper's Table 10.

    Learns from the split `train` of DATA and judges on its split `validation`. A training goes on
    from its smaller budget, and a search that was broken off, however roughly, from its journal
    when the same command is given again.
    """
    import math

    from deepfreak.models.evaluation import format_percent
    from deepfreak.progress import progress
    from deepfreak.reports.networks import hours
    from deepfreak.search.cnn import first_images
    from deepfreak.search.cnn import search as search_cnn
    from deepfreak.search.cnn_plan import Plan
    from deepfreak.search.cnn_results import proportion_of

    plan = Plan(
        iterations=iterations,
        max_epochs=max_epochs,
        eta=eta,
        space=space,
        filters=filters,
        precision=precision,
        normalise=normalise,
        seed=seed,
    )
    with _opened(data, validation, simulate=simulate, images=images, workers=workers) as (
        train,
        judged,
    ):
        try:
            results = search_cnn(
                first_images(train, images),
                first_images(judged, images),
                out,
                plan=plan,
                device=device,
                time_limit_s=math.inf if time_limit is None else 60 * time_limit,
                progress=progress,
                say=lambda line: click.echo(line, err=True),
            )
        except KeyboardInterrupt:
            click.echo(
                f"deepfreak: interrupted; the trainings that ended are kept in {out}: give the "
                "same command again to go on",
                err=True,
            )
            raise click.exceptions.Exit(130) from None
    for made in results.best:
        click.echo(
            f"{format_percent(proportion_of(made)).strip()} % by {made.configuration}: "
            + ", ".join(f"{name} {value:.5g}" for name, value in made.settings.items())
        )
    found = results.to_json()
    ended = "all" if found["complete"] else "broken off by --time-limit:"
    click.echo(
        f"{out}: {ended} {len(found['evaluations'])} of {found['planned']} trainings, "
        f"{found['failed']} failed; {found['epochs_trained']} epochs, {hours(found['seconds'])}"
    )


@contextmanager
def _opened(
    data: str, real: Path | None, *, simulate: int | None, images: int | None, workers: int
) -> "Iterator[tuple[Dataset, Dataset]]":
    """Give the images to learn and to choose by, of a file or simulated in memory."""
    from deepfreak.search.trial import Images

    if simulate is None:
        with Images(data=Path(data), real=real).open() as pair:
            yield pair
        return
    from deepfreak.datasets import Dataset
    from deepfreak.datasets.in_memory import rendered_splits
    from deepfreak.physics.recipe import load_recipe
    from deepfreak.progress import progress

    counts = {"train": images, **({} if real is not None else {"validation": images})}
    made = rendered_splits(
        load_recipe(data), seed=simulate, counts=counts, workers=workers, show=progress
    )
    if real is None:
        yield made.split("train"), made.split("validation")
        return
    with Dataset.open(real, split="validation") as judged:
        yield made.split("train"), judged
