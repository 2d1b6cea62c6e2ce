"""BOHB against random search and plain Hyperband, on functions whose best is known.

Run: python benchmarks/bohb.py [--seeds 20] [--budgets 25 50 100] [--problem ones|curves|variants]

Each search may spend so many times the largest budget. What counts is the regret of what it takes
for best then (least measured loss at the largest budget it has reached), free of noise: 0 is the
best there is. Figures are means over seeds with 95 % intervals of Student's t. HpBandSter's, from
benchmarks/hpbandster_traces.py, stand below where there are some.
"""

import argparse
import json
import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from deepfreak.search import Hyperband, Space

Settings = Mapping[str, Any]
FROZEN = Path(__file__).parents[1] / "tests/unit/search/samplers/data/hpbandster_scores.json"
HALF = 8
# How far each topology of the made-up network is from the best one; no order is in them.
EXCESS = (0.01, 0.008, 0.02, 0.013, 0.003, 0.018, 0.005, 0.0, 0.023, 0.015, 0.008, 0.013, 0.02)
CURVES_BEST = 0.05


def counting_ones(settings: Settings, budget: float, seed: int) -> float:
    """Falkner et al. 2018, section 5.1: minus the sum of bits and of means of `budget` draws."""
    rng = np.random.default_rng((seed, round(budget)))
    bits = sum(settings[f"bit_{i}"] for i in range(HALF))
    chances = np.array([settings[f"chance_{i}"] for i in range(HALF)])
    return -float(bits + rng.binomial(round(budget), chances).sum() / round(budget))


def ones_regret(settings: Settings) -> float:
    """Return which share of all ones is missing."""
    return 1 - sum(settings.values()) / len(settings)


def curve(settings: Settings, epochs: float) -> float:
    """Return the error of a made-up network after some epochs of training, free of noise.

    It has a best learning rate, learns slower below it, and diverges (NaN) far above.
    """
    kind = settings["optimizer"]
    best_rate = 0.05 * (1 - settings["momentum"]) if kind == "sgd" else 1e-3
    off = math.log10(settings["learning_rate"] / best_rate)
    if off > 2:
        return math.nan
    last = (
        CURVES_BEST
        + {"sgd": 0.0, "adam": 0.01, "rmsprop": 0.02}[kind]
        + 0.02 * off**2
        + 0.01 * math.log10(settings["weight_decay"] / 1e-4) ** 2
        + 0.1 * (settings["dropout"] - 0.3) ** 2
        + 0.003 * math.log2(settings["batch_size"] / 32) ** 2
        + 0.005 * (settings["layers"] - 4) ** 2
    )
    rate = 0.3 * 10 ** -max(-off, 0.0)
    return max(last, 0.9 - (0.9 - last) * (1 - math.exp(-rate * epochs)))


def noisy_curve(settings: Settings, budget: float, seed: int) -> float:
    """Return the error with noise, as a validation set of some 10,000 gives it."""
    noise = np.random.default_rng((seed, round(1000 * budget))).normal(0, 0.002)
    return curve(settings, budget) + noise


def curve_regret(settings: Settings) -> float:
    """Return how much larger the error is after all epochs than with the best settings."""
    return curve(settings, 50) - CURVES_BEST


def variant_error(settings: Settings, epochs: float) -> float:
    """Return the same with Table 10's settings, where it is mostly the topology that counts."""
    step = settings["learning_rate"] / (1.001 - settings["momentum"]) / settings["batch_size"]
    off = math.log10(step / 3e-3)
    if off > 1.5:
        return math.nan
    last = CURVES_BEST + EXCESS[int(settings["topology"]) - 1] + 0.02 * off**2
    rate = 0.3 * 10 ** -max(-off, 0.0)
    return max(last, 0.9 - (0.9 - last) * (1 - math.exp(-rate * epochs)))


def noisy_variant(settings: Settings, budget: float, seed: int) -> float:
    noise = np.random.default_rng((seed, round(1000 * budget))).normal(0, 0.002)
    return variant_error(settings, budget) + noise


def variant_regret(settings: Settings) -> float:
    return variant_error(settings, 50) - CURVES_BEST


@dataclass(frozen=True)
class Problem:
    """A function to search, and the regret of settings."""

    loss: Callable[[Settings, float, int], float]
    regret: Callable[[Settings], float]
    space: "Space"
    hyperband: "Hyperband"


