"""A quick run of benchmarks/bohb.py, and checks of its functions."""

import importlib.util
import math
import sys
from pathlib import Path
from statistics import mean

import pytest

ROOT = Path(__file__).parents[4]


@pytest.fixture(scope="module")
def benchmark():
    spec = importlib.util.spec_from_file_location("bohb_benchmark", ROOT / "benchmarks/bohb.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # its dataclass looks itself up there
    spec.loader.exec_module(module)
    yield module
    del sys.modules[spec.name]


@pytest.mark.parametrize(("name", "spent", "margin"), [("ones", 15, 0.75), ("curves", 50, 0.85)])
def test_bohb_beats_hyperband_and_random_search(benchmark, name, spent, margin):
    problem = benchmark.problems()[name]
    most = spent * problem.hyperband.max_budget
    regret = {
        method: mean(
            benchmark.regret_after(
                benchmark.search(problem, method, seed, most), most, problem.regret
            )
            for seed in range(6)
        )
        for method in ("BOHB", "Hyperband", "random search")
    }
    assert regret["BOHB"] < margin * regret["Hyperband"]
    assert regret["BOHB"] < margin * regret["random search"]


def test_counting_ones_counts_ones(benchmark):
    ones = dict.fromkeys(benchmark.problems()["ones"].space.parameters, 1)
    assert benchmark.counting_ones(ones, 9, 0) == -16
    assert benchmark.ones_regret(ones) == 0
    half = {name: value / 2 for name, value in ones.items() if name.startswith("chance")}
    means = [benchmark.counting_ones(ones | half, 729, seed) for seed in range(50)]
    assert mean(means) == pytest.approx(-12, abs=0.05)


def test_no_settings_are_better_than_the_best_of_the_curves(benchmark):
    import numpy as np

    rng = np.random.default_rng(0)
    for name in ("curves", "variants"):
        problem = benchmark.problems()[name]
        regrets = [
            problem.regret(problem.space.settings(problem.space.draw(rng))) for _ in range(500)
        ]
        assert min(r for r in regrets if not math.isnan(r)) > 0
        assert any(map(math.isnan, regrets))


def test_what_is_spent_later_does_not_count(benchmark):
    made = [({"x": 3.0}, 1, 0.3), ({"x": 2.0}, 3, 0.5), ({"x": 1.0}, 3, 0.1)]
    after = [benchmark.regret_after(made, spent, lambda s: s["x"]) for spent in (0, 1, 4, 7)]
    assert math.isnan(after[0])
    assert after[1:] == [3.0, 2.0, 1.0]
