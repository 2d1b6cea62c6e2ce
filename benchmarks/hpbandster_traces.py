"""What HpBandSter and statsmodels themselves do, frozen for the tests of deepfreak's BOHB.

HpBandSter is not maintained any more and needs old libraries: an environment of its own.

    python3.11 -m venv old
    old/bin/pip install hpbandster==0.7.4 numpy==1.26.4 ConfigSpace==0.7.1 statsmodels==0.15.0
    old/bin/python benchmarks/hpbandster_traces.py [--scores SEEDS]

It writes tests/unit/search/samplers/data/*.json: brackets, the order of evaluations, densities, and
the worth of candidates under them. With --scores also the regret of HpBandSter's searches on the
functions of benchmarks/bohb.py, which takes a minute a seed.
"""

import argparse
import json
import logging
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import ConfigSpace as CS  # noqa: N817 - its own documentation's name
import numpy as np
from bohb import HALF, counting_ones, curve_regret, noisy_curve, ones_regret, regret_after
from hpbandster.core.dispatcher import Job
from hpbandster.core.master import Master
from hpbandster.optimizers import BOHB
from statsmodels.nonparametric.kernel_density import KDEMultivariate

DATA = Path(__file__).parents[1] / "tests/unit/search/samplers/data"
BUDGETS = [(1, 50, 3), (9, 729, 3), (1, 27, 3), (1, 243, 3), (1, 1000, 10), (2, 100, 2), (5, 5, 3)]
BUDGETS += [(1, 64, 4), (0.01, 1, 3), (1, 16, 2), (3, 100, 2.5), (10, 11, 3)]


class Alone(BOHB):
    """HpBandSter's BOHB without its name server, threads and workers."""

    def evaluate(
        self, function: Callable[[dict[str, Any], float], float], iterations: int
    ) -> Iterator[tuple[Job, float]]:
        """Run as its master does with one worker."""
        under_way: list[Any] = []
        while True:
            run = None
            for iteration in under_way:
                if not iteration.is_finished and (run := iteration.get_next_run()) is not None:
                    break
            if run is None:
                if len(under_way) == iterations:
                    return
                under_way.append(self.get_next_iteration(len(under_way)))
                continue
            name, settings, budget = run
            loss = function(settings, budget)
            job = Job(name, config=settings, budget=budget)
            job.result = {"loss": loss, "info": {}} if math.isfinite(loss) else None
            job.exception = None if math.isfinite(loss) else "failed"
            under_way[name[0]].register_result(job)
            self.config_generator.new_result(job)
            yield job, loss


def alone(self: Master, config_generator: object, **_: object) -> None:
    self.config_generator = config_generator
    self.config = {}


Master.__init__ = alone


def seed_hpbandster(seed: int) -> None:
    np.random.seed(seed)  # noqa: NPY002 - it draws from numpy's global generator


def uniform(name: str, lower: float, upper: float, *, log: bool = False) -> object:
    return CS.UniformFloatHyperparameter(name, lower, upper, log=log)


def space_of(*parameters: object) -> CS.ConfigurationSpace:
    space = CS.ConfigurationSpace(seed=0)
    space.add_hyperparameters(parameters)
    return space


def mixed() -> CS.ConfigurationSpace:
    return space_of(
        CS.CategoricalHyperparameter("a", [0, 1]),
        uniform("b", 0, 1),
        uniform("c", 1e-4, 1, log=True),
    )


def conditional() -> CS.ConfigurationSpace:
    kind = CS.CategoricalHyperparameter("a_kind", ["forest", "svm"])
    depth, cost = uniform("depth", 0, 1), uniform("cost", 0, 1)
    space = space_of(kind, depth, cost)
    space.add_condition(CS.EqualsCondition(depth, kind, "forest"))
    space.add_condition(CS.EqualsCondition(cost, kind, "svm"))
    return space


def topology() -> CS.ConfigurationSpace:
    return space_of(CS.CategoricalHyperparameter("a", list(range(1, 14))), uniform("b", 0, 1))


