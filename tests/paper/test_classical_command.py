import json
from pathlib import Path

import h5py
import numpy as np
import pytest

from deepfreak.classes import (
    GROUPS,
)
from paper.__main__ import main
from tests.labelled import write_labelled


@pytest.fixture(scope="module")
def toy(tmp_path_factory):
    path = tmp_path_factory.mktemp("toy") / "toy.h5"
    write_labelled(path, np.arange(70) % 5, seed=1, side=64)
    with h5py.File(path, "a") as file:
        splits = file.create_group("splits").attrs
        splits["train"], splits["validation"], splits["test"] = (0, 30), (30, 20), (50, 20)
    return path


@pytest.fixture(scope="module")
def real(tmp_path_factory):
    path = tmp_path_factory.mktemp("real") / "real.h5"
    write_labelled(path, np.arange(16) % 2, seed=2, side=64, classes=GROUPS)
    with h5py.File(path, "a") as file:
        splits = file.create_group("splits").attrs
        splits["validation"], splits["test"] = (0, 8), (8, 8)
    return path


def test_the_tables_stand_beside_the_papers_figures(toy, real, tmp_path, capsys):
    arguments = ["classical", str(toy), "--out", str(tmp_path / "records")]
    arguments += ["--work", str(tmp_path / "work"), "--cache", str(tmp_path / "cache")]
    arguments += ["--real", str(real), "--trials", "2", "--seeds", "2", "--workers", "1"]
    assert main(arguments) == 0
    place = Path(capsys.readouterr().out.strip())
    record = json.loads((place / "record.json").read_text())
    titles = [table["title"].partition(":")[0] for table in record["tables"]]
    for number in (3, 4, 5, 7, 12, 13, 14):
        assert f"Table {number}" in titles
    table_5 = next(table for table in record["tables"] if table["title"].startswith("Table 5"))
    assert table_5["rows"][0][1] == "98.45"
    assert " ± " in table_5["rows"][0][2]
    assert any("2 seeds" in remark for remark in table_5["remarks"])
    assert {path.name for path in (tmp_path / "work").iterdir()} == {"synthetic", "raw"}
    assert record["facts"]["search"]["counts"]["done"] >= 1
    assert "98.45" in (place / "README.md").read_text()


def test_a_data_set_without_splits_is_refused(tmp_path, capsys):
    path = write_labelled(tmp_path / "toy.h5", np.arange(10) % 5, side=64)
    assert main(["classical", str(path), "--work", str(tmp_path / "work")]) == 2
    assert "has no split train" in capsys.readouterr().err
