"""What to try next, given what was found: the model's choice, or any setting at all."""

from collections import defaultdict
from collections.abc import Mapping
from typing import Annotated

import numpy as np
from pydantic import Field

from deepfreak.search.samplers.density import DensityPair
from deepfreak.search.space import Settings, Space, Value, Vector
from deepfreak.settings import Count, Fraction, Positive, settings


@settings
class Guidance:
    """How the model leads the search; the defaults are HpBandSter's.

    Parameters
    ----------
    good_percent
        How many of the settings tried at a budget count as good.
    candidates
        How many settings are drawn near the good ones, of which the most promising is tried.
    random_fraction
        How many suggestions are drawn from the whole space; with 1 the search is Hyperband.
    bandwidth_factor
        How much wider than its density's kernel candidates are drawn around a good setting.
    min_bandwidth
        Kernels are never narrower, so that something is left to draw when the good ones agree.
    min_points
        How many settings count as good at least; never fewer than one more than parameters, which
        is also how many bad ones a model needs.
    """

    good_percent: Annotated[int, Field(ge=1, le=99)] = 15
    candidates: Count = 64
    random_fraction: Fraction = 1 / 3
    bandwidth_factor: Positive = 3.0
    min_bandwidth: Positive = 1e-3
    min_points: Count = 1


class History:
    """Settings that were tried, and their losses, by budget."""

    def __init__(self, space: Space) -> None:
        self.space = space
        self._vectors: dict[float, list[Vector]] = defaultdict(list)
        self._losses: dict[float, list[float]] = defaultdict(list)

    def add(self, settings: Mapping[str, Value], budget: float, loss: float) -> None:
        """Take the loss of settings at a budget; infinite if they failed."""
        self._vectors[budget].append(self.space.vector(settings))
        self._losses[budget].append(loss)

    def model(self, guidance: Guidance, rng: np.random.Generator) -> DensityPair | None:
        """Return the densities at the largest budget at which enough was tried, if there is one."""
        for budget in sorted(self._vectors, reverse=True):
            pair = DensityPair.fit(
                np.array(self._vectors[budget]),
                np.array(self._losses[budget]),
                self.space.choices,
                min_points=max(guidance.min_points, len(self.space) + 1),
                good_percent=guidance.good_percent,
                min_bandwidth=guidance.min_bandwidth,
                rng=rng,
            )
            if pair is not None:
                return pair
        return None


def suggest(
    history: History, guidance: Guidance, rng: np.random.Generator
) -> tuple[Settings, bool]:
    """Return settings to try next, and whether the model chose them.

    Falkner et al. 2018, Algorithm 2.
    """
    space = history.space
    at_random = rng.random() < guidance.random_fraction
    model = None if at_random else history.model(guidance, rng)
    if model is None:
        return space.settings(space.draw(rng)), False
    candidates = model.good.around(rng, guidance.candidates, widened=guidance.bandwidth_factor)
    best = candidates[np.argmax(model.worth(candidates))]
    return space.settings(best), True
