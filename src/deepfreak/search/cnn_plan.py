"""What a search for the network does, in the paper's words and in those of BOHB."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated, Any, Literal

from pydantic import Field

from deepfreak.networks import TOPOLOGIES, Configuration, Topology, Training
from deepfreak.search.samplers.bohb import BOHB
from deepfreak.search.samplers.hyperband import Hyperband
from deepfreak.search.space import Space
from deepfreak.search.tables import ITERATIONS, PUBLISHED_CODE, TABLE_10
from deepfreak.settings import Count, settings

SPACES: Mapping[str, Space] = {"table-10": TABLE_10, "published-code": PUBLISHED_CODE}


@settings
class Plan:
    """What a search does; the defaults are the paper's.

    Parameters
    ----------
    iterations
        Brackets of Hyperband.
    max_epochs
        The largest budget, in epochs.
    eta
        Ratio of budgets. The smallest is at least one epoch.
    space
        Table 10 as printed, or what the published code searches.
    filters
        Largest number of filters of a topology, for a smaller search. None for that of Table 9.
    precision
        Precision of the convolutions.
    normalise
        Normalisation by the statistics of the batch or of each image. By "batch", as in the paper,
        a network trained on small batches is evaluated by statistics that fit few images.
    seed
        Seed of the proposals and the trainings.
    """

    iterations: Count = ITERATIONS
    max_epochs: Count = 50
    eta: Annotated[float, Field(ge=2, allow_inf_nan=False)] = 3.0
    space: Literal["table-10", "published-code"] = "table-10"
    filters: Count | None = None
    precision: Literal["float32", "bf16"] = "float32"
    normalise: Literal["batch", "image"] = "batch"
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0

    @property
    def hyperband(self) -> Hyperband:
        """The budgets, in epochs."""
        return Hyperband(min_budget=1, max_budget=self.max_epochs, eta=self.eta)

    @property
    def sampler(self) -> BOHB:
        """What proposes the trainings."""
        return BOHB(
            space=SPACES[self.space],
            hyperband=self.hyperband,
            iterations=self.iterations,
            seed=self.seed,
        )

    @property
    def trials(self) -> int:
        """How many trainings there are."""
        return self.hyperband.trials(self.iterations)

    @property
    def epochs(self) -> int:
        """How many epochs are trained if none fails and each continues from its smaller budget."""
        total = 0
        for iteration in range(self.iterations):
            before = 0
            for budget, runs in self.hyperband.rungs(iteration):
                total += runs * (epochs_of(budget) - before)
                before = epochs_of(budget)
        return total

    def configuration(self, chosen: Mapping[str, Any]) -> Configuration:
        """Return the topology and training with `chosen` settings of the space."""
        return Configuration(
            topology=replace(
                narrowed(TOPOLOGIES[chosen["topology"]], self.filters), normalise=self.normalise
            ),
            training=Training(
                epochs=self.max_epochs,
                batch=chosen["batch_size"],
                learning_rate=chosen["learning_rate"],
                momentum=chosen["momentum"],
                weight_decay=chosen["weight_decay"],
                precision=self.precision,
            ),
        )


def narrowed(topology: Topology, filters: int | None) -> Topology:
    """Return `topology` with at most `filters` filters."""
    return (
        topology if filters is None else replace(topology, filters=min(topology.filters, filters))
    )


def lasting(training: Training, epochs: int) -> Training:
    """Return `training` for other `epochs`, of which a quarter at most are warm-up."""
    warmup_epochs = min(training.warmup_epochs, epochs / 4)
    return replace(training, epochs=epochs, warmup_epochs=warmup_epochs)


def epochs_of(budget: float) -> int:
    """Return the number of epochs of a budget."""
    return max(1, round(budget))
