"""The classical record that is published: its figures follow from the verdicts beside it."""

import csv
import json
import re
from pathlib import Path

import numpy as np
import pytest

from deepfreak.datasets.verifying import RELEASED_NAME, RELEASED_SHA256
from paper.record import VERDICTS

RECORDS = Path(__file__).parents[2] / "records"


@pytest.fixture(scope="module")
def folder() -> Path:
    return max(RECORDS.glob("*-classical"))


@pytest.fixture(scope="module")
def verdicts(folder: Path) -> dict[str, np.ndarray]:
    with (folder / VERDICTS).open(newline="") as file:
        head, *rows = csv.reader(file)
    return dict(zip(head, np.array(rows, int).T, strict=True))


def test_it_was_made_from_the_released_set(folder: Path) -> None:
    data_set = json.loads((folder / "record.json").read_text())["data_set"]
    assert (data_set["name"], data_set["sha256"]) == (RELEASED_NAME, RELEASED_SHA256)
    text = (folder / "README.md").read_text()
    assert all(digest in text for digest in RELEASED_SHA256.values())


def test_every_confusion_can_be_counted_again(folder: Path, verdicts: dict) -> None:
    evaluations = json.loads((folder / "record.json").read_text())["facts"]["evaluations"]
    names = [f"{name}, seed {seed}" for name, of in evaluations.items() for seed in range(len(of))]
    assert list(verdicts) == ["image", "class", *names]
    truth = verdicts["class"]
    assert truth.shape == (12_600,)
    for name, of_name in evaluations.items():
        for seed, evaluation in enumerate(of_name):
            confusion = np.zeros((5, 5), int)
            np.add.at(confusion, (truth, verdicts[f"{name}, seed {seed}"]), 1)
            assert confusion.tolist() == evaluation["confusion"]


def test_mcnemars_counts_can_be_made_again(folder: Path, verdicts: dict) -> None:
    remark = re.search(
        r"(.+) against .+, seed 0: (\d+) images were (?:judged rightly|classified correctly) by "
        r"the former only, (\d+) by",
        (folder / "README.md").read_text(),
    )
    assert remark is not None
    truth = verdicts["class"]
    ours = verdicts[f"{remark[1]}, seed 0"] == truth
    forest = verdicts["GLCM + forest, the paper's settings, seed 0"] == truth
    assert (ours & ~forest).sum() == int(remark[2])
    assert (forest & ~ours).sum() == int(remark[3])
