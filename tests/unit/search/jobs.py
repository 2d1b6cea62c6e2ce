"""Functions that the tests have called in child processes."""

import os
import signal
import sys
import time
import zlib

import numpy as np

from deepfreak.search.trial import Outcome


def echo(argument):
    print("what a library says on stdout")  # noqa: T201 -- must not come between the answers
    return {"got": argument, "process": os.getpid()}


def outcome(argument):
    return Outcome(argument["i"], {"process": os.getpid()})


def die(argument):
    if argument["how"] == "signal":
        os.kill(os.getpid(), signal.SIGKILL)
    print("a last word", file=sys.stderr)  # noqa: T201 -- the reason should have it
    os._exit(3)


def fail(argument):
    raise ValueError(argument["why"])


def leave(argument):
    sys.exit(argument["why"])


def sleep(argument):
    time.sleep(argument["seconds"])
    return {}


def endless_svm(_argument):
    from sklearn.svm import SVC

    rng = np.random.default_rng(0)
    SVC(C=2.0**15, gamma=2.0**-9).fit(rng.normal(size=(6000, 5)), rng.integers(0, 2, 6000))
    return {}


def quick_score(task):
    """Stand in for `classical.score`: an accuracy that depends on the settings, at once.

    The best is a small forest on GLCM, so that it is quick to train in the end.
    """
    settings = task.settings
    if settings["extractor"] == "sift":
        raise ValueError("too few descriptors")
    time.sleep(0.02)
    good = 60 * (settings["extractor"] == "glcm") + 30 * (settings.get("forest.trees") == 10)
    hits = good + zlib.crc32(repr(sorted(settings.items())).encode()) % 10
    return Outcome(1 - hits / 100, {"hits": hits, "total": 100})


def score_or_be_killed(task):
    """Score; LBP with an SVM ends the process, as the kernel does when memory runs out."""
    if (task.settings["extractor"], task.settings["classifier"]) == ("lbp", "svm"):
        os.kill(os.getpid(), signal.SIGKILL)
    return quick_score(task)
