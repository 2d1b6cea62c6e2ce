"""Measure the contribution of each part of the screening model, leaving out detector families.

    python benchmarks/screening.py frames.h5 [--without NAME=table.h5 ...]

`deepfreak data randomise` makes `frames.h5` and the other tables. With NAME=table.h5 models are
trained on that table (for instance frames without zingers) and evaluated on `frames.h5`. Each model
is evaluated on a detector family on which it was not trained. Prints the AUC of hits against clean
and hard misses, with 95 % bootstrap intervals over families and frames.
"""

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from deepfreak.datasets.randomised import Table, read_table
from deepfreak.datasets.randomised.frame import is_hard
from deepfreak.datasets.randomised.table import HIT, MISS
from deepfreak.models.perceptrons import fit_perceptrons
from deepfreak.models.screening_fit import SECOND_NUMBERS, area_under_curve, weights_of

Array = NDArray[np.float64]
GROUPS = {
    "rings": ("ring", "gathering", "texture"),
    "crests": ("crest",),
    "lattice": ("lattice",),
    "shapes of peaks": ("extent", "sharpness", "elongation", "width_over_spread"),
    "spread of strengths": ("z_", "photons_", "strongest", "tenth_strongest", "brightness"),
    "arrangement": ("fullest", "edge_share", "spacing", "radius", "falloff"),
    "blocks": ("significant", "bright_blocks"),
}
BOOTSTRAPS = 200


def left_out(
    teacher: Table, judge: Table, names: Sequence[str], fit: Callable[..., Callable[[Array], Array]]
) -> Array:
    """Return scores of the judge's frames from models not trained on their family."""
    scores = np.empty(len(judge))
    columns = [[table.names.index(name) for name in names] for table in (teacher, judge)]
    usable = np.isin(teacher.label, (HIT, MISS))
    weights = weights_of(teacher)
    for family in sorted(set(judge.family.tolist())):
        rows = usable & (teacher.family != family)
        numbers = teacher.numbers[rows][:, columns[0]]
        model = fit(numbers, teacher.label[rows], weights[rows], names)
        tested = judge.family == family
        scores[tested] = model(judge.numbers[tested][:, columns[1]])
    return scores


def perceptrons(
    hidden: tuple[int, ...] = (32,), decay: float = 0.002
) -> Callable[..., Callable[[Array], Array]]:
    def fit(
        numbers: Array, labels: NDArray[np.integer], weights: Array, names: Sequence[str]
    ) -> Callable[[Array], Array]:
        model = fit_perceptrons(
            numbers, labels, weights, names=names, hidden=hidden, decay=decay, members=2
        )
        return lambda values: model.outputs(values)[:, 0]

    return fit


def forest(
    numbers: Array, labels: NDArray[np.integer], weights: Array, _: Sequence[str]
) -> Callable[[Array], Array]:
    from sklearn.ensemble import ExtraTreesClassifier

    trees = ExtraTreesClassifier(300, min_samples_leaf=3, random_state=0, n_jobs=1)
    trees.fit(numbers, labels, sample_weight=weights)
    return lambda values: np.asarray(trees.predict_proba(values)[:, 1])


def line(name: str, judge: Table, scores: Array) -> str:
    """Return AUCs with intervals, and the share of misses removed when 1 % of hits is lost."""
    hard = is_hard(judge.kind, judge.zingers)
    rng = np.random.default_rng(0)
    cells = []
    hits = judge.label == HIT
    for misses in ((judge.label == MISS) & ~hard, (judge.label == MISS) & hard):
        area = area_under_curve(scores[hits], scores[misses])
        drawn = []
        families = np.array(sorted(set(judge.family.tolist())))
        for _ in range(BOOTSTRAPS):
            rows = np.concatenate(
                [np.flatnonzero(judge.family == f) for f in rng.choice(families, len(families))]
            )
            rows = rng.choice(rows, len(rows))
            drawn.append(area_under_curve(scores[rows][hits[rows]], scores[rows][misses[rows]]))
        low, high = np.nanpercentile(drawn, (2.5, 97.5))
        cells.append(f"{area:.4f} [{low:.3f}, {high:.3f}]")
    misses = judge.label == MISS
    at = np.quantile(scores[hits], 0.01)
    removed = float((scores[misses] < at).mean())
    return f"{name:<38}{cells[0]:>24}{cells[1]:>24}{removed:>9.1%}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("table", type=Path)
    parser.add_argument("--without", action="append", default=[], metavar="NAME=FILE")
    parser.add_argument(
        "--counts", action="store_true", help="also vary the number of training frames"
    )
    arguments = parser.parse_args()
    judge = read_table(arguments.table)
    usable = np.isin(judge.label, (HIT, MISS))
    print(f"{arguments.table.name}: {len(judge)} frames, {np.mean(~usable):.1%} labelled between")
    print(f"{'':<38}{'hits / clean misses':>24}{'hits / hard misses':>24}{'removed*':>9}")
    column = judge.names.index
    for name in ("peaks_over_7", "off_rings_over_7", "off_rings_over_10"):
        print(line(f"count of {name}", judge, judge.numbers[:, column(name)]))
    every = judge.names
    print(line("all numbers, perceptrons", judge, left_out(judge, judge, every, perceptrons())))
    linear = perceptrons((), 0.001)
    print(line("all numbers, regression", judge, left_out(judge, judge, every, linear)))
    print(line("second opinion", judge, left_out(judge, judge, SECOND_NUMBERS, linear)))
    print(line("all numbers, extra trees", judge, left_out(judge, judge, every, forest)))
    peaks = [name for name in every if name.startswith(("peaks_over", "off_rings_over"))]
    print(line("counts of peaks only", judge, left_out(judge, judge, peaks, perceptrons())))
    for group, starts in GROUPS.items():
        names = [
            name
            for name in every
            if not name.startswith(starts) and (group != "rings" or not name.startswith("off_"))
        ]
        print(line(f"without {group}", judge, left_out(judge, judge, names, perceptrons())))
    if arguments.counts:
        for count in (600, 2000, 6000):
            if count < len(judge):
                rows = np.random.default_rng(0).permutation(len(judge))[:count]
                part = judge.rows(rows)
                print(
                    line(
                        f"trained on {count} frames",
                        judge,
                        left_out(part, judge, every, perceptrons()),
                    )
                )
    for given in arguments.without:
        name, _, path = given.partition("=")
        scores = left_out(read_table(path), judge, every, perceptrons())
        print(line(f"trained without {name}", judge, scores))
    print("* share of misses removed when 1 % of the hits is lost")


if __name__ == "__main__":
    with threadpool_limits(1):
        main()
