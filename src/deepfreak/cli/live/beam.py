"""`deepfreak live beam`: the endless beam of a recipe."""

from typing import TYPE_CHECKING, Any

import click

from deepfreak.cli.command import Command, is_recipe
from deepfreak.cli.options import seed_option, workers_option
from deepfreak.cli.sessions import run_session, session_options, settings_from

if TYPE_CHECKING:
    from deepfreak.live.ledger import Ledger
    from deepfreak.live.messages import FrameSource


@click.command(cls=Command, extra="live")
@click.argument("recipe", callback=is_recipe)
@session_options
@click.option(
    "--rate", type=click.FloatRange(0, min_open=True), metavar="HZ",
    help="Shots a second; by default as many as can be simulated.",
)  # fmt: skip
@click.option("--count", type=click.IntRange(1), help="Shots; by default endless.")
@seed_option()
@workers_option("Processes that simulate.", default=1, flag="--simulators")
def beam(
    *,
    recipe: str,
    rate: float | None,
    count: int | None,
    seed: int,
    simulators: int,
    **options: Any,  # noqa: ANN401 -- of all kinds
) -> int:
    """Classify simulated shots live, without a detector.

    A rehearsal of everything that `watch` and `listen` do.
    """
    from deepfreak.datasets import worker_processes
    from deepfreak.live.receive.simulated import SimulatedSource, series_of
    from deepfreak.physics.recipe import load_recipe

    experiment = load_recipe(recipe)
    experiment.structure_factors()  # fills the cache before the workers ask for it
    with worker_processes(simulators) as executor:

        def source(ledger: "Ledger") -> "FrameSource":
            first = ledger.seen(series_of(experiment, seed=seed)).contiguous
            return SimulatedSource(
                experiment, seed=seed, rate_hz=rate, count=count, first=first, executor=executor
            )

        return run_session(settings_from(options), source, name=f"the beam of {recipe}")
