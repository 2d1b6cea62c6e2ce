"""BOHB: Hyperband's budgets, with settings that a model of the outcomes suggests."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Annotated, Any

import numpy as np
from pydantic import Field

from deepfreak.search.samplers.density import DensityPair
from deepfreak.search.samplers.hyperband import Hyperband, Run, next_run
from deepfreak.search.space import Settings, Space
from deepfreak.search.trial import Trial
from deepfreak.settings import Count, Fraction, Positive, settings


@settings
class Guidance:
    """How the model guides the search; the defaults are HpBandSter's.

    Parameters
    ----------
    good_percent
        Which part of the settings tried at a budget counts as good.
    candidates
        How many settings are drawn near the good ones; the most promising is tried.
    random_fraction
        Which part of the suggestions is drawn from the whole space.
    bandwidth_factor
        How much wider than the kernels of the density candidates are drawn around good settings.
    min_bandwidth
        Kernels are never narrower, so that draws still vary when the good settings agree.
    min_points
        How many settings count as good at least; never fewer than one more than there are
        parameters. A model needs as many bad ones.
    """

    good_percent: Annotated[int, Field(ge=1, le=99)] = 15
    candidates: Count = 64
    random_fraction: Fraction = 1 / 3
    bandwidth_factor: Positive = 3.0
    min_bandwidth: Positive = 1e-3
    min_points: Count = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class BOHB:
    """Hyperband's budgets, a model's settings (Falkner, Klein and Hutter 2018).

    With more `iterations`, which are brackets, a finished search can be resumed. With a guidance of
    `random_fraction` 1 it is Hyperband; that with equal budgets is random search.
    """

    space: Space
    hyperband: Hyperband
    iterations: int
    seed: int = 0
    guidance: Guidance = field(default_factory=Guidance)

    def identity(self) -> dict[str, Any]:
        """Return all that decides what it proposes, but for the iterations, which may grow."""
        return {
            "sampler": "BOHB",
            "space": self.space.description(),
            "hyperband": asdict(self.hyperband),
            "guidance": asdict(self.guidance),
            "seed": self.seed,
        }

    def propose(self, history: Sequence[Trial]) -> Trial | None:
        """Return the next run of the first bracket that has one; a new bracket is begun last."""
        brackets = defaultdict[int, list[Trial]](list)
        for trial in history:
            brackets[int(trial.configuration.partition("-")[0])].append(trial)
        for iteration in range(self.iterations):
            rungs = self.hyperband.rungs(iteration)
            run = next_run(iteration, rungs, brackets.get(iteration, ()))
            if run is not None:
                return self._trial(run, history)
        return None

    def _trial(self, run: Run, history: Sequence[Trial]) -> Trial:
        """Return a run as a trial, with settings that are drawn if they are new."""
        name = str(run.configuration)
        sequence = np.random.SeedSequence(self.seed, spawn_key=run.configuration)
        for_settings, for_function = sequence.spawn(2)
        drawn = next((trial for trial in history if trial.configuration == name), None)
        if drawn is not None:
            settings, from_model = drawn.settings, drawn.from_model
        else:
            rng = np.random.default_rng(for_settings)
            settings, from_model = suggest(self.space, history, self.guidance, rng)
        return Trial(
            number=len(history),
            configuration=name,
            settings=settings,
            seed=int(for_function.generate_state(1)[0]),
            budget=run.budget,
            continue_from=run.continue_from,
            from_model=from_model,
        )


def suggest(
    space: Space, history: Sequence[Trial], guidance: Guidance, rng: np.random.Generator
) -> tuple[Settings, bool]:
    """Return settings to try next, and whether the model chose them (Falkner 2018, Algorithm 2)."""
    at_random = rng.random() < guidance.random_fraction
    model = None if at_random else densities(space, history, guidance, rng)
    if model is None:
        return space.settings(space.draw(rng)), False
    candidates = model.good.around(rng, guidance.candidates, widened=guidance.bandwidth_factor)
    best = candidates[np.argmax(model.worth(candidates))]
    return space.settings(best), True


def densities(
    space: Space, history: Sequence[Trial], guidance: Guidance, rng: np.random.Generator
) -> DensityPair | None:
    """Return the densities at the largest budget with enough outcomes, None if none has."""
    ended = defaultdict[float, list[Trial]](list)
    for trial in history:
        if trial.outcome is not None:
            ended[trial.budget].append(trial)
    for budget in sorted(ended, reverse=True):
        if len(ended[budget]) < 2 * len(space):
            continue
        pair = DensityPair.fit(
            np.array([space.vector(trial.settings) for trial in ended[budget]]),
            np.array([trial.loss for trial in ended[budget]]),
            space.choices,
            min_points=max(guidance.min_points, len(space) + 1),
            good_percent=guidance.good_percent,
            min_bandwidth=guidance.min_bandwidth,
            rng=rng,
        )
        if pair is not None:
            return pair
    return None
