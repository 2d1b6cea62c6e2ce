"""Sessions in separate processes, to be killed, and a detector that sends synthetic frames."""

import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path

import numpy as np

from deepfreak.errors import InputError
from deepfreak.live.receive.dectris.messages import Start
from deepfreak.live.receive.dectris.sender import StreamSender
from deepfreak.live.replay import record_shots
from deepfreak.live.results.ledger import read_ledger
from deepfreak.models import EvidenceModel, load_model
from deepfreak.physics.recipe import load_recipe
from deepfreak.screening.calibration import Calibration, thresholds, write_calibration

PATIENCE_S = 120.0


def made_scores(path: Path, model: Path | str = "diffranet") -> Path:
    """Write scores of a good model under the name of `model`; they are not measured."""
    at, rng = thresholds(), np.random.default_rng(0)
    hits = np.sort(1 / (1 + np.exp(-rng.normal(6, 2, 5000))))
    empties = np.sort(1 / (1 + np.exp(-rng.normal(-6, 2, 5000))))
    known = load_model(model)
    scores = Calibration(
        model=known.name,
        kind="evidence" if isinstance(known, EvidenceModel) else "images",
        data="made",
        simulated=True,
        hits=5000,
        empties=5000,
        hits_below=tuple(np.searchsorted(hits, at).tolist()),
        empties_from=tuple((5000 - np.searchsorted(empties, at)).tolist()),
        levels=(3.0, 40.0),
    )
    write_calibration(scores, path, overwrite=True)
    return path


@contextmanager
def session(*command: str, log: Path):
    """Give the process of `deepfreak COMMAND`, which leads a group of its own."""
    with log.open("ab") as file:
        child = subprocess.Popen(
            [sys.executable, "-m", "deepfreak", *command],
            stdout=file,
            stderr=file,
            start_new_session=True,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        )
        try:
            yield child
        finally:
            if child.poll() is None:
                child.kill()
            child.wait()


def wait_until(true, what: str, seconds: float = PATIENCE_S) -> None:
    """Wait until `true()` is true; fail if it takes too long."""
    until = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < until, f"waited {seconds} s for {what}"
        time.sleep(0.02)


def recorded(out: Path) -> int:
    """Return how many verdicts a session's ledger has."""
    path = out / "ledger.sqlite"
    if not path.exists():
        return 0
    try:
        with read_ledger(path) as ledger:
            return ledger.last
    except InputError:
        return 0  # still being created


def interrupt(child) -> int:
    """End a session as Ctrl-C does and return its exit code."""
    child.send_signal(signal.SIGINT)
    return child.wait(PATIENCE_S)


@lru_cache(maxsize=1)
def recording():
    """Return simulated shots, one or more of each class, ready to be sent."""
    return record_shots(load_recipe("diffranet"), seed=0, count=7)


class Detector(StreamSender):
    """Sends numbered frames and records which were sent."""

    def __init__(self, **options) -> None:
        super().__init__("tcp://127.0.0.1:*", **options)
        self.taken: list[int] = []

    def begin(self, name: str, count: int) -> None:
        start = Start(
            series_id=1,
            unique_id=name,
            expected=count,
            shape=(512, 512),
            channels=("one",),
            metadata=recording().metadata,
            simulated=True,
        )
        assert self.start(start, within_s=PATIENCE_S)

    def send_frames(self, numbers, *, pause_s: float = 0.0, wait_s: float = 0.0) -> None:
        frames = recording().frames
        for number in numbers:
            if wait_s:
                self.wait(wait_s)
            pixels, truth = frames[number % len(frames)]
            if self.image(number, pixels, truth=truth):
                self.taken.append(number)
            if pause_s:
                time.sleep(pause_s)
