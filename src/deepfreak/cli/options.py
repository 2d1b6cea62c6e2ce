"""Options that several commands share, each written once."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from deepfreak.cli.command import INPUT, OUTPUT_DIRECTORY, OUTPUT_FILE, is_model, log
from deepfreak.cli.from_settings import SettingsOptions
from deepfreak.extras import require
from deepfreak.processors import MAX_WORKERS, usable_processors

if TYPE_CHECKING:
    from deepfreak.formats.frame import Frame
    from deepfreak.formats.options import ReadSettings

F = TypeVar("F", bound=Callable[..., Any])


def _dask(value: str) -> str:
    require("dask")
    return value


def _some_exist(
    _context: click.Context, _parameter: click.Parameter, paths: tuple[Path, ...]
) -> tuple[Path, ...]:
    """Reject paths of which none exists; a single one that is missing gets a record of its own."""
    if not any(path.exists() for path in paths):
        raise click.UsageError(f"no file {paths[0]}")
    return paths


frames_argument = click.argument(
    "files", nargs=-1, required=True, type=click.Path(path_type=Path), callback=_some_exist
)
model_argument = click.argument("model", type=is_model)
model_option = click.option(
    "--model", metavar="PATH", type=is_model,
    help="Model file, or `diffranet`: five classes, for images like DiffraNet's. "
    "By default the model that screens frames.",
)  # fmt: skip
overwrite_option = click.option("--overwrite", is_flag=True, help="Replace existing outputs.")
report_option = click.option("--report", type=OUTPUT_FILE, help="HTML page to write.")
json_option = click.option("--json", "json_path", type=OUTPUT_FILE, help="JSON file to write.")
split_option = click.option("--split", metavar="NAME", help="Use only this split of DATA.")
resume_option = click.option("--resume", is_flag=True, help="Only resume an interrupted run.")
dask_option = click.option(
    "--dask", metavar="ADDRESS", type=_dask,
    help="Scheduler of a Dask cluster to use instead of processes.",
)  # fmt: skip
device_option = click.option("--device", help="Such as cpu or cuda.", show_default="a GPU if any")
validation_option = click.option(
    "--validation", metavar="REAL.h5", type=INPUT,
    help="Choose on the split `validation` of this set of real images, in two groups.",
)  # fmt: skip

policy_options = SettingsOptions(
    "deepfreak.screening.policy:find_policy", "scores", "min_hit_recall", "max_empty_kept"
)
frame_options = SettingsOptions(
    "deepfreak.formats.options:ReadSettings",
    "mask", "geometry", "channel", "gain", "pedestal", "dark",
)  # fmt: skip


def out_option(what: str, *, directory: bool = False, **given: Any) -> Callable[[F], F]:  # noqa: ANN401 -- as click's
    """Return the option of an output, required unless it has a default."""
    kind = OUTPUT_DIRECTORY if directory else OUTPUT_FILE
    required = not {"default", "show_default", "required"} & given.keys()
    given = {"show_default": True, **given} if "default" in given else given
    return click.option("--out", type=kind, help=what, **{"required": required, **given})


def _seed(_context: click.Context, _parameter: click.Parameter, value: int | None) -> int | None:
    if value is not None and value >= 2**63:
        raise click.BadParameter(f"expected a seed below {2**63}, found {value}")
    return value


def seed_option(of: str = "", **given: Any) -> Callable[[F], F]:  # noqa: ANN401
    """Return the option of the seed."""
    given = {"default": 0, "show_default": True, "help": f"Seed {of}".rstrip() + ".", **given}
    return click.option("--seed", type=click.IntRange(0), callback=_seed, **given)


def workers_option(
    what: str = "Worker processes.", *, default: int | None = None, flag: str = "--workers"
) -> Callable[[F], F]:
    """Return the option of the number of processes, by default one for each usable core."""
    return click.option(
        flag, type=click.IntRange(1, MAX_WORKERS), help=what, default=default or usable_processors,
        show_default="all usable cores" if default is None else True,
    )  # fmt: skip


def recipe_options(command: F) -> F:
    """Give `command` the options that change a recipe."""
    command = click.option(
        "--structure", metavar="FILE|ID",
        help="Crystal structure to use: a PDB, mmCIF or MTZ file, or a PDB id that "
        "`deepfreak data fetch` has stored.",
    )(command)  # fmt: skip
    return click.option(
        "--set", "changes", multiple=True, metavar="NAME=VALUE",
        help="Change a setting of the recipe, such as beam.wavelength_A=1.3. Repeatable.",
    )(command)  # fmt: skip


def take(values: dict[str, Any], *names: str) -> dict[str, Any]:
    """Take the options of those names out of `values`."""
    return {name: values.pop(name) for name in names}


def read_settings(values: dict[str, Any]) -> "ReadSettings":
    """Take the options of `frame_options` out of `values`."""
    from deepfreak.formats.options import ReadSettings

    given = frame_options.take(values)
    if {"pedestal", "dark"} <= given.keys():
        raise click.UsageError("expected one of --pedestal and --dark, found both")
    return ReadSettings(**given)


def notes_once() -> "Callable[[Frame], None]":
    """Return a function that logs what is new about the reading of a frame."""
    from deepfreak.formats.frame import Notices
    from deepfreak.text import printable

    notices = Notices()

    def see(frame: "Frame") -> None:
        for note in notices.new(frame):
            log.warning("%s", printable(f"{frame.file}: {note}"))

    return see