def table10() -> CS.ConfigurationSpace:
    return space_of(
        CS.CategoricalHyperparameter("topology", list(range(1, 14))),
        uniform("learning_rate", 1e-4, 10, log=True),
        uniform("momentum", 0.5, 1),
        uniform("weight_decay", 1e-5, 5e-5),
        CS.CategoricalHyperparameter("batch_size", [4, 8, 16, 32, 64]),
    )


def network() -> CS.ConfigurationSpace:
    kind = CS.CategoricalHyperparameter("optimizer", ["sgd", "adam", "rmsprop"])
    momentum = uniform("momentum", 0.5, 0.99)
    space = space_of(
        kind,
        momentum,
        uniform("learning_rate", 1e-5, 1, log=True),
        uniform("weight_decay", 1e-6, 1e-1, log=True),
        uniform("dropout", 0, 0.8),
        CS.UniformIntegerHyperparameter("batch_size", 8, 256, log=True),
        CS.UniformIntegerHyperparameter("layers", 1, 8),
    )
    space.add_condition(CS.EqualsCondition(momentum, kind, "sgd"))
    return space


def ones() -> CS.ConfigurationSpace:
    bits = [CS.CategoricalHyperparameter(f"bit_{i}", [0, 1]) for i in range(HALF)]
    return space_of(*bits, *(uniform(f"chance_{i}", 0, 1) for i in range(HALF)))


def brackets() -> list[dict[str, Any]]:
    """Budgets and numbers of several Hyperbands."""
    found = []
    for least, most, eta in BUDGETS:
        bohb = Alone(mixed(), eta=eta, min_budget=least, max_budget=most, run_id="")
        steps = [bohb.get_next_iteration(i) for i in range(8)]
        found.append(
            {
                "min_budget": least,
                "max_budget": most,
                "eta": eta,
                "rungs": [
                    [[float(b), n] for b, n in zip(s.budgets, s.num_configs, strict=True)]
                    for s in steps
                ],
            }
        )
    return found


def order() -> list[dict[str, Any]]:
    """Which configuration is run when at which budget, given losses, failures among them."""
    found = []
    for seed, failing in ((0, 0.0), (1, 0.3), (2, 0.9)):
        seed_hpbandster(seed)
        draws = iter(np.random.default_rng(seed).random((1000, 2)))

        def function(*_: object, share: float = failing, draws: Iterator[Any] = draws) -> float:
            fails, loss = next(draws)
            return math.nan if fails < share else float(loss)

        bohb = Alone(mixed(), min_budget=1, max_budget=27, run_id="")
        runs = [
            [list(job.id), float(job.kwargs["budget"]), None if math.isnan(loss) else loss]
            for job, loss in bohb.evaluate(function, 6)
        ]
        found.append({"min_budget": 1, "max_budget": 27, "eta": 3, "iterations": 6, "runs": runs})
    return found


def densities() -> list[dict[str, Any]]:
    """Histories with the good and bad points, bandwidths and worth of candidates."""
    found = []
    for name, space, count in (
        ("mixed", mixed(), 8),
        ("mixed", mixed(), 9),
        ("mixed", mixed(), 50),
        ("conditional", conditional(), 40),
        ("topology", topology(), 60),
        ("table 10", table10(), 30),
    ):
        space.seed(count)
        rng = np.random.default_rng(count)
        seed_hpbandster(count)
        generator = Alone(space, min_budget=1, max_budget=9, run_id="").config_generator
        vectors, losses, largest = [], [], []
        for number in range(count):
            settings = space.sample_configuration()
            vectors.append(settings.get_array())
            # distinct: what a sort makes of ties is no one's rule
            losses.append(float(np.nansum((vectors[-1][1:] - 0.3) ** 2) + 1e-3 * rng.random()))
            job = Job((0, 0, number), config=settings.get_dictionary(), budget=9.0)
            failed = number % 7 == 3 and number < 8
            job.result, job.exception = {"loss": losses[-1]}, None
            if failed:
                losses[-1], job.result, job.exception = math.inf, None, "failed"
            generator.new_result(job)
            largest.append(len(generator.kde_models) > 0)
        model = generator.kde_models.get(9.0)
        trace: dict[str, Any] = {
            "space": name,
            "choices": generator.vartypes.tolist(),
            "vectors": plain(np.array(vectors)),
            "losses": [loss if math.isfinite(loss) else None for loss in losses],
            "min_points": generator.min_points_in_model,
            "has_model": largest,
        }
        if model is not None:
            good, bad = model["good"], model["bad"]
            candidates = np.array([space.sample_configuration().get_array() for _ in range(64)])
            candidates = np.where(np.isnan(candidates), rng.random(candidates.shape), candidates)
            with np.errstate(all="ignore"):
                of_good, of_bad = good.pdf(candidates), bad.pdf(candidates)
            worth = np.maximum(of_good, 1e-32) / np.maximum(of_bad, 1e-32)
            trace |= {
                "good": plain(good.data),
                "bad": plain(bad.data),
                "good_bandwidths": plain(good.bw),
                "bad_bandwidths": plain(bad.bw),
                "candidates": plain(candidates),
                "good_densities": plain(of_good),
                "bad_densities": plain(of_bad),
                "worth": plain(worth),
            }
        found.append(trace)
    return found


