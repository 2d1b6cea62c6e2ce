"""Workers that crash, hang and send much; a stand-in classifies in their processes."""

import os
import signal
import threading
import time
from contextlib import closing, suppress
from pathlib import Path

import numpy as np
import pytest

from deepfreak.errors import DeepFreakError
from deepfreak.live.decide import FrameJob
from deepfreak.live.messages import SeriesBegan
from deepfreak.live.workers import JOBS_PER_WORKER, WorkerLimits, WorkerPool
from tests.live import stub_workers
from tests.live.examples import SPAWN
from tests.live.sessions import wait_until

BEGAN = SeriesBegan(series="s", kind="shot")
PATIENCE_S = 120.0
OPEN = Path("/proc/self/fd")


def job(number, series="s", **wish):
    return FrameJob(series=series, number=number, path=None, received=1.0, truth=wish)


def pool(folder, count=1, *, work=stub_workers.work, context=SPAWN, **limits):
    return WorkerPool(
        folder, count=count, work=work, context=context, limits=WorkerLimits(**limits)
    )


def ready(folder, count=1, **options):
    workers = pool(folder, count, **options)
    workers.wait_until_ready()
    return workers


def all_of(workers, jobs=(), *, each_turn=lambda: None):
    """Distribute `jobs` and return all outcomes, as `LiveRun` does."""
    jobs, found = list(jobs), []
    until = time.monotonic() + PATIENCE_S
    while jobs or workers.busy:
        assert time.monotonic() < until
        while jobs and workers.room > 0:
            workers.give(jobs.pop(0), BEGAN)
        found += workers.outcomes(0.05)
        each_turn()
    return {given.number: outcome for given, outcome in found}, len(found)


def test_every_frame_has_one_outcome_whoever_is_killed(tmp_path):
    rng = np.random.default_rng(0)
    kills = []
    with closing(ready(tmp_path, 2)) as workers:

        def kill():
            # only who has begun: some start-up failures in a row end the run
            begun = [one.process.pid for one in workers._ready()]
            if begun and len(kills) < 8 and rng.random() < 0.3:
                process = begun[rng.integers(len(begun))]
                with suppress(ProcessLookupError):  # killed a turn ago, not yet replaced
                    os.kill(process, signal.SIGKILL)
                    kills.append(process)

        found, count = all_of(workers, map(job, range(300)), each_turn=kill)
        assert count == len(found) == 300
        assert kills
        assert workers.crashes >= 1


def test_a_frame_at_which_workers_die_is_given_up_and_the_next_has_its_turn(tmp_path):
    with closing(ready(tmp_path)) as workers:
        found, count = all_of(workers, [job(0), job(1, crashes=9), job(2), job(3, crashes=1)])
        assert count == 4
        assert [found[number].decision for number in range(4)] == [
            "keep", "unreadable", "keep", "keep",
        ]  # fmt: skip
        assert "2 workers crashed at this frame, the last with SIGKILL" in found[1].error
        assert workers.crashes == 3


def test_workers_that_die_while_they_start_are_no_fault_of_a_frame(tmp_path):
    with closing(ready(tmp_path)) as workers:
        (tmp_path / "stillborn").write_text(str(WorkerLimits().startup_failures - 1))
        found, _ = all_of(workers, [job(0, crashes=1), job(1)])
        assert found[0].decision == found[1].decision == "keep"
        assert workers.crashes == WorkerLimits().startup_failures


def test_workers_that_cannot_live_end_the_run(tmp_path):
    (tmp_path / "stillborn").write_text("100")
    with (
        closing(pool(tmp_path, 2)) as workers,
        pytest.raises(DeepFreakError, match="crashed during start-up, the last with SIGK"),
    ):
        workers.wait_until_ready()


def test_a_frame_that_takes_too_long_is_given_up_at_once(tmp_path):
    with closing(ready(tmp_path, frame_s=1.0)) as workers:
        found, count = all_of(workers, [job(0, hangs=True), job(1)])
        assert count == 2
        assert found[0].decision == "unreadable"
        assert "no verdict within" in found[0].error
        assert found[1].decision == "keep"
        assert workers.crashes == 1


def test_a_worker_that_hangs_while_it_starts_is_replaced(tmp_path):
    with closing(ready(tmp_path, start_s=10.0)) as workers:
        (tmp_path / "sleepers").write_text("1")
        found, _ = all_of(workers, [job(0, crashes=1)])
        assert found[0].decision == "keep"
        assert workers.crashes == 2


