"""`python -m paper`: the paper's tables, made again beside the published figures."""

import shlex
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from deepfreak.processors import usable_processors

if TYPE_CHECKING:
    from paper.request import Request

FILE = click.Path(path_type=Path)
# What is not needed to make a record again.
_LEFT_OUT = {"data", "out", "work", "cache", "workers"}

Command = TypeVar("Command", bound=Callable[..., None])


@click.group()
def reproduce() -> None:
    """Make the tables of the DiffraNet paper again, each beside the published figures."""


def _shared(command: Command) -> Command:
    """Add what both commands take."""
    for option in (
        click.option("--cache", type=FILE, help="Directory of the features."),
        click.option(
            "--workers",
            type=click.IntRange(min=1),
            default=usable_processors,
            show_default="all usable cores",
            help="Processes and threads.",
        ),
        click.option(
            "--real-preprocessed", type=FILE, help="Preprocessed real images, of `data prepare`."
        ),
        click.option("--real", type=FILE, help="Raw real images, of `data prepare`."),
        click.option(
            "--work",
            type=FILE,
            default="paper-work",
            show_default=True,
            help="Directory of searches and trainings, which are resumed.",
        ),
        click.option(
            "--out",
            type=FILE,
            default="records",
            show_default=True,
            help="Where the record's own directory, <date>-<name>, is made.",
        ),
        click.argument("data", type=FILE),
    ):
        command = option(command)
    return command


@reproduce.command()
@_shared
@click.option("--trials", type=click.IntRange(1), default=150, show_default=True)
@click.option(
    "--trial-seconds", type=click.FloatRange(min=0, min_open=True), default=600.0,
    show_default=True, help="Time limit of a trial.",
)  # fmt: skip
@click.option(
    "--seeds", type=click.IntRange(1, 100), default=3, show_default=True,
    help="How many forests of each configuration.",
)  # fmt: skip
def classical(*, out: Path, trials: int, trial_seconds: float, seeds: int, **options: Any) -> None:  # noqa: ANN401
    """Make Tables 3, 4, 5, 12, 13 for forests and SVMs; DATA is DiffraNet, of `data generate`.

    With real images also Tables 7, 14 and 16. The record is written as Markdown, JSON and HTML.
    """
    from deepfreak.search.classical import Plan
    from paper.classical import make_record
    from paper.record import write_record

    record = make_record(
        _request(**options),
        Plan(trials=trials, trial_seconds=trial_seconds),
        seeds=seeds,
        command=_command(),
    )
    click.echo(write_record(record, out))


