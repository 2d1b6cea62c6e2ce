"""Functions to search, in a separate module so that other processes can import them.

As a program: search until it kills itself. `python -m ... JOURNAL EVALUATIONS`.
"""

import os
import signal
import sys
import time
from functools import partial

from deepfreak.search.bohb import Categorical, Float, Hyperband, Outcome, Space, When, optimize

SPACE = Space(
    {
        "kind": Categorical(values=("bowl", "slope")),
        "x": Float(lower=-1, upper=1),
        "y": Float(lower=-1, upper=1, when=When(parameter="kind", values=("bowl",))),
    }
)
HYPERBAND = Hyperband(min_budget=1, max_budget=9)
ITERATIONS = 4


def bowl(settings, budget, seed):
    """Minimum at kind bowl, x = 0.3, y = -0.2; smaller budgets are noisier."""
    blur = (seed % 1000) / 1000 / budget
    if settings["kind"] == "slope":
        return 1.5 + settings["x"] + blur
    return (settings["x"] - 0.3) ** 2 + (settings["y"] + 0.2) ** 2 + 0.05 * blur


def slow_bowl(settings, budget, seed):
    """Take up to 10 ms, so that the order of completion varies."""
    time.sleep(seed % 10 / 1000)
    return Outcome(bowl(settings, budget, seed), {"slept_ms": seed % 10})


def failing(settings, budget, seed):
    """Fail in several ways."""
    if seed % 4 == 0:
        raise ValueError("no such\nluck")
    return float("nan") if seed % 4 == 1 else bowl(settings, budget, seed)


def leaving(settings, budget, seed):
    """Exit, as a training script for the command line does."""
    if seed % 2 == 0:
        sys.exit(seed % 4)
    return bowl(settings, budget, seed)


def killing(calls, last, settings, budget, seed):
    """Kill this process in the middle of evaluation `last`."""
    calls.append(seed)
    if len(calls) == last:
        os.kill(os.getpid(), signal.SIGKILL)
    return bowl(settings, budget, seed)


if __name__ == "__main__":
    optimize(
        partial(killing, [], int(sys.argv[2])),
        SPACE,
        HYPERBAND,
        iterations=ITERATIONS,
        seed=3,
        journal=sys.argv[1],
    )
