"""Executors for the work: this process, worker processes, or a Dask cluster."""

import multiprocessing
import os
import signal
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from typing import TypeVar

from deepfreak.errors import BackendError, DeepFreakError
from deepfreak.extras import require
from deepfreak.storage.files import reason_of

T = TypeVar("T")

# Tasks submitted before the first result is awaited: enough for some workers, little memory.
AHEAD = 32
# How often Dask retries a task whose worker crashed.
RETRIES = 5
SECONDS_TO_CONNECT = 20


@contextmanager
def worker_processes(workers: int) -> Iterator[Executor | None]:
    """Give an executor of `workers` processes, or None (this process) for one."""
    if workers == 1:
        yield None
        return
    try:
        pool = ProcessPoolExecutor(
            workers, mp_context=multiprocessing.get_context("spawn"), initializer=_end_with_parent
        )
    except OSError as error:
        # semaphores are in /dev/shm, which a container may lack; the images are the same
        why = f"cannot start worker processes (/dev/shm: {reason_of(error)})"
        sys.stderr.write(f"deepfreak: {why}: working in this process only\n")
        yield None
        return
    try:
        with _interrupts_ignored():
            # each task submitted to a pool without idle workers starts one
            for _ in range(workers):
                pool.submit(int)
        yield pool
    except BrokenProcessPool as error:
        raise DeepFreakError(
            "a worker process crashed (out of memory?); try again with fewer --workers"
        ) from error
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


@contextmanager
def _interrupts_ignored() -> Iterator[None]:
    """Ignore Ctrl-C, also in processes started meanwhile.

    Ctrl-C reaches all processes of a terminal. Only the main process handles it and ends the pool;
    a worker interrupted while it starts could leave the pool waiting indefinitely.
    """
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread handles signals
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _end_with_parent() -> None:
    """End this worker when its parent process ends, even if that is killed."""

    def wait() -> None:
        parent = multiprocessing.parent_process()
        if parent is not None:
            parent.join()
            os._exit(1)

    threading.Thread(target=wait, name="end with parent", daemon=True).start()


@contextmanager
def dask_cluster(address: str) -> Iterator[tuple[Executor, int]]:
    """Give an executor for the Dask cluster with the scheduler at `address`, and its threads.

    A task whose worker crashes is retried on another one.

    Raises `BackendError`: `distributed` is missing, no scheduler answers, or workers keep crashing.
    """
    require("dask")
    from distributed import Client, KilledWorker

    try:
        client = Client(address, timeout=SECONDS_TO_CONNECT, set_as_default=False)
    except (OSError, ValueError, TypeError) as error:
        raise BackendError(
            f"no Dask scheduler answers at {address}; start one with `dask scheduler`"
        ) from error
    with client:
        threads = sum(client.nthreads().values())
        try:
            yield client.get_executor(retries=RETRIES), max(threads, 1)
        except KilledWorker as error:
            raise BackendError(
                "Dask's workers keep crashing (out of memory?); give them more, then run again"
            ) from error


def in_order(
    executor: Executor | None,
    work: Callable[..., T],
    tasks: Iterable[tuple[object, ...]],
    *,
    ahead: int = AHEAD,
) -> Iterator[T]:
    """Yield `work(*task)` for each task in order, with at most `ahead` tasks in progress.

    `tasks` may be infinite.
    """
    if executor is None:
        for task in tasks:
            yield work(*task)
        return
    under_way: deque[Future[T]] = deque()
    try:
        for task in tasks:
            under_way.append(executor.submit(work, *task))
            if len(under_way) >= ahead:
                yield under_way.popleft().result()
        while under_way:
            yield under_way.popleft().result()
    finally:
        for future in under_way:
            future.cancel()
