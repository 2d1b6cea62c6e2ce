"""Looks into files in processes with limits, several at a time, so that no file holds up others.

Whatever a file does to its reader, the program that watches a folder goes on.
"""

import threading
from collections.abc import Callable, Hashable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from functools import lru_cache
from typing import Any

from deepfreak.formats.guarded import MODULES, limits_for
from deepfreak.isolation import LimitedProcess

PROCESSES = 3  # started when they are needed: a further one when files keep the others busy
_PROMPT_S = 0.05  # most answers come sooner


class InspectionPool:
    """Processes that are asked about files by one thread, which comes again for late answers."""

    def __init__(self, count: int = PROCESSES) -> None:
        modules = [*MODULES, "deepfreak.live.receive.folder.look"]
        self._idle = [LimitedProcess(modules=modules) for _ in range(count)]
        self._busy: dict[Hashable, tuple[LimitedProcess, Future[Any]]] = {}
        self._threads = ThreadPoolExecutor(count, thread_name_prefix="deepfreak look")

    @property
    def waiting(self) -> bool:
        """Whether answers are still to come."""
        return bool(self._busy)

    def ask(
        self,
        key: Hashable,
        function: Callable[..., Any],
        path: str,
        *,
        patient: bool = False,
        **kwargs: object,
    ) -> list[Any]:
        """Return a list of what `function(path, **kwargs)` gives in a process; empty while none.

        Parameters
        ----------
        key
            Tells questions apart; who asks the same again gets the answer once.
        patient
            Whether to wait as long as it takes, which the limits bound.

        Raises
        ------
        ReadingStoppedError
            A limit has ended it.
        """
        if key in self._busy:
            timeout = None if patient else 0.0
        else:
            process = self._free_process(patient=patient)
            if process is None:
                return []
            future = self._threads.submit(
                process.call, function, path, limits=limits_for(path), **kwargs
            )
            self._busy[key] = process, future
            timeout = None if patient else _PROMPT_S
        process, future = self._busy[key]
        if not wait([future], timeout).done:
            return []
        del self._busy[key]
        self._idle.append(process)
        return [future.result()]

    def stop(self) -> None:
        """End what still looks; nobody waits for it any more."""
        for process, future in list(self._busy.values()):
            if not future.done():
                process.close()
        for key, (process, future) in list(self._busy.items()):
            wait([future])
            del self._busy[key]
            self._idle.append(process)

    def _free_process(self, *, patient: bool) -> LimitedProcess | None:
        while not self._idle:
            # an answer that nobody has come for is of a file that has changed or gone
            for key, (process, future) in list(self._busy.items()):
                if future.done():
                    del self._busy[key]
                    self._idle.append(process)
            if self._idle or not patient:
                break
            wait([future for _, future in self._busy.values()], return_when=FIRST_COMPLETED)
        return self._idle.pop() if self._idle else None


@lru_cache(maxsize=8)
def _looking(_thread: int) -> InspectionPool:
    return InspectionPool()


def looking() -> InspectionPool:
    """Return the processes that look for this thread; they stay for the next source."""
    return _looking(threading.get_ident())
