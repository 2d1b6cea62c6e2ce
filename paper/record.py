"""A record: what it is made from, its tables and how they were made, in one directory."""

import csv
import json
import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from deepfreak.errors import OutputError
from deepfreak.models.evaluation import Evaluation, format_percent
from deepfreak.processors import usable_processors
from deepfreak.reports.page import write_page
from deepfreak.search.images import Progress, no_progress
from deepfreak.storage.files import versions, whole_file

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from deepfreak.features.cache import FeatureCache
    from deepfreak.reports.figures import Figure

Cell = str | int | float

# A line per test image: its place in the split, its class, and the class by each classifier.
VERDICTS = "verdicts.csv"


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What a record is made from, and how; `progress` and `say` get what is shown meanwhile."""

    data: Path  # DiffraNet, with its three splits; for networks also a recipe that plans them
    work: Path  # searches and trainings, which are resumed if they exist
    cache: "FeatureCache"
    # real images by variant, `raw` and `preprocessed`, with the splits `validation` and `test`
    real: Mapping[str, Path] = field(default_factory=dict)
    workers: int = 1
    progress: Progress = no_progress
    say: Callable[[str], None] = lambda _: None


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """A table: a title that names the paper's, column names, rows of cells, and remarks."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    remarks: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """Tables and figures, and how they were made."""

    name: str
    title: str
    command: str  # makes them again
    summary: tuple[str, ...]  # the first lines: scale and main result
    tables: tuple[Table, ...]
    facts: dict[str, Any]  # JSON values beside them, such as confusion matrices of every seed
    figures: "tuple[Figure, ...]" = ()  # for the page
    data_set: Mapping[str, Any] = field(default_factory=dict)  # the images; see `identity`
    # (n,) labels of the test images by column name, the true ones first, for any comparison
    verdicts: "Mapping[str, NDArray[np.integer]]" = field(default_factory=dict)


def confusion_table(
    title: str, found: Evaluation, published: "NDArray[np.int_] | None" = None
) -> Table:
    """Return the confusion matrix of `found`, beside the paper's counts if there are any."""
    rows = []
    for i, (name, recall) in enumerate(zip(found.classes, found.recall, strict=True)):
        counts = [
            str(count) if published is None else f"{count} ({published[i, j]})"
            for j, count in enumerate(found.confusion[i].tolist())
        ]
        rows.append((name, *counts, format_percent(recall).strip()))
    precision = (format_percent(each).strip() for each in found.precision)
    rows.append(("precision (%)", *precision, format_percent(found.accuracy).strip()))
    return Table(
        title=title,
        columns=("true class", *found.classes, "recall (%)"),
        rows=tuple(rows),
        remarks=() if published is None else ("In round brackets: the paper's counts.",),
    )


def mean_and_deviation(parts: "NDArray[np.float64]") -> str:
    """Return the mean of parts of 1 and, if there are several, their deviation, in per cent."""
    per_cent = 100 * parts
    if per_cent.size == 1:
        return f"{per_cent[0]:.2f}"
    return f"{per_cent.mean():.2f} ± {per_cent.std(ddof=1):.2f}"


def compared(one: str, other: str, found: Evaluation, others: Evaluation) -> str:
    """Return in a sentence whether classifier `one` is better than `other` on the same images."""
    only_one, only_other, p = mcnemar(found, others)
    said = f"= {p:.1e}" if p > 0 else "< 1e-300"
    return (
        f"{one} against {other}: {only_one} images were classified correctly by the former only, "
        f"{only_other} by the latter only; McNemar's exact test p {said}."
    )


def mcnemar(one: Evaluation, other: Evaluation) -> tuple[int, int, float]:
    """Return the images that only `one` has right, those that only `other` has, and p.

    McNemar's exact two-sided test: of equally good classifiers either is alone as often.
    """
    from scipy.stats import binomtest

    one_right, other_right = one.predictions == one.truth, other.predictions == other.truth
    only_one = int(np.count_nonzero(one_right & ~other_right))
    only_other = int(np.count_nonzero(other_right & ~one_right))
    apart = only_one + only_other
    p = float(binomtest(only_one, apart).pvalue) if apart else 1.0
    return only_one, only_other, p


def write_record(record: Record, folder: str | Path, *, day: str | None = None) -> Path:
    """Write `record` to the directory `folder`/<date>-<name> as Markdown, JSON and HTML; return it.

    A record of the same day and name is replaced.
    """
    day = day or datetime.now(UTC).date().isoformat()
    place = Path(folder) / f"{day}-{record.name}"
    try:
        place.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(
            f"cannot make the directory {place}: {error.strerror or error}"
        ) from error
    made_by = {"date": day, "command": record.command, **made_with()}
    if record.data_set:
        hashes = record.data_set.get("sha256") or {}
        made_by["data set"] = record.data_set.get("name") or "not a released one"
        made_by |= {f"sha256 of its {part}": digest for part, digest in hashes.items()}
    content = {"made_by": made_by, **asdict(replace(record, verdicts={}, figures=()))}
    del content["verdicts"], content["figures"]
    with whole_file(place / "record.json", overwrite=True) as partial:
        partial.write_text(json.dumps(content, indent=1, allow_nan=False) + "\n")
    with whole_file(place / "README.md", overwrite=True) as partial:
        partial.write_text(as_markdown(record, made_by))
    if record.verdicts:
        with (
            whole_file(place / VERDICTS, overwrite=True) as partial,
            partial.open("w", newline="") as file,
        ):
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(["image", *record.verdicts])
            columns = (column.tolist() for column in record.verdicts.values())
            writer.writerows((i, *row) for i, row in enumerate(zip(*columns, strict=True)))
    values = {
        "title": record.title,
        "details": [(key, _plain(value)) for key, value in made_by.items()],
        "summary": record.summary,
        "tables": record.tables,
        "figures": record.figures,
        "galleries": (),
    }
    write_page(place / "record.html", "record.html", values, overwrite=True)
    return place


def made_with() -> dict[str, Any]:
    """Return the versions and the hardware, as JSON values."""
    packages = "numpy scipy numba scikit-learn opencv-python-headless optuna torch onnxruntime"
    return {
        "python": platform.python_version(),
        "versions": versions(*filter(_is_installed, packages.split())),
        "processor": _processor(),
        "cores": usable_processors(),
        "system": platform.system(),
    }


def as_markdown(record: Record, made_by: dict[str, Any]) -> str:
    """Return the record as a Markdown page."""
    lines = [f"# {record.title}", "", *(f"{text}\n" for text in record.summary)]
    lines += ["| made by | |", "|---|---|"]
    lines += [f"| {key} | {_cell(_plain(value))} |" for key, value in made_by.items()]
    for table in record.tables:
        lines += ["", f"## {table.title}", "", _line(table.columns)]
        lines += [_line(("---",) * len(table.columns))]
        lines += [_line(row) for row in table.rows]
        lines += [f"\n{remark}" for remark in table.remarks]
    return "\n".join(lines) + "\n"


def _line(cells: Sequence[Cell]) -> str:
    return "| " + " | ".join(_cell(str(cell)) for cell in cells) + " |"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def _plain(value: Any) -> str:  # noqa: ANN401 -- any JSON value
    if isinstance(value, dict):
        return ", ".join(f"{key} {item}" for key, item in value.items())
    return str(value)


def _is_installed(package: str) -> bool:
    try:
        metadata.version(package)
    except metadata.PackageNotFoundError:
        return False
    return True


def _processor() -> str:
    """Return the processor's name where the system tells it."""
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
