"""Training the model that screens frames, on tables of evidence."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from deepfreak.datasets.randomised.table import HIT, MISS, Table
from deepfreak.errors import DatasetError
from deepfreak.models.classifier import Array, Labels
from deepfreak.models.evidence_model import EvidenceModel
from deepfreak.models.perceptrons import Perceptrons, fit_perceptrons

# What the second opinion is based on: few numbers that are easy to check.
SECOND_NUMBERS = (
    "off_rings_over_5",
    "off_rings_over_7",
    "off_rings_over_10",
    "off_rings_over_20",
    "ring_share",
    "gathering",
    "lattice",
    "crest_share",
    "width_over_spread",
)
MIN_FAMILIES = 3
_HIDDEN, _DECAY, _MEMBERS = (32,), 0.002, 6
_LEFT_OUT_MEMBERS = 2
_SECOND_DECAY = 0.001


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CrossValidated:
    """A model, and the scores of each frame of its table by models without its detector's family.

    `odds` and `second` (n,) are calibrated log-odds of the model and the second opinion.
    """

    model: EvidenceModel
    odds: Array
    second: Array


def fit_screening(
    table: Table, *, numbers: Sequence[str] | None = None, seed: int = 0
) -> CrossValidated:
    """Return a model trained on `table`, calibrated on families of detectors left out in turn.

    Each family counts as much as any other, and its hits as much as its misses: `p_crystal` is for
    a share of hits of one half. Frames between hit and miss are left out. The model is based on
    `numbers`, by default all of the table. Raises `DatasetError` if there are fewer than three
    families, or one without hits or misses.
    """
    names = tuple(numbers or table.names)
    used = np.isin(table.label, (HIT, MISS))
    families = sorted(set(table.family.tolist()))
    weights = weights_of(table)

    def crystal(rows: NDArray[np.bool_], members: int) -> Perceptrons:
        return trained(rows, names, hidden=_HIDDEN, decay=_DECAY, members=members)

    def second(rows: NDArray[np.bool_]) -> Perceptrons:
        return trained(rows, SECOND_NUMBERS, decay=_SECOND_DECAY)

    def trained(rows: NDArray[np.bool_], names: Sequence[str], **settings: Any) -> Perceptrons:  # noqa: ANN401 -- of fit_perceptrons
        vectors = table.numbers[rows][:, _columns(table, names)]
        return fit_perceptrons(
            vectors, table.label[rows], weights[rows], names=names, seed=seed, **settings
        )

    odds, others = np.empty(len(table)), np.empty(len(table))
    for family in families:
        rows, left = used & (table.family != family), table.family == family
        odds[left] = _outputs(crystal(rows, _LEFT_OUT_MEMBERS), table, left)
        others[left] = _outputs(second(rows), table, left)
    heads = []
    for head, scores in ((crystal(used, _MEMBERS), odds), (second(used), others)):
        slope, offset = calibration(scores[used], table.label[used], weights[used])
        scores[:] = slope * scores + offset
        heads.append(replace(head, slope=slope, offset=offset))
    model = EvidenceModel(crystal=heads[0], second=heads[1])
    return CrossValidated(model=model, odds=odds, second=others)


def calibration(odds: Array, labels: Labels, weights: Array) -> tuple[float, float]:
    """Return the slope and offset of log-odds of the largest likelihood.

    As Platt (1999) does, one frame of each label is counted with the other label too: else frames
    that are separated without a mistake would have any slope.
    """
    is_hit = labels == HIT
    hits = int(is_hit.sum())
    target = np.where(is_hit, (hits + 1) / (hits + 2), 1 / (len(labels) - hits + 2))

    def loss(at: Array) -> float:
        z = at[0] * odds + at[1]
        return float((weights * (np.logaddexp(0, z) - target * z)).sum())

    slope, offset = minimize(loss, np.array([1.0, 0.0]), method="Nelder-Mead").x
    return float(slope), float(offset)


def area_under_curve(hits: Array, misses: Array) -> float:
    """Return how often a hit scores more than a miss, ties by half; NaN without either."""
    if not len(hits) or not len(misses):
        return float("nan")
    order = np.sort(misses)
    below = np.searchsorted(order, hits, "left") + np.searchsorted(order, hits, "right")
    return float(below.mean() / 2 / len(misses))


def weights_of(table: Table) -> Array:
    """Return weights of frames (n,): equal for families, and for hits and misses; 0 between."""
    families = sorted(set(table.family.tolist()))
    if len(families) < MIN_FAMILIES:
        raise DatasetError(
            f"expected frames of at least {MIN_FAMILIES} families of detectors, found "
            f"{', '.join(families)}"
        )
    weights = np.zeros(len(table))
    for family in families:
        for label in (HIT, MISS):
            rows = (table.family == family) & (table.label == label)
            if not rows.any():
                name = "hit" if label == HIT else "miss"
                raise DatasetError(f"expected a {name} of {family}, found none: simulate more")
            weights[rows] = 1 / rows.sum()
    return weights


def _columns(table: Table, names: Sequence[str]) -> list[int]:
    return [table.names.index(name) for name in names]


def _outputs(head: Perceptrons, table: Table, rows: NDArray[np.bool_]) -> Array:
    return head.outputs(table.numbers[rows][:, _columns(table, head.names)])[:, 0]