def problems() -> dict[str, Problem]:
    from deepfreak.search import Categorical, Float, Hyperband, Integer, Space, When
    from deepfreak.search.tables import EPOCHS, TABLE_10

    bits = {f"bit_{i}": Categorical(values=(0, 1)) for i in range(HALF)}
    chances = {f"chance_{i}": Float(lower=0, upper=1) for i in range(HALF)}
    budgets = Hyperband(min_budget=9, max_budget=729, eta=3)
    network = {
        "optimizer": Categorical(values=("sgd", "adam", "rmsprop")),
        "learning_rate": Float(lower=1e-5, upper=1, log=True),
        "momentum": Float(lower=0.5, upper=0.99, when=When(parameter="optimizer", values=("sgd",))),
        "weight_decay": Float(lower=1e-6, upper=1e-1, log=True),
        "dropout": Float(lower=0, upper=0.8),
        "batch_size": Integer(lower=8, upper=256, log=True),
        "layers": Integer(lower=1, upper=8),
    }
    return {
        "ones": Problem(counting_ones, ones_regret, Space(bits | chances), budgets),
        "curves": Problem(noisy_curve, curve_regret, Space(network), EPOCHS),
        "variants": Problem(noisy_variant, variant_regret, TABLE_10, EPOCHS),
    }


def regret_after(
    made: Sequence[tuple[Settings, float, float]],
    spent: float,
    regret: Callable[[Settings], float],
) -> float:
    """Return the regret of the best of (settings, budget, loss), once `spent` is used up."""
    best: tuple[float, float, Settings] | None = None
    for settings, budget, loss in made:
        spent -= budget
        if spent < -1e-6:
            break
        if math.isfinite(loss) and (best is None or (-budget, loss) < best[:2]):
            best = (-budget, loss, settings)
    return math.nan if best is None else regret(best[2])


def search(
    problem: Problem, method: str, seed: int, most: float
) -> list[tuple[Settings, float, float]]:
    """Spend at least `most` budgets by one method and return what it evaluated."""
    from deepfreak.search import BOHB, Guidance, Hyperband, optimize

    hyperband = problem.hyperband
    if method == "random search":
        largest = hyperband.max_budget
        hyperband = Hyperband(min_budget=largest, max_budget=largest, eta=hyperband.eta)
    guidance = Guidance() if method == "BOHB" else Guidance(random_fraction=1)
    iterations, planned = 0, 0.0
    while planned < most:
        planned += sum(rung.budget * rung.runs for rung in hyperband.rungs(iterations))
        iterations += 1
    sampler = BOHB(
        space=problem.space,
        hyperband=hyperband,
        iterations=iterations,
        seed=seed,
        guidance=guidance,
    )
    found = optimize(lambda trial: problem.loss(trial.settings, trial.budget, trial.seed), sampler)
    return [(trial.settings, trial.budget, trial.loss) for trial in found.trials]


def interval(values: Sequence[float]) -> str:
    """Return the mean and half the width of its 95 % interval."""
    from scipy.stats import t

    half = t.ppf(0.975, len(values) - 1) * statistics.stdev(values) / math.sqrt(len(values))
    return f"{statistics.mean(values):.4f} +- {half:.4f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--budgets", type=int, nargs="+", default=[25, 50, 100])
    parser.add_argument("--problem", choices=["ones", "curves", "variants"], action="append")
    options = parser.parse_args()
    frozen = json.loads(FROZEN.read_text()) if FROZEN.exists() else {}
    for name, problem in problems().items():
        if options.problem and name not in options.problem:
            continue
        print(f"{name}: regret after so many times the largest budget, {options.seeds} seeds")
        print(f"{'':16}" + "".join(f"{budget:>20}" for budget in options.budgets))
        largest = problem.hyperband.max_budget
        for method in ("random search", "Hyperband", "BOHB"):
            runs = [
                search(problem, method, seed, max(options.budgets) * largest)
                for seed in range(options.seeds)
            ]
            cells = [
                interval([regret_after(made, budget * largest, problem.regret) for made in runs])
                for budget in options.budgets
            ]
            print(f"{method:16}" + "".join(f"{cell:>20}" for cell in cells))
        for spent, regrets in frozen.get(name, {}).items():
            print(f"HpBandSter's BOHB after {spent}, {len(regrets)} seeds: {interval(regrets)}")
        print()


if __name__ == "__main__":
    main()
