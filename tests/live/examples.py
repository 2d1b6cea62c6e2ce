"""Rows of a ledger and frames to keep, for tests of what reads them."""

import multiprocessing
import time

import numpy as np

from deepfreak.formats.frame import Frame
from deepfreak.live.messages import BraggPeaks, FrameOutcome, Hit, LedgerRow

CLASSES = ("blank", "no-crystal", "weak", "good", "strong")
SPAWN = multiprocessing.get_context("forkserver")  # its processes begin without threads
SPAWN.set_forkserver_preload(
    ["deepfreak.live.sinks.hit_files", "deepfreak.storage.draft", "deepfreak.live.decide"]
)


def made_outcome(number, *, series="run-1", **fields):
    """Return an outcome that depends on its number alone; every third is kept."""
    place = number % 5
    known = {
        "decision": "keep" if number % 3 == 0 else "discard",
        "label": CLASSES[place],
        "probabilities": tuple(0.8 if i == place else 0.05 for i in range(5)),
        "p_crystal": 0.9 if place >= 2 else 0.1,
        "received": 1.7e9 + number / 1000,
        "decided": 1.7e9 + number / 1000 + 0.020,
        "ms": 12.0,
    }
    return FrameOutcome(series=series, number=number, **(known | fields))


def made_rows(first, count, **fields):
    """Return rows `first`, ... of a ledger; row s is of frame s - 1."""
    return [
        LedgerRow(sequence=sequence, outcome=made_outcome(sequence - 1, **fields))
        for sequence in range(first, first + count)
    ]


def made_frame(number=0, *, shape=(40, 64), dtype=np.uint32, **facts):
    """Return a frame whose counts depend on its number alone, with a gap and known geometry."""
    counts = np.random.default_rng(number).poisson(3.0, shape).astype(dtype)
    valid = np.ones(shape, bool)
    valid[shape[0] // 2] = False
    known = {
        "saturation": 60000.0,
        "beam_center_px": (21.5, 30.25),
        "pixel_size_mm": 0.075,
        "distance_mm": 120.0,
        "wavelength_A": 1.0 + number / 1000,
        "valid": valid,
    }
    return Frame(file="stream", index=number, counts=counts, **(known | facts))


def made_peaks(number, *, count=None):
    """Return peaks, the first of which is at the centre of pixel [7, 9]."""
    count = number % 4 + 1 if count is None else count
    along = np.arange(count, dtype=float)
    return BraggPeaks(
        slow=7.5 + along, fast=9.5 + along / 2, photons=100.0 + along, height_sigma=6.0 + along
    )


def made_hit(number, *, series="run-1", peaks=None, **frame):
    """Return a frame to keep."""
    return Hit(
        outcome=made_outcome(number, series=series, decision="keep"),
        classes=CLASSES,
        peaks=made_peaks(number) if peaks is None else peaks,
        frame=lambda: made_frame(number, **frame),
    )


def killed(work, *args, seconds):
    """Run `work(report, *args)` in a separate process and kill it after some time.

    The clock starts with the first report. Return what it reported as done before it died.
    """
    ours, theirs = SPAWN.Pipe(duplex=False)
    process = SPAWN.Process(target=work, args=(theirs, *args))
    process.start()
    theirs.close()
    reports = [ours.recv()]
    time.sleep(seconds)
    process.kill()
    process.join()
    try:
        while True:
            reports.append(ours.recv())
    except EOFError:
        ours.close()
    return reports


def instants(count, *, seed=0, longest=0.05):
    """Return random times to kill at."""
    return np.random.default_rng(seed).uniform(0, longest, count).tolist()
