"""What `watch`, `listen` and `beam` have in common: options, and the run itself."""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from deepfreak.cli.options import model_option
from deepfreak.cli.policy_options import policy_options
from deepfreak.processors import MAX_WORKERS, usable_processors

if TYPE_CHECKING:
    from deepfreak.live.dashboard.dashboard import DashboardSettings
    from deepfreak.live.session import MakeSource, Settings

F = TypeVar("F", bound=Callable[..., Any])
DASHBOARD = "127.0.0.1:8000"
MAX_LINES_A_SECOND = 10

_OPTIONS = (
    click.option(
        "--out", type=click.Path(path_type=Path), required=True,
        help="Folder of the session; one that is there is gone on with.",
    ),
    model_option,
    click.option(
        "--workers", type=click.IntRange(1, MAX_WORKERS), default=usable_processors,
        show_default="all usable cores", help="Processes that judge.",
    ),
    click.option("--hits", type=click.Choice(["nxmx", "cxi"]), help="Copy kept and unsure frames."),
    click.option(
        "--forward", metavar="ADDRESS",
        help="Send kept and unsure frames to CrystFEL (--zmq-input), at tcp://127.0.0.1:5002 e.g.",
    ),
    click.option(
        "--forward-kind", type=click.Choice(["publish", "answer"]), default="publish",
        show_default=True, help="To who subscribes, or to who asks (--zmq-request).",
    ),
    click.option(
        "--dashboard", metavar="[HOST:PORT]", is_flag=False, flag_value=DASHBOARD,
        help=f"Serve a page about it, by default at {DASHBOARD}.",
    ),
    click.option(
        "--token", help="What a browser must know; needed for an address that others can reach.",
        envvar="DEEPFREAK_TOKEN",
    ),
    click.option("--raster", metavar="ROWSxCOLUMNS", help="Frames are a raster scan: map it."),
    click.option("--serpentine", is_flag=True, help="Every second row of it runs backwards."),
    click.option(
        "--queue", type=click.IntRange(2, 100_000), default=256, show_default=True,
        help="The most frames that wait for a verdict.",
    ),
    click.option(
        "--spool", type=click.Path(path_type=Path),
        help="Folder of frames that wait, best in memory (/dev/shm/...).", show_default="OUT/spool",
    ),
)  # fmt: skip


def live_options(command: F) -> F:
    """Give `command` the options of a session."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return policy_options(command)


def settings_from(options: dict[str, Any]) -> "Settings":
    """Return the settings that `live_options` have gathered."""
    from deepfreak.live.receive.intake import QueueLimits
    from deepfreak.live.session import Settings

    values = dict(options)
    dashboard = _dashboard(values)
    limits = QueueLimits(frames=values.pop("queue"))
    return Settings(dashboard=dashboard, limits=limits, **values)


def run_session(settings: "Settings", make_source: "MakeSource", *, name: str) -> int:
    """Run until the source ends or Ctrl-C; say what came of it."""
    from deepfreak.live.session import open_session

    with (
        stopped_by_signals("finishing what has come") as stop,
        open_session(settings, make_source, name=name, say=Voice()) as session,
    ):
        click.echo(f"model: {session.model}; {session.policy.promise()}", err=True)
        if session.address is not None:
            token = settings.dashboard.token if settings.dashboard is not None else None
            click.echo(f"page: {session.address}/" + (f"?token={token}" if token else ""), err=True)
        click.echo(f"ready: {name}", err=True)
        summary = session.until(stop)
    decided = ", ".join(f"{count} {name}" for name, count in summary["decisions"].items() if count)
    click.echo(
        f"received {summary['received']}, recorded {summary['recorded']} ({decided or 'nothing'}), "
        f"missed {summary['missed']}, duplicates {summary['duplicates']}, "
        f"troubles {summary['troubles']}"
    )
    return 0


class Voice:
    """Says lines on stderr, only some of them when there are many: nonsense floods no terminal."""

    def __init__(self) -> None:
        self._second = self._lines = 0

    def __call__(self, line: str) -> None:
        """Say a line, or count it for later."""
        second = int(time.monotonic())
        if second != self._second:
            if self._lines > MAX_LINES_A_SECOND:
                self._echo(f"and {self._lines - MAX_LINES_A_SECOND} lines like these")
            self._second, self._lines = second, 0
        self._lines += 1
        if self._lines <= MAX_LINES_A_SECOND:
            self._echo(line)

    def _echo(self, line: str) -> None:
        with suppress(OSError):  # a terminal that is gone ends no run
            click.echo(f"deepfreak: {line}", err=True)


@contextmanager
def stopped_by_signals(doing: str) -> Iterator[threading.Event]:
    """Give an event that the first Ctrl-C or SIGTERM sets; a second one ends the program.

    `doing` says what follows the first one.
    """
    stop = threading.Event()
    # not printed: the signal may come in the middle of printing
    line = f"deepfreak: {doing}; once more ends at once\n".encode()

    def end(_number: int, _frame: object) -> None:
        if stop.is_set():
            raise KeyboardInterrupt
        stop.set()
        with suppress(OSError):
            os.write(2, line)

    before = {number: signal.signal(number, end) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _dashboard(values: dict[str, Any]) -> "DashboardSettings | None":
    """Return where the page is served, and take its options out of `values`."""
    from deepfreak.live.dashboard.dashboard import DashboardSettings

    address, token = values.pop("dashboard"), values.pop("token")
    raster, serpentine = values.pop("raster"), values.pop("serpentine")
    if address is None:
        return None
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal() or int(port) > 65535:
        raise click.UsageError(f"expected --dashboard HOST:PORT, found {address:.60}")
    made = DashboardSettings(
        host=host.strip("[]"), port=int(port), token=token, serpentine=serpentine
    )
    return made if raster is None else replace(made, raster=_raster(raster))


def _raster(text: str) -> tuple[int, int]:
    rows, _, columns = text.lower().partition("x")
    if not (rows.isdecimal() and columns.isdecimal()):
        raise click.UsageError(f"expected --raster ROWSxCOLUMNS such as 20x50, found {text:.40}")
    return int(rows), int(columns)
