"""What all commands have in common: checks before work, `-v` and `-q`, groups that help."""

import difflib
import logging
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from importlib import resources
from pathlib import Path
from typing import Any, NoReturn

import click

from deepfreak.errors import OutputError
from deepfreak.extras import require
from deepfreak.progress import progress
from deepfreak.storage.files import check_output

log = logging.getLogger("deepfreak")

_LEVELS = (
    click.Option(["-v", "--verbose"], is_flag=True, help="Show more of what happens."),
    click.Option(["-q", "--quiet"], is_flag=True, help="Show only warnings and results."),
)


INPUT = click.Path(exists=True, path_type=Path)
# A file must not exist without `--overwrite`, its directory must; a directory is made if need be.
OUTPUT_FILE, OUTPUT_DIRECTORY = click.Path(path_type=Path), click.Path(path_type=Path)
SHIPPED_MODELS = ("default", "diffranet")


def is_recipe(value: str) -> str:
    """Return the name of a shipped recipe or of a TOML file, if there is one: a type for click."""
    shipped = resources.files("deepfreak.recipes")
    if not (Path(value).is_file() or (shipped / f"{value}.toml").is_file()):
        known = sorted(f.name[:-5] for f in shipped.iterdir() if f.name.endswith(".toml"))
        raise click.UsageError(
            f"no recipe {value}: expected a TOML file or one of: {', '.join(known)}"
        )
    return value


def is_model(value: str) -> Path:
    """Return the name of a shipped model or of a file, if there is one: a type for click."""
    if value not in SHIPPED_MODELS and not Path(value).is_file():
        raise click.UsageError(
            f"no model {value}: expected a file or one of: {', '.join(SHIPPED_MODELS)}"
        )
    return Path(value)


# The same also for a command that is called without its groups.
HELP = {"help_option_names": ["-h", "--help"]}


class Command(click.Command):
    """A command that checks its arguments, and an extra that it needs, before it begins."""

    def __init__(self, *arguments: Any, extra: str | None = None, **given: Any) -> None:  # noqa: ANN401 -- click's
        super().__init__(*arguments, **given)
        self.context_settings.update(HELP)
        self._extra = extra

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        """Return the parameters of the command and those of all commands."""
        *own, last = super().get_params(ctx)  # the last is --help
        return [*own, *_LEVELS, last]

    def invoke(self, ctx: click.Context) -> Any:  # noqa: ANN401 -- as click's
        """Check the outputs, and run."""
        if self._extra is not None:
            require(self._extra)
        verbose, quiet = ctx.params.pop("verbose"), ctx.params.pop("quiet")
        for parameter in self.params:
            value = ctx.params.get(parameter.name or "")
            if value is not None and parameter.type is OUTPUT_FILE:
                check_output(value, overwrite=ctx.params.get("overwrite", False))
            if value is not None and parameter.type is OUTPUT_DIRECTORY:
                check_directory(value)
        with _logging(logging.DEBUG if verbose else logging.WARNING if quiet else logging.INFO):
            return super().invoke(ctx)


class Group(click.Group):
    """A group that prints its help when it is called alone, and names the nearest command."""

    command_class = Command
    group_class = type

    def __init__(self, *arguments: Any, **given: Any) -> None:  # noqa: ANN401 -- click's
        super().__init__(*arguments, **given)
        self.context_settings.update(HELP)

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 -- as click's
        """Return the commands in the order in which they were added."""
        return list(self.commands)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Print the help if there is nothing else to do."""
        if not args:
            click.echo(ctx.get_help(), color=ctx.color)
            ctx.exit()
        return super().parse_args(ctx, args)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Return the command of that name, or say which is nearest."""
        if not args[0].startswith("-") and self.get_command(ctx, args[0]) is None:
            _unknown(ctx, args[0])
        return super().resolve_command(ctx, args)


def commands(group: click.Group, *above: str) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """Yield the words and the object of each command below `group`."""
    for name, child in group.commands.items():
        if isinstance(child, click.Group):
            yield from commands(child, *above, name)
        else:
            yield (*above, name), child


def check_directory(path: Path) -> None:
    """Raise `OutputError` if `path` can be no directory to write into."""
    place = path.absolute()
    while not place.exists():
        place = place.parent
    if not place.is_dir():
        raise OutputError(f"{place} is a file; expected the name of a directory to write into")
    if not os.access(place, os.W_OK):
        raise OutputError(f"no permission to write into {place}")


def forget_stdout() -> None:
    """Let the interpreter's last flush of stdout, whose reader has gone, go nowhere."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


@contextmanager
def resumable(kept: Callable[[], str | None]) -> Iterator[None]:
    """Say after Ctrl-C what is kept, and that the same command resumes; `kept` may return None."""
    try:
        yield
    except KeyboardInterrupt:
        what = kept()
        if what is None:
            raise
        log.warning("interrupted; %s: give the same command again to resume", what)
        raise click.exceptions.Exit(130) from None


@contextmanager
def bars() -> Iterator[Callable[[str, int], Callable[[int], None]]]:
    """Give a function that begins a bar, as `progress`, where the one before has ended."""
    with ExitStack() as stack:

        def start(what: str, total: int) -> Callable[[int], None]:
            stack.close()
            return stack.enter_context(progress(what, total))

        yield start


def done(what: str, *, then: str | None = None) -> None:
    """Say at the end of a command what it wrote, and what to do next."""
    log.info("%s", what)
    if then is not None:
        log.info("next: %s", then)


def _unknown(ctx: click.Context, name: str) -> NoReturn:
    """Raise an error that names the command nearest to `name` in the whole tree."""
    root = ctx.find_root()
    assert isinstance(root.command, click.Group)  # noqa: S101 -- only groups look up commands
    paths = {words: " ".join(words) for words, _ in commands(root.command)}
    nearest = max(paths, key=lambda words: difflib.SequenceMatcher(None, name, words[-1]).ratio())
    raise click.UsageError(
        f"no command {name!r} in `{ctx.command_path}`; the nearest is "
        f"`{root.command_path} {paths[nearest]}`"
    )


class _Formatter(logging.Formatter):
    """One line a message; warnings and errors begin with our name."""

    def format(self, record: logging.LogRecord) -> str:
        line = " ".join(super().format(record).splitlines())
        return line if record.levelno <= logging.INFO else f"deepfreak: {line}"


@contextmanager
def _logging(level: int) -> Iterator[None]:
    """Write what is logged, from `level`, to stderr; restore what was before."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Formatter())
    before, passed_on = log.level, log.propagate
    log.addHandler(handler)
    log.setLevel(level)
    log.propagate = False
    try:
        yield
    finally:
        log.removeHandler(handler)
        log.setLevel(before)
        log.propagate = passed_on