def kernels() -> list[dict[str, Any]]:
    """Densities of statsmodels with given bandwidths, and its normal reference."""
    found = []
    rng = np.random.default_rng(5)
    for kinds, choices in (("ccc", [0, 0, 0]), ("cuc", [0, 2, 0]), ("uc", [4, 0])):
        points = np.column_stack(
            [rng.integers(c, size=40).astype(float) if c else rng.random(40) for c in choices]
        )
        vectors = np.column_stack(
            [rng.integers(c, size=20).astype(float) if c else rng.random(20) for c in choices]
        )
        given = rng.uniform(0.05, 0.4, len(choices))
        estimate = KDEMultivariate(points, kinds, bw=given)
        reference = KDEMultivariate(points, kinds, bw="normal_reference")
        found.append(
            {
                "choices": choices,
                "points": plain(points),
                "vectors": plain(vectors),
                "bandwidths": plain(given),
                "densities": plain(estimate.pdf(vectors)),
                "normal_reference": plain(reference.bw),
            }
        )
    return found


def score(name: str, seed: int) -> dict[str, float]:
    """Return the regret of one search by HpBandSter, by how many largest budgets it has spent."""
    space, loss, regret, least, most, iterations, spent = {
        "curves": (network(), noisy_curve, curve_regret, 1, 50, 27, (25, 50, 100)),
        "ones": (ones(), counting_ones, ones_regret, 9, 729, 10, (25, 50)),
    }[name]
    seed_hpbandster(seed)
    rng = np.random.default_rng(seed)
    space.seed(seed)
    bohb = Alone(space, min_budget=least, max_budget=most, run_id="")

    def function(settings: dict[str, Any], budget: float) -> float:
        return loss(settings, budget, int(rng.integers(2**32)))

    made = [
        (dict(job.kwargs["config"]), float(job.kwargs["budget"]), value)
        for job, value in bohb.evaluate(function, iterations)
    ]
    return {str(times): regret_after(made, times * most, regret) for times in spent}


def scores(seeds: int) -> dict[str, dict[str, list[float]]]:
    """Return what `score` gives, by problem and how much was spent."""
    found: dict[str, dict[str, list[float]]] = {}
    for name in ("ones", "curves"):
        for seed in range(seeds):
            for spent, regret in score(name, seed).items():
                found.setdefault(name, {}).setdefault(spent, []).append(regret)
    return found


def plain(values: np.ndarray) -> list[Any]:
    """Return an array as lists, None for NaN and infinity."""
    if values.ndim > 1:
        return [plain(row) for row in values]
    return [float(value) if math.isfinite(value) else None for value in values]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--scores", type=int, default=0, metavar="SEEDS")
    options = parser.parse_args()
    logging.disable(logging.CRITICAL)  # it reports every failure that it is given
    traces: dict[str, Any] = {
        "hpbandster_brackets": brackets(),
        "hpbandster_order": order(),
        "hpbandster_densities": densities(),
        "statsmodels_kernels": kernels(),
    }
    if options.scores:
        traces["hpbandster_scores"] = scores(options.scores)
    for name, trace in traces.items():
        (DATA / f"{name}.json").write_text(json.dumps(trace, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()
