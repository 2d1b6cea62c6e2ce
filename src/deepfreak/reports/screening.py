"""What the training of the screening model found, as text."""

import numpy as np
from numpy.typing import NDArray

from deepfreak.datasets.randomised.frame import is_hard
from deepfreak.datasets.randomised.table import HIT, MISS, Table
from deepfreak.models.screening_fit import CrossValidated, area_under_curve
from deepfreak.screening.policy import MAX_EMPTY_KEPT


def transfer_table(table: Table, found: CrossValidated) -> str:
    """Return a table: hits against misses of each family, as learned from the others."""
    hard = is_hard(table.kind, table.zingers)
    baselines = {
        "peaks": table.numbers[:, table.names.index("peaks_over_7")],
        "off rings": table.numbers[:, table.names.index("off_rings_over_7")],
        "second": found.second,
        "model": found.odds,
    }
    lines = [
        "area under the curve, hits against clean / hard misses, each family left out in turn",
        f"{'family':<12}{'hits':>6}{'clean':>6}{'hard':>6}"
        + "".join(f"{name:>16}" for name in baselines),
    ]
    for family in (*sorted(set(table.family.tolist())), "all"):
        rows = np.ones(len(table), bool) if family == "all" else table.family == family
        parts = [rows & (table.label == HIT), rows & (table.label == MISS) & ~hard]
        parts.append(rows & (table.label == MISS) & hard)
        cells = [
            f"{area_under_curve(score[parts[0]], score[parts[1]]):.3f} / "
            f"{area_under_curve(score[parts[0]], score[parts[2]]):.3f}"
            for score in baselines.values()
        ]
        lines.append(
            f"{family:<12}"
            + "".join(f"{int(part.sum()):>6}" for part in parts)
            + "".join(f"{cell:>16}" for cell in cells)
        )
    return "\n".join(lines)


def thresholds_text(table: Table, odds: NDArray[np.float64]) -> str:
    """Return what thresholds are worth: misses removed for hits lost, and how pure the kept are."""
    hits, misses = odds[table.label == HIT], odds[table.label == MISS]
    removed = ", ".join(
        f"{float((misses < np.quantile(hits, lost)).mean()):.1%} at {lost:.1%} lost hits"
        for lost in (0.005, 0.01, 0.02)
    )
    top = np.quantile(misses, 1 - MAX_EMPTY_KEPT)
    kept, wrong = float((hits >= top).mean()), float((misses >= top).mean())
    pure = ", ".join(
        f"{share * kept / (share * kept + (1 - share) * wrong):.0%} at {share:g}"
        for share in (0.001, 0.01, 0.1)
    )
    return (
        f"misses removed: {removed}\n"
        f"where {MAX_EMPTY_KEPT:.0%} of the misses are kept, {kept:.0%} of the hits are; hits "
        f"among the kept frames, by the share of hits: {pure}"
    )