@reproduce.command()
@_shared
@click.option(
    "--scale", type=click.Choice(["cpu", "full"]), default="cpu", show_default=True,
    help="The paper's whole work, for days of a GPU, or a reduced one for hours of a CPU.",
)  # fmt: skip
@click.option(
    "--simulate", metavar="SEED", type=click.IntRange(0, 2**63 - 1),
    help="DATA is a recipe: simulate its images in memory, on a GPU where there is one.",
)  # fmt: skip
@click.option(
    "--set", "changes", multiple=True, metavar="NAME=VALUE", help="Change a setting of the recipe."
)
@click.option(
    "--networks", "only", metavar="NAMES",
    help="Which, in this order, with commas: of A, B, C, plain, ours.  [default: all]",
)  # fmt: skip
@click.option("--no-baselines", is_flag=True, help="Train neither the forest nor the SVM.")
@click.option("--epochs", type=click.IntRange(1), help="Of each configuration of the paper.")
@click.option("--our-epochs", type=click.IntRange(1), help="Of our network.")
@click.option("--runs", type=click.IntRange(1), help="Of each of the configurations A, B, C.")
@click.option("--images", "train", type=click.IntRange(1), help="Training images at most.")
@click.option("--validation-images", "validation", type=click.IntRange(1), help="At most.")
@click.option("--test-images", "test", type=click.IntRange(1), help="At most.")
@click.option("--filters", type=click.IntRange(1), help="Filters of a topology at most.")
@click.option(
    "--batch", type=click.IntRange(1),
    help="Of the paper's networks, which then normalise each image by itself.",
)  # fmt: skip
@click.option(
    "--normalise", type=click.Choice(["batch", "image"]),
    help="Normalisation of the paper's networks.",
)  # fmt: skip
@click.option(
    "--precision", type=click.Choice(["float32", "bf16"]), help="Of the paper's networks."
)
@click.option("--device", help="Such as cpu or cuda.", show_default="a GPU where there is one")
@click.option(
    "--time-limit", "time_limit_min", metavar="MINUTES", type=click.FloatRange(0),
    help="Begin no training later; the same command resumes.",
)  # fmt: skip
@click.option(
    "--search-minutes", "search_min", type=click.FloatRange(0),
    help="Also search for the network, for Table 11.",
)  # fmt: skip
@click.option("--search-epochs", type=click.IntRange(1), help="Largest budget of the search.")
@click.option("--search-brackets", type=click.IntRange(1), help="Iterations of the search.")
@click.option(
    "--search", metavar="DIR", type=FILE, help="A finished search for the network, for Table 11."
)
@click.option("--search-raw", metavar="DIR", type=FILE, help="One on raw images, for Table 15.")
@click.option(
    "--search-preprocessed", metavar="DIR", type=FILE,
    help="One on preprocessed images, for Table 17.",
)  # fmt: skip
def networks(
    *,
    data: Path,
    out: Path,
    work: Path,
    real: Path | None,
    real_preprocessed: Path | None,
    workers: int,
    cache: Path | None,
    scale: str,
    simulate: int | None,
    changes: tuple[str, ...],
    only: str | None,
    no_baselines: bool,
    device: str | None,
    search: Path | None,
    search_raw: Path | None,
    search_preprocessed: Path | None,
    **settings: Any,  # noqa: ANN401 -- of `Plan`
) -> None:
    """Make Fig. 3 and 4, Tables 5, 6, 11 and section 4.3; DATA is DiffraNet, or its recipe.

    With real images also Tables 7, 15 and 17. The first line of the record says its scale.
    """
    from pydantic import ValidationError

    from deepfreak.physics.recipe import load_recipe
    from deepfreak.search.cnn_results import read_results
    from deepfreak.settings import one_line
    from paper.images import Simulated
    from paper.networks import CPU_SCALE, FULL_SCALE, make_record
    from paper.record import write_record

    searches = {"synthetic": search, "raw": search_raw, "preprocessed": search_preprocessed}
    given = {name: value for name, value in settings.items() if value is not None}
    if only is not None:
        given["networks"] = tuple(only.split(","))
    try:
        plan = replace(
            FULL_SCALE if scale == "full" else CPU_SCALE, baselines=not no_baselines, **given
        )
    except ValidationError as error:
        raise click.UsageError(one_line(error)) from error
    simulated = None
    if simulate is not None:
        experiment = load_recipe(data, changes=changes)
        simulated = Simulated(experiment=experiment, seed=simulate)
    record = make_record(
        _request(
            data=data,
            work=work,
            real=real,
            real_preprocessed=real_preprocessed,
            workers=workers,
            cache=cache,
        ),
        plan,
        command=_command(),
        device=device,
        simulated=simulated,
        searches={name: read_results(path) for name, path in searches.items() if path is not None},
    )
    click.echo(write_record(record, out))


def _request(
    *,
    data: Path,
    work: Path,
    real: Path | None,
    real_preprocessed: Path | None,
    workers: int,
    cache: Path | None,
) -> "Request":
    from deepfreak.features.cache import FeatureCache
    from deepfreak.progress import progress
    from paper.request import Request

    variants = {"raw": real, "preprocessed": real_preprocessed}
    return Request(
        data=data,
        work=work,
        cache=FeatureCache() if cache is None else FeatureCache(cache),
        real={variant: path for variant, path in variants.items() if path is not None},
        workers=workers,
        progress=progress,
        say=lambda line: click.echo(line, err=True),
    )


def _command() -> str:
    """Return the command that is run, with file names without their directories."""
    context = click.get_current_context()
    words = [str(context.info_name), context.params["data"].name]
    for option in context.command.params:
        value = context.params[str(option.name)]
        if option.name not in _LEFT_OUT and not (value is None or value is False or value == ()):
            for each in value if isinstance(value, tuple) else (value,):
                shown = each.name if isinstance(each, Path) else str(each)
                words += [option.opts[0]] if each is True else [option.opts[0], shown]
    return f"python -m paper {shlex.join(words)}"
