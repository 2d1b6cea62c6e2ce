"""Tables of evidence: reproducibility, and what is refused."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import h5py
import numpy as np
import pytest

from deepfreak.datasets import draft_path, worker_processes
from deepfreak.datasets.randomised import draw_frame, make_table, read_table
from deepfreak.datasets.randomised.tabulate import PLANES, SIDE, pooled_planes
from deepfreak.errors import DatasetError, InputError, OutputError
from deepfreak.evidence import find_evidence, numbers
from tests.unit.evidence.made import flat, made

FAMILY, SEED, COUNT = "Timepix", 3, 12


@pytest.fixture(scope="module")
def table(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("table") / "t.h5"
    seen = []
    manifest = make_table(count=COUNT, seed=SEED, out=out, family=FAMILY, advance=seen.append)
    assert sum(seen) == COUNT
    assert (manifest["seed"], manifest["count"], manifest["without"]) == (SEED, COUNT, [])
    return out


def test_it_holds_the_evidence_of_the_series(table):
    found = read_table(table)
    assert len(found) == COUNT
    for index in (0, 5, COUNT - 1):
        drawn = draw_frame(SEED, index, family=FAMILY)
        named = numbers(find_evidence(drawn.frame))
        assert found.names == tuple(named)
        assert found.numbers[index].tolist() == list(named.values())
        assert found.label[index] == drawn.label
        assert found.visible[index] == drawn.visible
        assert found.zingers[index] == drawn.zingers
        assert (found.family[index], found.kind[index]) == (drawn.family, drawn.kind)
    assert found.manifest["family"] == FAMILY
    with h5py.File(table) as file:
        assert file["planes"].shape == (COUNT, len(PLANES), SIDE, SIDE)
        assert np.isfinite(file["planes"][:]).all()


def test_workers_change_no_byte(table, tmp_path):
    with worker_processes(2) as executor:
        make_table(count=COUNT, seed=SEED, out=tmp_path / "t.h5", family=FAMILY, executor=executor)
    assert (tmp_path / "t.h5").read_bytes() == table.read_bytes()


def test_killed_and_resumed_it_is_the_same(table, tmp_path):
    out = tmp_path / "t.h5"
    command = ["data", "randomise", "--count", str(COUNT), "--seed", str(SEED), "--family", FAMILY]
    with subprocess.Popen(
        [sys.executable, "-m", "deepfreak", *command, "--out", str(out)],
        stderr=subprocess.DEVNULL,
    ) as child:
        draft, end = draft_path(out), time.monotonic() + 300
        while not draft.exists() or draft.stat().st_size < 10_000:
            assert child.poll() is None, "it ended before it was killed"
            assert time.monotonic() < end
            time.sleep(0.005)
        os.kill(child.pid, signal.SIGKILL)
    assert not out.exists()
    with draft.open("ab") as file:
        file.write(b"SHOT torn off")
    steps = []
    make_table(count=COUNT, seed=SEED, out=out, family=FAMILY, resume=True, advance=steps.append)
    assert steps[0] > 0
    assert sum(steps) == COUNT
    assert out.read_bytes() == table.read_bytes()
    assert not draft.exists()


def test_a_draft_of_another_run_is_not_gone_on_with(tmp_path):
    out = tmp_path / "t.h5"
    with pytest.raises(OutputError, match="no draft"):
        make_table(count=2, seed=1, out=out, family=FAMILY, resume=True)

    def stop(_):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make_table(count=2, seed=1, out=out, family=FAMILY, advance=stop)
    for other in ({"seed": 2}, {"count": 3}, {"family": "small CCD"}, {"without": ("zingers",)}):
        given = {"count": 2, "seed": 1, "family": FAMILY} | other
        with pytest.raises(OutputError, match="draft of another run"):
            make_table(out=out, **given)
    make_table(count=2, seed=1, out=out, family=FAMILY)
    with pytest.raises(OutputError, match="--overwrite"):
        make_table(count=2, seed=1, out=out, family=FAMILY)


@pytest.mark.parametrize("given", [{"without": ("rain",)}, {"family": "Kodak"}])
def test_what_there_is_not_is_rejected_before_anything_is_written(tmp_path, given):
    with pytest.raises(InputError, match="expected one of"):
        make_table(count=2, seed=0, out=tmp_path / "t.h5", **given)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("keep", [0, 1000, 20_000])
def test_a_file_that_was_cut_off_is_one_line(table, tmp_path, keep):
    cut = tmp_path / "cut.h5"
    cut.write_bytes(table.read_bytes()[:keep])
    with pytest.raises(DatasetError, match="expected a table of evidence") as caught:
        read_table(cut)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("shape", [(64, 80), (1100, 513)])
def test_planes_of_any_frame_have_one_size(shape):
    rng = np.random.default_rng(0)
    counts = flat(rng, 20.0, shape)
    counts[5:8, 5:8] += 2000
    planes = pooled_planes(find_evidence(made(counts, gain=1.0)))
    assert planes.shape == (len(PLANES), SIDE, SIDE)
    significance, _, level, valid = planes.astype(np.float64)
    assert np.isfinite(planes).all()
    assert significance[0, 0] == significance.max() > 7
    np.testing.assert_allclose(level[SIDE // 2, SIDE // 2], np.log1p(20.0), atol=0.4)
    assert valid[SIDE // 2, SIDE // 2] == 1
