"""`deepfreak watch`, `listen` and `live beam`: a session each, of files, a detector and shots."""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import click

from deepfreak.cli.command import INPUT, OUTPUT_DIRECTORY, Command, done, is_recipe
from deepfreak.cli.from_settings import SettingsOptions
from deepfreak.cli.options import (
    frame_options,
    model_option,
    out_option,
    policy_options,
    read_settings,
    seed_option,
    workers_option,
)

if TYPE_CHECKING:
    from deepfreak.live.ledger import Ledger
    from deepfreak.live.messages import FrameSource
    from deepfreak.live.session import MakeSource, Settings

F = TypeVar("F", bound=Callable[..., Any])
DASHBOARD = "127.0.0.1:8000"
MAX_LINES_A_SECOND = 10

_SETTINGS = SettingsOptions("deepfreak.live.session:Settings", "hits", "forward", "forward_kind")
_LIMITS = SettingsOptions("deepfreak.live.receive.intake:QueueLimits", "frames=queue")
_DASHBOARD = SettingsOptions("deepfreak.live.dashboard:DashboardSettings", "serpentine?")


def _address(value: str) -> tuple[str, int]:
    """Read `127.0.0.1:8000`."""
    host, _, port = value.rpartition(":")
    if not host or not port.isdecimal() or int(port) > 65535:
        raise click.UsageError(f"expected --dashboard HOST:PORT, found {value:.60}")
    return host.strip("[]"), int(port)


def _raster(value: str) -> tuple[int, int]:
    """Read `20x50`."""
    rows, _, columns = value.lower().partition("x")
    if not (rows.isdecimal() and columns.isdecimal()):
        raise click.UsageError(f"expected --raster ROWSxCOLUMNS such as 20x50, found {value:.40}")
    return int(rows), int(columns)


_OPTIONS = (
    out_option("Session directory (resumed if it exists).", directory=True),
    model_option,
    workers_option("Processes that classify."),
    _SETTINGS,
    click.option(
        "--dashboard", metavar="[HOST:PORT]", is_flag=False, flag_value=DASHBOARD,
        type=_address, help=f"Serve the dashboard, by default at {DASHBOARD}.",
    ),
    click.option(
        "--token", envvar="DEEPFREAK_TOKEN",
        help="Secret that browsers must present; required for an address that others can reach.",
    ),
    click.option(
        "--raster", metavar="ROWSxCOLUMNS", type=_raster, help="Frames are a raster scan: map it.",
    ),
    _DASHBOARD,
    _LIMITS,
    click.option(
        "--spool", type=OUTPUT_DIRECTORY, show_default="OUT/spool",
        help="Directory of frames that wait, best in memory (/dev/shm/...).",
    ),
    policy_options,
)  # fmt: skip


