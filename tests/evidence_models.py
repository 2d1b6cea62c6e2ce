"""A model of evidence trained on a few simulated frames, for tests; it is not a good one."""

from functools import lru_cache
from pathlib import Path

import numpy as np

from deepfreak.datasets.randomised.table import Table
from deepfreak.evidence import find_evidence, numbers
from deepfreak.models import EvidenceModel, Perceptrons, save_model
from deepfreak.screening.calibration import calibrate_on_table, calibration_path, write_calibration
from tests.unit.evidence.made import flat, made, on_circles, scattered, spots, with_hot_pixels

SHAPE = (320, 320)
NAMES = ("off_rings_over_5", "off_rings_over_7", "off_rings_over_10", "ring_share", "lattice")
_MIDDLE = (160.0, 160.0)


def hit(rng, *, spots_=40, photons=400.0, light=2.0, shape=SHAPE, **facts):
    """Return a frame with spots of equal photons and the beam in its middle."""
    places = scattered(rng, spots_, shape, apart=12.0)
    known = {"beam_center_px": (shape[0] / 2, shape[1] / 2)} | facts
    return made(flat(rng, light + spots(places, photons, 1.0, shape), shape), **known)


def powder(rng, *, grains=120, light=2.0, given=True):
    """Return a frame with grainy rings, whose centre is given or not."""
    places = on_circles(rng, _MIDDLE, (60.0, 90.0, 120.0), grains, SHAPE)
    counts = flat(rng, light + spots(places, 300.0, 1.0, SHAPE), SHAPE)
    return made(counts, beam_center_px=_MIDDLE if given else None)


def miss(rng, *, light=2.0, hot=10, shape=SHAPE, **facts):
    """Return a frame with nothing but light and hot pixels."""
    return made(with_hot_pixels(rng, flat(rng, light, shape), hot), **facts)


@lru_cache(maxsize=4)
def made_table(seed: int = 0, count: int = 100) -> Table:
    """Return evidence of made frames, every second one a hit."""
    rng = np.random.default_rng(seed)
    rows, labels, visible = [], [], []
    for index in range(count):
        light = float(10 ** rng.uniform(-1, 1.3))
        label = index % 2
        if label:
            number = int(rng.integers(12, 60))
            frame = hit(rng, spots_=number, photons=float(rng.uniform(150, 900)), light=light)
        else:
            number = 0
            frame = powder(rng, light=light) if index % 4 else miss(rng, light=light)
        named = numbers(find_evidence(frame))
        rows.append(list(named.values()))
        labels.append(label)
        visible.append(number)
    return Table(
        path=Path("made.h5"),
        names=tuple(named),
        numbers=np.array(rows, np.float64),
        label=np.array(labels, np.int8),
        family=np.array(["flat"] * count),
        visible=np.array(visible, np.int64),
        zingers=np.zeros(count, np.int64),
        kind=np.array(["smooth", "crystal", "grains", "crystal"])[np.arange(count) % 4],
        manifest={},
    )


@lru_cache(maxsize=1)
def made_model() -> EvidenceModel:
    """Return regressions on the evidence of 100 made frames."""
    table = made_table()
    is_hit = table.label == 1
    return EvidenceModel(
        crystal=_regression(table, NAMES, is_hit.astype(int)),
        second=_regression(table, NAMES[:3], is_hit.astype(int)),
        hit_share=0.5,
        manifest={"made": "in a test"},
    )


def save_made_model(folder: Path, *, scored: int = 4000) -> Path:
    """Save the model with scores; they are of 60 other frames, counted several times."""
    path = folder / "made.evidence"
    save_model(made_model(), path)
    few = made_table(seed=1, count=60)
    again = np.arange(scored) % len(few)
    table = Table(
        **{name: getattr(few, name) for name in ("path", "names", "manifest")},
        **{
            name: getattr(few, name)[again]
            for name in ("numbers", "label", "family", "visible", "zingers", "kind")
        },
    )
    write_calibration(calibrate_on_table(made_model(), table), calibration_path(path))
    return path


def _regression(table: Table, names: tuple[str, ...], labels) -> Perceptrons:
    from sklearn.linear_model import LogisticRegression

    values = table.numbers[:, [table.names.index(name) for name in names]]
    mean, scale = values.mean(0), values.std(0)
    found = LogisticRegression(C=3.0).fit((values - mean) / scale, labels)
    return Perceptrons(
        names=names,
        low=values.min(0),
        high=values.max(0),
        mean=mean,
        scale=scale,
        weights=(np.ascontiguousarray(found.coef_.T[None]),),
        biases=(found.intercept_[None].astype(np.float64),),
    )
