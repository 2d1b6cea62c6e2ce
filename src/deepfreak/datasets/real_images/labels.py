"""Labels of measured frames in a CSV, and the split of labelled frames."""

import csv
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from deepfreak.errors import DatasetError

NO_DIFFRACTION, DIFFRACTION = 0, 1
_WORDS = {
    "diffraction": DIFFRACTION,
    "1": DIFFRACTION,
    "no-diffraction": NO_DIFFRACTION,
    "no diffraction": NO_DIFFRACTION,
    "0": NO_DIFFRACTION,
}
_PACKED = re.compile(r"\.(bz2|gz)$", re.IGNORECASE)
# name_00001.cbf, name.0026, name_data_000001.h5: the last run of digits and what follows
_NUMBER = re.compile(r"[-_.]*\d+(\.[A-Za-z][A-Za-z0-9]*)?$")


@dataclass(frozen=True, slots=True, kw_only=True)
class Labels:
    """Labels by file and frame; frame None where one stands for all frames of the file."""

    path: Path
    by_frame: Mapping[tuple[Path, int | None], int]

    def of(self, file: Path, frame: int) -> int:
        """Return the label of a frame; `DatasetError` if it has none."""
        label = self.by_frame.get((file, frame), self.by_frame.get((file, None)))
        if label is None:
            raise DatasetError(
                f"{self.path}: expected a label for frame {frame} of {file}, found none; add a line"
            )
        return label

    def check_frames(self, counts: Mapping[Path, int]) -> None:
        """Raise `DatasetError` for a label of a frame beyond the number of frames of its file."""
        for file, frame in self.by_frame:
            if frame is not None and frame >= counts[file]:
                raise DatasetError(
                    f"{self.path}: has a label for frame {frame} of {file}, "
                    f"which has {counts[file]} (numbers begin at 0)"
                )


def read_labels(path: Path, files: Sequence[Path]) -> Labels:
    """Read a CSV with the columns `file`, `label` and, if need be, `frame`.

    A file is named by its path as given, or by its name alone where that is unique. Labels are
    `diffraction` or 1, `no-diffraction` or 0; without a frame they are for all of the file's.

    Raises `DatasetError`, naming the line: a file that is not among `files`, an invalid label or
    number, two labels for one frame.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as text:
            reader = csv.DictReader(text, skipinitialspace=True)
            columns = reader.fieldnames or []
            rows = [(reader.line_num, row) for row in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        reason = getattr(error, "strerror", None) or error
        raise DatasetError(f"{path}: cannot be read as labels: {reason}") from error
    if not {"file", "label"} <= set(columns):
        raise DatasetError(
            f"{path}: expected a first line with the columns file and label, "
            f"found {', '.join(columns)[:80] or 'nothing'}"
        )
    by_name: dict[str, list[Path]] = {}
    for file in files:
        for name in {str(file), file.name}:
            by_name.setdefault(name, []).append(file)
    labels: dict[tuple[Path, int | None], int] = {}
    for line, row in rows:
        where = f"{path}, line {line}"
        name, word = (row["file"] or "").strip(), (row["label"] or "").strip()
        matches = by_name.get(name, [])
        if len(matches) != 1:
            found = "is not among the frames" if not matches else "names several files; add folders"
            raise DatasetError(f"{where}: {name!r:.120} {found}")
        if word.lower() not in _WORDS:
            raise DatasetError(
                f"{where}: expected diffraction, no-diffraction, 1 or 0, found {word!r:.60}"
            )
        number = (row.get("frame") or "").strip()
        if number and not re.fullmatch(r"[0-9]{1,9}", number):
            raise DatasetError(f"{where}: expected a frame's number, found {number!r:.60}")
        key = (matches[0], int(number) if number else None)
        if key in labels:
            raise DatasetError(f"{where}: a second label for {name!r:.120}; keep one")
        labels[key] = _WORDS[word.lower()]
    return Labels(path=path, by_frame=labels)


def series_of(file: Path) -> str:
    """Return the name of the series that a file belongs to: its path without the last number."""
    name = _PACKED.sub("", file.name)
    return str(file.with_name(_NUMBER.sub("", name) or name))


def choose_test(
    labels: Sequence[int], sources: Sequence[str], *, part: float, rng: np.random.Generator
) -> list[bool]:
    """Return for each frame whether it is for the test, so that about `part` of each class is.

    Frames of one source stay together. Sources are gone through at random, those with many frames
    first, and taken while that brings the numbers by class nearer to `part` of them: single frames
    reach them exactly (of 457 images, 91).
    """
    sizes = Counter(labels)
    wanted = {label: part * size for label, size in sizes.items()}
    # whole numbers of frames, their sum the nearest to `part` of all
    target = {label: int(value) for label, value in wanted.items()}
    spare = round(part * len(labels)) - sum(target.values())
    for label in sorted(wanted, key=lambda name: target[name] - wanted[name])[: max(spare, 0)]:
        target[label] += 1
    inside: dict[str, Counter[int]] = {}
    for label, source in zip(labels, sources, strict=True):
        inside.setdefault(source, Counter())[label] += 1
    names = sorted(inside)
    shuffled = [names[i] for i in rng.permutation(len(names))]
    taken: set[str] = set()
    have: Counter[int] = Counter()
    for name in sorted(shuffled, key=lambda name: -inside[name].total()):
        with_it = have + inside[name]
        before = sum(abs(target[label] - have[label]) for label in target)
        if sum(abs(target[label] - with_it[label]) for label in target) < before:
            have = with_it
            taken.add(name)
    return [source in taken for source in sources]
