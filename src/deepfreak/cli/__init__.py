"""The command line: a thin layer over the public functions.

Heavy libraries are imported inside the commands, so that `deepfreak --help` and a typo are answered
at once. A known error becomes one line on stderr.
"""

import sys
from collections.abc import Sequence
from contextlib import suppress

import click

from deepfreak import __version__
from deepfreak.cli.command import Group, forget_stdout
from deepfreak.cli.data import data
from deepfreak.cli.frames import classify, demo, inspect
from deepfreak.cli.live import live
from deepfreak.cli.model import model
from deepfreak.cli.sessions import listen, watch
from deepfreak.errors import DeepFreakError
from deepfreak.extras import extra_of, missing
from deepfreak.storage.files import reason_of

# docs/exit_codes.md
OUTPUT_OR_MACHINE = 1
BAD_INPUT = 2
INTERRUPTED = 130


@click.group(cls=Group)
@click.version_option(__version__)
def app() -> None:
    """Simulate serial-crystallography images and tell which frames are worth keeping."""


for command in (classify, watch, listen, inspect, demo, live, data, model):
    app.add_command(command)


def main(
    argv: Sequence[str] | None = None, *, commands: click.Command = app, name: str = "deepfreak"
) -> int:
    """Run one command and return its exit code, which docs/exit_codes.md lists."""
    try:
        result = commands.main(args=argv, prog_name=name, standalone_mode=False)
    except BrokenPipeError:
        with suppress(OSError):
            forget_stdout()
        return OUTPUT_OR_MACHINE
    except ModuleNotFoundError as error:
        extra = extra_of(error.name)
        if extra is None:
            raise
        _say(missing(str(error.name), extra))
        return OUTPUT_OR_MACHINE
    except (click.ClickException, click.Abort, DeepFreakError, OSError, MemoryError) as error:
        message, code = _told(error)
        _say(message)
        return code
    except BaseException as error:
        if not _is_interrupt(error):
            raise
        _say("interrupted")
        return INTERRUPTED
    return result if isinstance(result, int) else 0


def _told(error: Exception) -> tuple[str, int]:
    """Return the message for an error that ended a command, and the exit code."""
    match error:
        case click.ClickException():
            return error.format_message(), BAD_INPUT
        case DeepFreakError():
            return str(error), error.exit_code
        case OSError():
            place = f"{error.filename}: " if error.filename else ""
            return place + reason_of(error), OUTPUT_OR_MACHINE
        case MemoryError():
            return "there is not enough memory; try fewer --workers", OUTPUT_OR_MACHINE
        case _:
            return "interrupted", INTERRUPTED


def _is_interrupt(error: BaseException | None) -> bool:
    """Return whether Ctrl-C led to `error`; compiled code turns it into errors of its own."""
    while error is not None and not isinstance(error, KeyboardInterrupt):
        error = error.__cause__ or error.__context__
    return error is not None


def _say(message: str) -> None:
    """Print `message` as one line on stderr."""
    one_line = " ".join(message.split())
    click.echo(f"deepfreak: {one_line}", err=True)


def entry_point() -> None:
    """Run the command line and exit with its code."""
    sys.exit(main())
