import json

import h5py
import numpy as np
import pytest
from click.testing import CliRunner

from deepfreak.cli.model.search import search
from deepfreak.errors import DatasetError
from tests.labelled import write_labelled


@pytest.fixture(scope="module")
def toy(tmp_path_factory):
    path = tmp_path_factory.mktemp("toy") / "toy.h5"
    write_labelled(path, np.arange(50) % 5, seed=1, side=64)
    with h5py.File(path, "a") as file:
        splits = file.create_group("splits")
        splits.attrs["train"], splits.attrs["validation"] = (0, 30), (30, 20)
    return path


def run(*arguments):
    return CliRunner().invoke(search, ["classical", *map(str, arguments)])


def test_a_search_leaves_its_journal_results_page_and_model(toy, tmp_path):
    out = tmp_path / "found"
    options = ("--out", out, "--cache", tmp_path / "features", "--workers", 2, "--seed", 32)
    result = run(toy, *options, "--trials", 2)
    assert result.exception is None, result.stderr
    assert {path.name for path in out.iterdir()} == {
        "journal.log", "results.json", "report.html", "best.model",
    }  # fmt: skip
    assert "2 of 2: " in result.stderr
    assert "min left" in result.stderr
    assert f"{out}: " in result.stdout
    assert "extraction" in result.stdout
    found = json.loads((out / "results.json").read_text())
    assert [trial["number"] for trial in found["trials"]] == [0, 1]
    for trial in found["trials"]:
        assert trial["accuracy"]["total"] == 20
    page = (out / "report.html").read_text()
    assert found["best"]["description"] in page
    assert page.count("<svg") == 3
    # the same command again: nothing is left to try
    again = run(toy, *options, "--trials", 2)
    assert again.exception is None, again.stderr
    assert "2 of 2: " not in again.stderr
    assert json.loads((out / "results.json").read_text())["best"] == found["best"]


def test_a_missing_split_is_told_before_anything_is_written(tmp_path):
    path = write_labelled(tmp_path / "a.h5", np.arange(10) % 5, side=16)
    result = run(path, "--out", tmp_path / "out")
    assert isinstance(result.exception, DatasetError)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "wrong", [("--trials", "0"), ("--trial-seconds", "0"), ("--at-once", "0"), ("--workers", "0")]
)
def test_numbers_out_of_range_are_refused(tmp_path, wrong):
    result = run("a.h5", "--out", tmp_path / "out", *wrong)
    assert result.exit_code == 2
    assert wrong[0] in result.stderr