def test_frames_wait_for_workers_that_are_ready(tmp_path):
    (tmp_path / "gate").touch()
    with closing(ready(tmp_path, 3)) as workers:
        assert workers.room == JOBS_PER_WORKER
        (tmp_path / "gate").unlink()
        wait_until(
            lambda: not list(workers.outcomes(0.01)) and workers.room == 3 * JOBS_PER_WORKER, "x"
        )


def test_what_is_larger_than_a_pipe_stops_nobody(tmp_path):
    """The worker sends a long message while it receives one."""
    large = SeriesBegan(series="large", kind="shot", context=bytes(8 << 20))
    with closing(ready(tmp_path)) as workers:
        workers.give(job(0, says=8 << 20), BEGAN)
        giving = threading.Thread(
            target=workers.give, args=(job(1, series="large"), large), daemon=True
        )
        giving.start()
        giving.join(10)
        assert not giving.is_alive()
        found, _ = all_of(workers)
        assert len(found[0].error) == 8 << 20
        assert found[1].decision == "keep"  # it knows the series


def test_who_hangs_while_it_is_told_much_is_killed(tmp_path):
    large = SeriesBegan(series="large", kind="shot", context=bytes(8 << 20))
    with closing(ready(tmp_path, frame_s=1.0)) as workers:
        workers.give(job(0, hangs=True), BEGAN)
        workers.give(job(1, series="large"), large)
        found, _ = all_of(workers)
        assert found[0].decision == "unreadable"
        assert found[1].decision == "keep"


def test_each_worker_hears_of_a_series_before_its_frames_however_many_there_are(
    tmp_path,
):
    with closing(ready(tmp_path, series=3)) as workers:
        for number in range(12):
            series = str(number % 5)
            workers.give(job(number, series=series), SeriesBegan(series=series, kind="shot"))
            found, _ = all_of(workers)
            assert found[number].decision == "keep"
            assert all(len(worker.series) <= 3 for worker in workers._workers)


def test_all_end_together_and_leave_nothing_open(tmp_path):
    with closing(ready(tmp_path)):
        pass  # what multiprocessing opens once
    before = len(list(OPEN.iterdir())), threading.active_count()
    workers = ready(tmp_path, 4, end_s=0.3)
    all_of(workers, [job(0, crashes=1)])
    wait_until(
        lambda: not list(workers.outcomes(0.01)) and workers.room == 4 * JOBS_PER_WORKER, "x"
    )
    for number in range(4):
        workers.give(job(10 + number, hangs=True), BEGAN)
    start = time.monotonic()
    workers.close()
    assert time.monotonic() - start < 30  # and not the 600 s that they hang
    assert not any(Path(f"/proc/{number}").exists() for number in workers.processes)
    workers._workers.clear()
    assert len(list(OPEN.iterdir())) <= before[0]
    assert threading.active_count() <= before[1]


def test_interrupts_are_left_to_the_program(tmp_path):
    # a forkserver would hand down its own mask
    with closing(ready(tmp_path, context=None)) as workers:
        found, _ = all_of(workers, [job(0, mask=True)])
    assert found[0].error == "True"
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, [])


def test_another_start_of_a_series_reaches_the_worker_before_the_frames_behind_it(
    tmp_path,
):
    with closing(ready(tmp_path, work=stub_workers.tells_context)) as workers:
        found = {}
        for number, context in enumerate([b"none", b"none", b"mask", b"mask", b"none"]):
            while workers.room < 1:
                found |= {given.number: out.error for given, out in workers.outcomes(1.0)}
            workers.give(job(number), SeriesBegan(series="s", kind="shot", context=context))
        while workers.busy:
            found |= {given.number: out.error for given, out in workers.outcomes(1.0)}
    assert [found[number] for number in range(5)] == ["none", "none", "mask", "mask", "none"]


def test_what_a_worker_logs_is_logged_here(tmp_path, caplog):
    with closing(ready(tmp_path)) as workers, caplog.at_level("INFO", "deepfreak"):
        all_of(workers, [job(7, logs="a remark")])
    (record,) = [each for each in caplog.records if each.name == "deepfreak.stub"]
    assert (record.getMessage(), record.series, record.frame) == ("a remark", "s", 7)


def test_a_crash_is_logged_with_the_frame_at_which_it_happened(tmp_path, caplog):
    with closing(ready(tmp_path)) as workers:
        all_of(workers, [job(3, crashes=1)])
    (record,) = [each for each in caplog.records if each.levelname == "WARNING"]
    assert "ended with SIGKILL; it is replaced" in record.getMessage()
    assert (record.series, record.frame) == ("s", 3)
