"""Functions to search, in a separate module so that other processes can import them.

As a program: search until it kills itself. `python -m ... JOURNAL TRIALS`.
"""

import os
import signal
import sys
import time
from functools import partial

from deepfreak.search import BOHB, Categorical, Float, Hyperband, Outcome, Space, When, optimize

SPACE = Space(
    {
        "kind": Categorical(values=("bowl", "slope")),
        "x": Float(lower=-1, upper=1),
        "y": Float(lower=-1, upper=1, when=When(parameter="kind", values=("bowl",))),
    }
)
HYPERBAND = Hyperband(min_budget=1, max_budget=9)
ITERATIONS = 4


def sampler(*, iterations=ITERATIONS, seed=3, **options):
    return BOHB(space=SPACE, hyperband=HYPERBAND, iterations=iterations, seed=seed, **options)


def bowl(trial):
    """Best at kind bowl, x = 0.3, y = -0.2; a smaller budget sees less well."""
    settings = trial.settings
    blur = (trial.seed % 1000) / 1000 / trial.budget
    if settings["kind"] == "slope":
        return 1.5 + settings["x"] + blur
    return (settings["x"] - 0.3) ** 2 + (settings["y"] + 0.2) ** 2 + 0.05 * blur


def slow_bowl(trial):
    """Take up to 10 ms, now one and now another of those under way the longest."""
    time.sleep(trial.seed % 10 / 1000)
    return Outcome(bowl(trial), {"slept_ms": trial.seed % 10})


def failing(trial):
    """Fail in several ways."""
    if trial.seed % 4 == 0:
        raise ValueError("no such\nluck")
    return float("nan") if trial.seed % 4 == 1 else bowl(trial)


def leaving(trial):
    """End the program, as a training script does that was made for the command line."""
    if trial.seed % 2 == 0:
        sys.exit(trial.seed % 4)
    return bowl(trial)


def killing(calls, last, trial):
    """Kill this process in the middle of trial `last`."""
    calls.append(trial.seed)
    if len(calls) == last:
        os.kill(os.getpid(), signal.SIGKILL)
    return bowl(trial)


if __name__ == "__main__":
    optimize(partial(killing, [], int(sys.argv[2])), sampler(), journal=sys.argv[1])
