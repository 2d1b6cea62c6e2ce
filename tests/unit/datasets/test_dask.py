"""A real Dask scheduler with two workers, one of them killed half-way."""

import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from deepfreak.datasets import dask_cluster, generate
from deepfreak.physics.experiment import Experiment
from tests.unit.datasets.conftest import SPLITS

pytest.importorskip("distributed", reason="needs Dask: pip install '.[dask]'")

START = "import sys; from distributed.cli.{0} import main; sys.argv = sys.argv[:1] + {1}; main()"


def started(part: str, *options: str) -> subprocess.Popen[bytes]:
    code = START.format(part, list(options))
    return subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[tuple[str, list[subprocess.Popen[bytes]]]]:
    """Yield the address of a scheduler and its two workers."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"tcp://127.0.0.1:{free.getsockname()[1]}"
    local = ("--host", "127.0.0.1", "--no-dashboard")
    scheduler = started("dask_scheduler", "--port", address.rpartition(":")[2], *local)
    options = (*local, "--nthreads", "1", "--no-nanny", "--local-directory", str(tmp_path))
    workers = [started("dask_worker", address, *options) for _ in range(2)]
    yield address, workers
    for process in (*workers, scheduler):
        process.kill()
        process.wait()


@pytest.mark.filterwarnings("ignore")  # distributed's own
def test_a_killed_worker_changes_no_byte(
    small: Experiment, made: Path, tmp_path: Path, cluster: tuple[str, list[subprocess.Popen]]
) -> None:
    address, workers = cluster
    killed = []

    def kill(_: int) -> None:
        if not killed:
            killed.append(workers[0])
            workers[0].kill()

    out = tmp_path / "ten.h5"
    with dask_cluster(address) as (executor, _):
        deadline = time.monotonic() + 60
        while len(executor._client.scheduler_info()["workers"]) < 2:
            assert time.monotonic() < deadline
            time.sleep(0.2)
        options = {"executor": executor, "ahead": 3, "advance": kill}
        generate(small, count=10, seed=3, out=out, splits=SPLITS, **options)
    assert killed
    assert out.read_bytes() == made.read_bytes()
