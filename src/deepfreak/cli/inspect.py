"""`deepfreak inspect`: what was understood of detector files."""

import json
from pathlib import Path
from typing import Any

import click

from deepfreak.cli.classify import ALL_UNREADABLE, SOME_UNREADABLE
from deepfreak.cli.command import OUTPUT_FILE, Command, done, log
from deepfreak.cli.options import frame_options, frames_argument, overwrite_option, read_settings


@click.command(cls=Command)
@frames_argument
@click.option(
    "--frame", type=click.IntRange(0), metavar="N",
    help="Frame N of each file, from 0; the first by default.",
)  # fmt: skip
@frame_options
@click.option("--picture", type=OUTPUT_FILE, help="PNG to draw, of one frame.")
@click.option(
    "--format", "form", type=click.Choice(["table", "json"]), default="table", show_default=True
)
@overwrite_option
def inspect(
    *,
    files: tuple[Path, ...],
    frame: int | None,
    picture: Path | None,
    form: str,
    overwrite: bool,
    **options: Any,  # noqa: ANN401 -- of all kinds
) -> int:
    """Show what is understood of detector files.

    For each of FILES, files or directories of them: the frame's size, which pixels measured nothing
    and why, the gain and other metadata, and where each was found; and what it shows: peaks, rings,
    lattices (docs/evidence.md). With `--format json` one object a line; a byte XX of a file's name
    that is not UTF-8 is the surrogate U+DCXX there, as Python's os.fsencode takes it.
    """
    from deepfreak.errors import FrameError
    from deepfreak.evidence import find_evidence
    from deepfreak.formats.guarded import find_files_guarded, load_guarded, open_guarded
    from deepfreak.reports.inspection import describe, draw, inspection_text

    settings = read_settings(options)
    given = load_guarded(settings)
    given["reasons"] = True
    found = find_files_guarded(files, given.get("geometry"))
    if picture is not None and len(found) > 1:
        raise click.UsageError(f"expected one file to draw with --picture, found {len(found)}")
    failed = 0
    for path in found:
        try:
            with open_guarded(path, **given) as opened:
                index = frame or 0
                read = opened.read(index)
                evidence = find_evidence(read)
                record = describe(read, opened.count, evidence)
                if picture is not None:
                    draw(read, evidence, picture, overwrite=overwrite)
        except FrameError as error:
            failed += 1
            record = {"file": str(path), "frame": frame, "error": str(error)}
        click.echo(
            json.dumps(record, allow_nan=False) if form == "json" else inspection_text(record)
        )
    if picture is not None and not failed:
        done(f"picture: {picture}")
    if not failed:
        return 0
    log.warning("%d of %d files could not be read", failed, len(found))
    return SOME_UNREADABLE if failed < len(found) else ALL_UNREADABLE
