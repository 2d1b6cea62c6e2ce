"""Outcomes as of a run."""

import itertools

import numpy as np

from deepfreak.live.messages import FrameOutcome, FramePicture, LedgerRow

CLASSES = ("blank", "no-crystal", "weak", "good", "strong")
_SEQUENCE = itertools.count(1)
_LEVELS = {"blank": 1.0, "no-crystal": 12.0, "weak": 14.0, "good": 16.0, "strong": 20.0}


def outcome(number, decided, *, label="good", decision=None, series="run-1", ms=12.0, **more):
    """Return an outcome with the fields a worker fills; crystals are kept."""
    place = CLASSES.index(label)
    if decision is None:
        decision = "keep" if place >= 2 else "discard"
    probabilities = tuple(0.92 if i == place else 0.02 for i in range(5))
    fields = {
        "series": series,
        "number": number,
        "decision": decision,
        "label": label,
        "probabilities": probabilities,
        "p_crystal": sum(probabilities[2:]),
        "level": _LEVELS[label],
        "received": decided - ms / 1e3,
        "decided": decided,
        "ms": ms,
    }
    return FrameOutcome(**(fields | more))


def rows(outcomes):
    """Give outcomes their places in the ledger."""
    return [LedgerRow(sequence=next(_SEQUENCE), outcome=each) for each in outcomes]


def picture(seed=0, size=128, *, peaks=12, activation=True):
    """Return a picture with a halo, a beamstop's shadow and some spots."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:size, :size] - size / 2
    radius = np.hypot(y, x)
    mean = 6 + 40 * np.exp(-(((radius - size / 4) / (size / 12)) ** 2))
    mean[radius < size / 24] = 0
    spots = rng.uniform(0.08 * size, 0.92 * size, (peaks, 2))
    for slow, fast in spots:
        mean += rng.uniform(80, 250) * np.exp(
            -((y + size / 2 - slow) ** 2 + (x + size / 2 - fast) ** 2) / 3
        )
    valid = np.ones((size, size), bool)
    valid[size // 2 - 2 : size // 2 + 2] = False
    tint = None
    if activation:
        tint = np.zeros((8, 8), np.float32)
        for slow, fast in spots:
            tint[int(8 * slow / size), int(8 * fast / size)] += 1
    return FramePicture(
        image=np.clip(rng.poisson(mean), 0, 255).astype(np.uint8),
        valid=valid,
        peaks=spots,
        activation=tint,
    )
