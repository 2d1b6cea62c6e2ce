"""`deepfreak beam`: the endless beam of a recipe, live."""

from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import click

from deepfreak.cli.live_options import live_options, run_session, settings_from

if TYPE_CHECKING:
    from deepfreak.live.messages import FrameSource
    from deepfreak.live.results.ledger import Ledger


@click.command()
@click.argument("recipe")
@live_options
@click.option(
    "--rate", type=click.FloatRange(0, min_open=True), metavar="HZ",
    help="Shots a second; without it, as many as can be simulated.",
)  # fmt: skip
@click.option("--count", type=click.IntRange(1), help="How many; without it, endlessly.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True)
@click.option(
    "--simulators", type=click.IntRange(1), default=1, show_default=True,
    help="Processes that simulate.",
)  # fmt: skip
def beam(
    *,
    recipe: str,
    rate: float | None,
    count: int | None,
    seed: int,
    simulators: int,
    **options: Any,  # noqa: ANN401 -- of all kinds
) -> int:
    """Judge the shots of RECIPE as they are simulated: a trial of everything without a detector."""
    from deepfreak.datasets import worker_processes
    from deepfreak.live.receive.simulated import SimulatedSource, series_of
    from deepfreak.physics.recipe import load_recipe

    experiment = load_recipe(recipe)
    experiment.structure_factors()  # fills the cache before the workers ask for it
    with ExitStack() as stack:
        executor = stack.enter_context(worker_processes(simulators))

        def source(ledger: "Ledger") -> "FrameSource":
            first = ledger.seen(series_of(experiment, seed=seed)).contiguous
            return SimulatedSource(
                experiment, seed=seed, rate_hz=rate, count=count, first=first, executor=executor
            )

        return run_session(settings_from(options), source, name=f"the beam of {recipe}")
