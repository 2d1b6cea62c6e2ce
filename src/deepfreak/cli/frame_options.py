"""Options of every command that reads detector files."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from deepfreak.formats.frame import Frame
    from deepfreak.formats.options import ReadSettings

F = TypeVar("F", bound=Callable[..., Any])
_NAMES = ("mask", "geometry", "channel", "gain", "pedestal", "dark")

_OPTIONS = (
    click.option(
        "--mask", type=click.Path(path_type=Path), help="Image, not 0 where to leave out."
    ),
    click.option(
        "--geometry", type=click.Path(path_type=Path),
        help="CrystFEL .geom, DIALS .expt or pyFAI .poni.",
    ),
    click.option(
        "--channel", metavar="NAME|NUMBER",
        help="Which of several images of a frame to read; the first by default.",
    ),
    click.option(
        "--gain", type=click.FloatRange(0, min_open=True),
        help="Counts per photon, where the header does not say.",
    ),
    click.option(
        "--pedestal", type=float, help="Counts of a pixel without light."
    ),
    click.option(
        "--dark", type=click.Path(path_type=Path),
        help="File of dark frames: the pedestal of each pixel.",
    ),
)  # fmt: skip


def frame_options(command: F) -> F:
    """Give `command` the options of `ReadSettings`."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def said_once() -> "Callable[[Frame], None]":
    """Return a function that says on stderr what is new about the reading of a frame."""
    from deepfreak.formats.notices import Notices
    from deepfreak.text import printable

    notices = Notices()

    def see(frame: "Frame") -> None:
        for note in notices.new(frame):
            click.echo(f"deepfreak: {printable(f'{frame.file}: {note}')}", err=True)

    return see


def read_settings(values: dict[str, Any]) -> "ReadSettings":
    """Take the options of `frame_options` out of `values`."""
    from math import isfinite

    from deepfreak.formats.options import ReadSettings

    given = {name: values.pop(name) for name in _NAMES}
    if given["pedestal"] is not None and given["dark"] is not None:
        raise click.UsageError("expected one of --pedestal and --dark, found both")
    for name in ("gain", "pedestal"):
        if given[name] is not None and not isfinite(given[name]):
            raise click.UsageError(f"expected a finite number for --{name}, found {given[name]}")
    return ReadSettings(**given)
