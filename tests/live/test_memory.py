"""Files that claim more than they hold: the memory limit holds in a real worker."""

import os
import time
from contextlib import closing

import h5py
import pytest

from deepfreak.live.decide import FrameJob
from deepfreak.live.messages import SeriesBegan
from deepfreak.live.receive.folder.identify import FileContext
from deepfreak.live.receive.folder.inspect import unread_identity
from deepfreak.live.workers import WorkerPool, WorkerTask
from tests.live.test_decide import POLICY

ROOM = 600 << 20  # for the worker itself


@pytest.mark.slow
def test_a_file_that_claims_200_million_frames_costs_a_worker_no_more_than_its_limit(tmp_path):
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset("entry/data/data", (200_000_000, 64, 64), "u2", chunks=(1, 64, 64))
    context = FileContext(identity=unread_identity(str(path)), frames=None)
    began = SeriesBegan(series="a.h5", kind="file", context=context.pack())
    most = 0
    task = WorkerTask(model=None, policy=POLICY)
    with closing(WorkerPool(task, count=1)) as workers:
        workers.wait_until_ready()
        workers.give(FrameJob(series="a.h5", number=5, path=None, received=time.time()), began)
        found = []
        while not found:
            found = list(workers.outcomes(0.1))
            most = max([most, *map(resident, workers.processes)])
        ((_, outcome),) = found
    assert outcome.decision == "unreadable"
    assert most < task.memory_bytes + ROOM


def resident(process):
    try:
        with open(f"/proc/{process}/statm", "rb") as file:  # noqa: PTH123
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0
