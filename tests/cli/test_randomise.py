"""`deepfreak data randomise`: what it says, and when it says no."""

import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from deepfreak.cli import main
from deepfreak.datasets import draft_path
from deepfreak.datasets.randomised import read_table

OPTIONS = ["data", "randomise", "--seed", "4", "--family", "Timepix"]


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    out = tmp_path_factory.mktemp("table") / "t.h5"
    assert main([*OPTIONS, "--count", "4", "--out", str(out)]) == 0
    return out


def the_line(capsys):
    return [line for line in capsys.readouterr().err.splitlines() if line.strip()][-1]


def test_it_writes_a_table_and_says_what_is_in_it(tmp_path, table, capsys):
    out = tmp_path / "again.h5"
    assert main([*OPTIONS, "--count", "4", "--out", str(out)]) == 0
    hits, misses = (np.count_nonzero(read_table(out).label == label) for label in (1, 0))
    said = f"{out}: 4 frames ({hits} hits, {misses} misses, {4 - hits - misses} between)"
    assert said in capsys.readouterr().err.splitlines()
    assert out.read_bytes() == table.read_bytes()


def test_a_file_that_is_there_is_replaced_only_when_asked(table, capsys):
    before = table.read_bytes()
    assert main([*OPTIONS, "--count", "4", "--out", str(table)]) == 1
    assert "--overwrite" in the_line(capsys)
    assert table.read_bytes() == before
    assert main([*OPTIONS, "--count", "4", "--out", str(table), "--overwrite"]) == 0
    assert table.read_bytes() == before


@pytest.mark.parametrize(
    ("options", "code", "said"),
    [
        (["--without", "rain"], 2, "expected one of"),
        (["--family", "Kodak"], 2, "expected one of the families"),
        (["--count", "0"], 2, "--count"),
        (["--resume"], 1, "no draft"),
        (["--out", "nowhere/t.h5"], 1, "nowhere"),
    ],
)
def test_what_cannot_be_is_one_line(tmp_path, monkeypatch, options, code, said, capsys):
    monkeypatch.chdir(tmp_path)
    assert main([*OPTIONS, "--count", "2", "--out", "t.h5", *options]) == code
    line = the_line(capsys)
    assert line.startswith("deepfreak: ")
    assert said in line
    assert not list(tmp_path.iterdir())


def test_ctrl_c_keeps_what_is_done_and_says_so(tmp_path):
    out = tmp_path / "t.h5"
    command = [*OPTIONS, "--count", "500", "--out", str(out)]
    with subprocess.Popen(
        [sys.executable, "-m", "deepfreak", *command], stderr=subprocess.PIPE, text=True
    ) as child:
        end = time.monotonic() + 300
        while not draft_path(out).exists() or draft_path(out).stat().st_size < 10_000:
            assert child.poll() is None
            assert time.monotonic() < end
            time.sleep(0.02)
        child.send_signal(signal.SIGINT)
        said = child.communicate(timeout=60)[1]
    assert child.returncode == 130
    assert f"what is done is kept in {draft_path(out).name}" in said
    assert "Traceback" not in said
