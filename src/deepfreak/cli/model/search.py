"""`deepfreak model search`: the settings of classifiers, chosen by trying."""

import math
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from deepfreak.cli.command import INPUT, OUTPUT_DIRECTORY, Group, done, is_recipe, log, resumable
from deepfreak.cli.from_settings import SettingsOptions
from deepfreak.cli.options import (
    dask_option,
    device_option,
    out_option,
    validation_option,
    workers_option,
)
from deepfreak.progress import progress

if TYPE_CHECKING:
    from collections.abc import Iterator

    from deepfreak.datasets import Dataset

CLASSICAL = SettingsOptions(
    "deepfreak.search.classical:Plan", "trials", "seed", "at_once", "trial_seconds"
)
CNN = SettingsOptions(
    "deepfreak.search.cnn_plan:Plan",
    "iterations", "max_epochs", "eta", "space", "filters", "precision", "normalise", "seed",
)  # fmt: skip


@click.group(cls=Group)
def search() -> None:
    """Search for the best settings of a classifier."""


@search.command(extra="search")
@click.argument("data", type=INPUT)
@out_option("Directory for journal, results and the best model.", directory=True)
@CLASSICAL
@workers_option()
@validation_option
@click.option(
    "--cache", type=OUTPUT_DIRECTORY, show_default="the user's cache",
    help="Directory for features; may be deleted at any time.",
)  # fmt: skip
@dask_option
@click.option("--overwrite", is_flag=True, help="Start again, whatever OUT holds.")
def classical(
    *,
    data: Path,
    out: Path,
    validation: Path | None,
    cache: Path | None,
    **options: Any,  # noqa: ANN401 -- those of the plan and of `search`
) -> None:
    """Search extractor and classifier together, by TPE.

    The space is the paper's Table 8. Learns from the split `train` of DATA and chooses on its split
    `validation`. The trials depend only on the images, the seed and --at-once. An interrupted
    search resumes when the same command is given again.
    """
    from deepfreak.features.cache import FeatureCache
    from deepfreak.models.evaluation import format_percent
    from deepfreak.reports.search import minutes
    from deepfreak.search.classical import search as search_classical
    from deepfreak.search.images import Images, accuracy_of
    from deepfreak.search.tables import describe

    with resumable(lambda: f"the trials that ended are kept in {out}"):
        results = search_classical(
            Images(data=data, real=validation),
            out,
            plan=CLASSICAL.take_settings(options),
            cache=FeatureCache() if cache is None else FeatureCache(cache),
            progress=progress,
            say=log.info,
            **options,
        )
    best, counts, seconds = results.best, results.counts, results.seconds
    if best is not None:
        click.echo(
            f"{out}: {format_percent(accuracy_of(best)).strip()} % by trial {best.number}, "
            f"{describe(best.settings)}"
        )
    click.echo(
        f"{counts['done']} trials, {counts['timed out']} timed out, {counts['failed']} failed; "
        f"extraction {minutes(seconds['extraction'])}, search {minutes(seconds['search'])}"
    )
    done(
        f"wrote {out}", then=f"open {out}/report.html; deepfreak model evaluate {out}/MODEL TEST.h5"
    )


@search.command(extra="networks")
@click.argument("data")
@out_option("Directory for journal, results and networks.", directory=True)
@validation_option
@CNN
@click.option(
    "--images", type=click.IntRange(1), help="Images of each split, at most; a smaller search."
)
@device_option
@click.option(
    "--time-limit", metavar="MINUTES", type=click.FloatRange(0),
    help="Start no training later than this; the same command resumes.",
)  # fmt: skip
@click.option(
    "--simulate", metavar="SEED", type=click.IntRange(0),
    help="DATA is a recipe: simulate its images in memory, on a GPU if there is one.",
)  # fmt: skip
@workers_option("Processes that simulate, without a GPU.")
def cnn(
    *,
    out: Path,
    images: int | None,
    device: str | None,
    time_limit: float | None,
    **options: Any,  # noqa: ANN401
) -> None:
    """Search a network's topology and training, by BOHB.

    The space is the paper's Table 10. Learns from the split `train` of DATA and chooses on its
    split `validation`. A training continues from its smaller budget. An interrupted search resumes
    when the same command is given again.
    """
    if options["simulate"] is None:
        INPUT.convert(options["data"], None, click.get_current_context())
    else:
        is_recipe(options["data"])
    from deepfreak.models.evaluation import format_percent
    from deepfreak.networks.figures import hours
    from deepfreak.search.cnn import search as search_cnn
    from deepfreak.search.images import accuracy_of, first_images

    plan = CNN.take_settings(options)
    with (
        _opened(images=images, **options) as (train, judged),
        resumable(lambda: f"the trainings that ended are kept in {out}"),
    ):
        results = search_cnn(
            first_images(train, images),
            first_images(judged, images),
            out,
            plan=plan,
            device=device,
            time_limit_s=math.inf if time_limit is None else 60 * time_limit,
            progress=progress,
            say=log.info,
        )
    for made in results.best:
        click.echo(
            f"{format_percent(accuracy_of(made)).strip()} % by {made.configuration}: "
            + ", ".join(f"{name} {value:.5g}" for name, value in made.settings.items())
        )
    found = results.to_json()
    ended = "all" if found["complete"] else "stopped by --time-limit:"
    click.echo(
        f"{out}: {ended} {len(found['evaluations'])} of {found['planned']} trainings, "
        f"{found['failed']} failed; {found['epochs_trained']} epochs, {hours(found['seconds'])}"
    )
    then = None if found["complete"] else "give the same command again to resume"
    done(f"wrote {out}", then=then)


@contextmanager
def _opened(
    *, data: str, validation: Path | None, simulate: int | None, images: int | None, workers: int
) -> "Iterator[tuple[Dataset, Dataset]]":
    """Give the images to learn and to choose by, from a file or simulated in memory."""
    from deepfreak.search.images import Images

    if simulate is None:
        with Images(data=Path(data), real=validation).open() as pair:
            yield pair
        return
    from deepfreak.datasets import Dataset
    from deepfreak.datasets.in_memory import rendered_splits
    from deepfreak.physics.recipe import load_recipe

    counts = {"train": images} | ({"validation": images} if validation is None else {})
    made = rendered_splits(
        load_recipe(data), seed=simulate, counts=counts, workers=workers, show=progress
    )
    if validation is None:
        yield made.split("train"), made.split("validation")
        return
    with Dataset.open(validation, split="validation") as judged:
        yield made.split("train"), judged
