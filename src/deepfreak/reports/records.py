"""Text: the verdict on each frame as a line, and what the training of the screening model found."""

import csv
import io
import json
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from deepfreak.datasets.randomised.frame import is_hard
from deepfreak.datasets.randomised.table import HIT, MISS, Table
from deepfreak.models.screening_fit import CrossValidated, area_under_curve
from deepfreak.screening.policy import MAX_EMPTY_KEPT
from deepfreak.screening.verdict import Failure, Verdict
from deepfreak.text import printable, spelled

_WIDEST_NAME = 60
_DIGITS = 6


def record_form(
    form: str, classes: tuple[str, ...], files: list[Path]
) -> tuple[str, Callable[[Verdict | Failure], str]]:
    """Return the first line of the records and the function that writes one, in this form."""
    if form == "jsonl":
        return "", _json_line
    if form == "csv":
        names = ["file", "frame", "label", "decision", *classes, "p_crystal", "ms"]
        names += ["reason", "error"]
        return _csv_line(names), lambda result: _csv_record(result, classes)
    width = min(_WIDEST_NAME, max((len(spelled(str(file))) for file in files), default=4))
    # of two classes p_crystal says all
    columns = "".join(f"{name:>11}" for name in classes) if len(classes) > 2 else ""
    label = max(map(len, classes))
    head = f"{'file':<{width}}  {'frame':>5}  {'label':<{label}}  {'decision':<8}  "
    head += f"p_crystal{columns}{'ms':>8}  reason\n"
    return head, lambda result: _row(result, width, label)


def _json_line(result: Verdict | Failure) -> str:
    # a byte that is not UTF-8 stays a surrogate, which JSON escapes: os.fsencode gives the name
    record: dict[str, object] = {"file": result.file, "frame": result.frame}
    if isinstance(result, Failure):
        record["error"] = result.error
    else:
        record["label"] = result.label
        record["decision"] = result.decision
        record["probabilities"] = {
            name: round(value, _DIGITS) for name, value in result.probabilities.items()
        }
        record["p_crystal"] = round(result.p_crystal, _DIGITS)
        record["ms"] = round(result.ms, 3)
        record["reasons"] = list(result.reasons)
        if result.signs is not None:
            record["signs"] = result.signs.to_json()
    return json.dumps(record, allow_nan=False) + "\n"


def _csv_record(result: Verdict | Failure, classes: tuple[str, ...]) -> str:
    file = spelled(result.file)
    if isinstance(result, Failure):
        frame = "" if result.frame is None else result.frame
        return _csv_line([file, frame, *[""] * (len(classes) + 5), printable(result.error)])
    probabilities = [round(result.probabilities[name], _DIGITS) for name in classes]
    p_crystal, ms = round(result.p_crystal, _DIGITS), round(result.ms, 3)
    verdict = [file, result.frame, result.label, result.decision or ""]
    return _csv_line([*verdict, *probabilities, p_crystal, ms, "; ".join(result.reasons), ""])


def _csv_line(values: Iterable[object]) -> str:
    line = io.StringIO()
    csv.writer(line, lineterminator="\n").writerow(values)
    return line.getvalue()


def _row(result: Verdict | Failure, width: int, label: int) -> str:
    name = spelled(result.file)
    name = name if len(name) <= width else "..." + name[3 - width :]
    frame = "-" if result.frame is None else result.frame
    start = f"{name:<{width}}  {frame:>5}  "
    if isinstance(result, Failure):
        return f"{start}error: {printable(result.error)}\n"
    values = result.probabilities.values()
    columns = "".join(f"{value:>11.3f}" for value in values) if len(values) > 2 else ""
    start += f"{result.label:<{label}}  {result.decision or '':<8}  {result.p_crystal:>9.3f}"
    return f"{start}{columns}{result.ms:>8.1f}  {'; '.join(result.reasons)}".rstrip() + "\n"


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
