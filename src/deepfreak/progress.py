"""Progress of long work on stderr: a bar on a terminal, a line now and then in a log."""

import logging
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

SECONDS_BETWEEN_LINES = 15.0


@contextmanager
def progress(what: str, total: int) -> Iterator[Callable[[int], None]]:
    """Show progress and the time left; the function it gives takes the number of further items."""
    if logging.getLogger("deepfreak").level > logging.INFO:
        yield lambda _: None
        return
    if not sys.stderr.isatty():
        yield _lines(what, total)
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(what, total=total)
        yield lambda done: bar.advance(task, done)


def _lines(what: str, total: int) -> Callable[[int], None]:
    last = time.monotonic()
    finished = 0
    # before the first items are done, code is compiled: that time does not predict the rest
    first: tuple[float, int] | None = None

    def advance(done: int) -> None:
        nonlocal finished, first, last
        finished += done
        now = time.monotonic()
        if first is None:
            first = now, finished
        if now - last >= SECONDS_BETWEEN_LINES and first[1] < finished < total:
            last = now
            left = (now - first[0]) / (finished - first[1]) * (total - finished)
            sys.stderr.write(f"{what}: {finished} of {total}, about {left:.0f} s left\n")

    return advance
