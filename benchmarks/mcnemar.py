"""A model against the classifiers of a record on the test images, by McNemar's exact test.

Run:

    python benchmarks/mcnemar.py verdicts.csv records/2026-12-01-classical/verdicts.csv \
        [--model diffranet --data diffranet.h5:test]

`verdicts.csv` gets the model's classes if it does not exist; later the two files suffice. A line
per classifier of the record: images that only the model classified correctly, those that only the
other did, p, and the same by crystal or none.
"""

import argparse
import csv
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest

from deepfreak.datasets import Dataset
from deepfreak.models import load_model
from deepfreak.models.evaluation import evaluate

FIRST_WITH_CRYSTAL = 2  # weak, after blank and no-crystal

Columns = dict[str, NDArray[np.int64]]


def read(path: Path) -> Columns:
    """Return the columns of a file of verdicts by name; `class` is the truth."""
    with path.open(newline="") as file:
        names, *rows = csv.reader(file)
    return dict(zip(names, np.array(rows, dtype=np.int64).T, strict=True))


def make(path: Path, model: str, data: str) -> None:
    """Classify FILE:SPLIT with `model` and write the classes."""
    loaded = load_model(model)
    name, _, split = data.partition(":")
    with Dataset.open(name, split=split or None) as images:
        found = evaluate(loaded, images)
    with path.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["image", "class", loaded.name])
        rows = zip(found.truth.tolist(), found.predictions.tolist(), strict=True)
        writer.writerows((image, *row) for image, row in enumerate(rows))


def compared(one: NDArray[np.bool_], other: NDArray[np.bool_]) -> str:
    """Return how many only one has right, how many only the other, and p."""
    only_one, only_other = np.count_nonzero(one & ~other), np.count_nonzero(other & ~one)
    p = binomtest(only_one, only_one + only_other).pvalue if only_one + only_other else 1.0
    return f"{only_one:5d} {only_other:5d}  p = {p:.1e}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("verdicts", type=Path)
    parser.add_argument("record", type=Path)
    parser.add_argument("--model", default="diffranet")
    parser.add_argument("--data", default="diffranet.h5:test")
    options = parser.parse_args()
    if not options.verdicts.exists():
        make(options.verdicts, options.model, options.data)
    ours, record = read(options.verdicts), read(options.record)
    (name,) = ours.keys() - {"image", "class"}
    truth = ours["class"]
    if not np.array_equal(truth, record["class"]):
        raise SystemExit("the two files are of different images")
    crystal = truth >= FIRST_WITH_CRYSTAL
    right, found = ours[name] == truth, (ours[name] >= FIRST_WITH_CRYSTAL) == crystal
    print(f"{name}: {right.sum()} of {len(truth)}, {found.sum()} by crystal or none")
    for other, verdicts in record.items():
        if other in ("image", "class"):
            continue
        classes = compared(right, verdicts == truth)
        groups = compared(found, (verdicts >= FIRST_WITH_CRYSTAL) == crystal)
        print(f"{other:<50} {classes}   crystal or none: {groups}")


if __name__ == "__main__":
    main()
