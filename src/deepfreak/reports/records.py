"""The verdict on each frame as a line: of a table, of CSV, of JSON."""

import csv
import io
import json
from collections.abc import Callable, Iterable
from pathlib import Path

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