def session_options(command: F) -> F:
    """Give `command` the options of a session."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def settings_from(options: dict[str, Any]) -> "Settings":
    """Return the settings that `session_options` have gathered."""
    from deepfreak.live.dashboard import DashboardSettings
    from deepfreak.live.receive.intake import QueueLimits
    from deepfreak.live.session import Settings

    values = dict(options)
    address, token, raster = (values.pop(name) for name in ("dashboard", "token", "raster"))
    rows = {} if raster is None else {"raster": raster}
    rows |= _DASHBOARD.take(values)
    dashboard = address and DashboardSettings(host=address[0], port=address[1], token=token, **rows)
    limits = QueueLimits(**_LIMITS.take(values))
    given = _SETTINGS.take(values) | policy_options.take(values)
    return Settings(dashboard=dashboard, limits=limits, **given, **values)


def run_session(settings: "Settings", make_source: "MakeSource", *, name: str) -> int:
    """Run until the source ends or Ctrl-C; print the summary."""
    from deepfreak.live.session import open_session

    with (
        stopped_by_signals("finishing the frames received so far") as stop,
        open_session(settings, make_source, name=name, say=RateLimitedEcho()) as session,
    ):
        done(f"model: {session.model}; {session.policy.promise()}")
        if session.address is not None:
            token = settings.dashboard.token if settings.dashboard is not None else None
            done(f"page: {session.address}/" + (f"?token={token}" if token else ""))
        done(f"ready: {name}")
        summary = session.until(stop)
    decided = ", ".join(f"{count} {name}" for name, count in summary["decisions"].items() if count)
    click.echo(
        f"received {summary['received']}, recorded {summary['recorded']} ({decided or 'nothing'}), "
        f"missed {summary['missed']}, duplicates {summary['duplicates']}, "
        f"troubles {summary['troubles']}"
    )
    done(f"wrote {settings.out}", then=f"deepfreak live missing {settings.out}")
    return 0


class RateLimitedEcho:
    """Prints lines on stderr, a few a second at most, so that nonsense floods no terminal."""

    def __init__(self) -> None:
        self._second = self._lines = 0

    def __call__(self, line: str) -> None:
        """Print a line, or count it for later."""
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
    line = f"deepfreak: {doing}; a second Ctrl-C ends at once\n".encode()

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


@click.command(cls=Command, extra="live")
@click.argument("paths", nargs=-1, required=True, type=INPUT)
@session_options
@frame_options
@click.option(
    "--until-idle", type=click.FloatRange(0, min_open=True), metavar="SECONDS",
    help="End when nothing new has come for this long.",
)  # fmt: skip
def watch(*, paths: tuple[Path, ...], until_idle: float | None, **options: Any) -> int:  # noqa: ANN401 -- of all kinds
    """Classify detector files as they arrive in directories.

    Any order and format. Incomplete files are waited for. Files that exist already are classified
    first. Ctrl-C ends it; the same command resumes, after a crash too.
    """
    from deepfreak.live.receive.folder.source import FolderSource

    reading = read_settings(options)

    def source(ledger: "Ledger") -> "FrameSource":
        def context_of(series: str) -> bytes | None:
            began = ledger.began(series)
            return None if began is None else began.context

        return FolderSource(
            paths,
            known=lambda series: ledger.seen(series).contiguous,
            context_of=context_of,
            until_idle_s=until_idle,
            reading=reading,
        )

    settings = settings_from(options)
    # files wait where they are
    settings = replace(settings, limits=replace(settings.limits, when_full="wait"))
    return run_session(settings, source, name=", ".join(map(str, paths)))


@click.command(cls=Command, extra="live")
@click.argument("address")
@session_options
@click.option(
    "--protocol", type=click.Choice(["auto", "v1", "v2"]), default="auto", show_default=True,
    help="DECTRIS Stream V1 (port 9999) or V2 (port 31001).",
)  # fmt: skip
@frame_options
def listen(*, address: str, protocol: Literal["auto", "v1", "v2"], **options: Any) -> int:  # noqa: ANN401 -- of all kinds
    """Classify the frames that a detector streams.

    ADDRESS is the detector's, such as tcp://detector:31001. Frames that come faster than they can
    be classified are sampled fairly; the rest is counted. Ctrl-C ends it; the same command resumes,
    after a crash too.
    """
    from deepfreak.formats.finishing import require_no_places
    from deepfreak.formats.guarded import load_guarded
    from deepfreak.live.receive.dectris.stream import StreamSource

    def source(_ledger: "Ledger") -> "FrameSource":
        return StreamSource(address, protocol=protocol)

    reading = read_settings(options).absolute()
    require_no_places(load_guarded(reading))  # says now what is wrong with the files
    return run_session(settings_from({**options, "reading": reading}), source, name=address)


@click.command(cls=Command, extra="live")
@click.argument("recipe", type=is_recipe)
@session_options
@click.option(
    "--rate", type=click.FloatRange(0, min_open=True), metavar="HZ",
    help="Shots per second; by default as many as can be simulated.",
)  # fmt: skip
@click.option("--count", type=click.IntRange(1), help="Shots; by default endless.")
@seed_option()
@workers_option("Processes that simulate.", default=1, flag="--simulators")
def beam(
    *,
    recipe: str,
    rate: float | None,
    count: int | None,
    seed: int,
    simulators: int,
    **options: Any,  # noqa: ANN401 -- of all kinds
) -> int:
    """Classify simulated shots live, without a detector.

    A rehearsal of everything that `watch` and `listen` do.
    """
    from deepfreak.datasets import worker_processes
    from deepfreak.live.receive.simulated import SimulatedSource, series_of
    from deepfreak.physics.recipe import load_recipe

    experiment = load_recipe(recipe)
    experiment.structure_factors()  # fills the cache before the workers ask for it
    with worker_processes(simulators) as executor:

        def source(ledger: "Ledger") -> "FrameSource":
            first = ledger.seen(series_of(experiment, seed=seed)).contiguous
            return SimulatedSource(
                experiment, seed=seed, rate_hz=rate, count=count, first=first, executor=executor
            )

        return run_session(settings_from(options), source, name=f"the beam of {recipe}")
