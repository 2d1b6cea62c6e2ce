"""`python -m paper`: the paper's tables, made again beside the published figures, in a checkout."""

import shlex
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from deepfreak.cli import main as run
from deepfreak.cli.from_settings import SettingsOptions, one_line_errors
from deepfreak.cli.options import device_option, take, workers_option
from deepfreak.progress import progress

if TYPE_CHECKING:
    from paper.record import Request

FILE = click.Path(path_type=Path)
PLAN = SettingsOptions(
    "paper.networks:Plan", "epochs", "our_epochs", "runs", "train=images",
    "validation=validation_images", "test=test_images", "filters", "batch", "normalise",
    "precision", "time_limit_min=time_limit", "search_min=search_minutes", "search_epochs",
    "search_brackets", default="the scale's",
)  # fmt: skip
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
        workers_option("Processes and threads."),
        click.option(
            "--real-preprocessed", type=FILE, help="Preprocessed real images, of `data prepare`."
        ),
        click.option("--real", type=FILE, help="Raw real images, of `data prepare`."),
        click.option(
            "--work", type=FILE, default="paper-work", show_default=True,
            help="Directory of searches and trainings, which are resumed.",
        ),
        click.option(
            "--out", type=FILE, default="records", show_default=True,
            help="Where the record's own directory, <date>-<name>, is made.",
        ),
        click.argument("data", type=FILE),
    ):  # fmt: skip
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
def classical(*, out: Path, seeds: int, **options: Any) -> None:  # noqa: ANN401 -- of all kinds
    """Make Tables 3, 4, 5, 12, 13 for forests and SVMs; DATA is DiffraNet, of `data generate`.

    With real images also Tables 7, 14 and 16. The record is written as Markdown, JSON and HTML.
    """
    from deepfreak.search.classical import Plan
    from paper.classical import make_record
    from paper.record import write_record

    plan = Plan(**take(options, "trials", "trial_seconds"))
    record = make_record(_request(**options), plan, seeds=seeds, command=_command())
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
@PLAN
@device_option
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
    out: Path,
    scale: str,
    only: str | None,
    no_baselines: bool,
    device: str | None,
    **options: Any,  # noqa: ANN401 -- of all kinds
) -> None:
    """Make Fig. 3 and 4, Tables 5, 6, 11 and section 4.3; DATA is DiffraNet, or its recipe.

    With real images also Tables 7, 15 and 17. The first line of the record says its scale.
    """
    from deepfreak.physics.recipe import load_recipe
    from deepfreak.search.cnn import read_results
    from paper.networks import CPU_SCALE, FULL_SCALE, make_record
    from paper.record import write_record
    from paper.trainings import Simulated

    given = PLAN.take(options) | ({} if only is None else {"networks": tuple(only.split(","))})
    with one_line_errors():
        scaled = FULL_SCALE if scale == "full" else CPU_SCALE
        plan = replace(scaled, baselines=not no_baselines, **given)
    searches = {
        "synthetic": options.pop("search"),
        "raw": options.pop("search_raw"),
        "preprocessed": options.pop("search_preprocessed"),
    }
    simulate, changes = options.pop("simulate"), options.pop("changes")
    simulated = None
    if simulate is not None:
        experiment = load_recipe(options["data"], changes=changes)
        simulated = Simulated(experiment=experiment, seed=simulate)
    record = make_record(
        _request(**options),
        plan,
        command=_command(),
        device=device,
        simulated=simulated,
        searches={name: read_results(path) for name, path in searches.items() if path is not None},
    )
    click.echo(write_record(record, out))


def _request(
    *,
    cache: Path | None,
    real: Path | None,
    real_preprocessed: Path | None,
    **options: Any,  # noqa: ANN401 -- of `Request`
) -> "Request":
    from deepfreak.features.cache import FeatureCache
    from paper.record import Request

    variants = {"raw": real, "preprocessed": real_preprocessed}
    return Request(
        cache=FeatureCache() if cache is None else FeatureCache(cache),
        real={variant: path for variant, path in variants.items() if path is not None},
        progress=progress,
        say=lambda line: click.echo(line, err=True),
        **options,
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


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    return run(argv, commands=reproduce, name="python -m paper")


if __name__ == "__main__":
    sys.exit(main())
