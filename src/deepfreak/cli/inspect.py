"""`deepfreak inspect`: what was understood of detector files."""

import json
from pathlib import Path
from typing import Any

import click

from deepfreak.cli.classify import ALL_UNREADABLE, SOME_UNREADABLE
from deepfreak.cli.command import OUTPUT_FILE, Command, done, log
from deepfreak.cli.options import frame_options, frames_argument, overwrite_option, read_settings
from deepfreak.text import printable, spelled


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
    from deepfreak.reports.inspection import draw
    from deepfreak.screening.inspection import describe

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
        click.echo(json.dumps(record, allow_nan=False) if form == "json" else _table(record))
    if picture is not None and not failed:
        done(f"picture: {picture}")
    if not failed:
        return 0
    log.warning("%d of %d files could not be read", failed, len(found))
    return SOME_UNREADABLE if failed < len(found) else ALL_UNREADABLE


def _table(record: dict[str, Any]) -> str:
    """Return a record as lines of names, values and where they were found."""
    lines = [spelled(str(record["file"]))]
    if "error" in record:
        return f"{lines[0]}\n  cannot be read: {printable(record['error'])}\n"
    shape, origins = record["shape"], record["from"]
    pixels = shape[0] * shape[1]
    lines += [
        f"  frame        {record['frame']} of {record['frames']}",
        f"  size         {shape[0]} x {shape[1]} (slow x fast), {record['dtype']}",
        f"  measured     {record['valid']} of {pixels} pixels ({record['valid'] / pixels:.1%})",
    ]
    lines += [f"    missing    {count}: {reason}" for reason, count in record["missing"].items()]
    if record["saturated"] is not None:
        lines.append(f"  saturated    {record['saturated']} pixels")
    units = {
        "detector": ("detector", ""),
        "gain": ("gain", "counts per photon"),
        "pedestal": ("pedestal", "counts"),
        "saturation": ("saturation", "counts"),
        "beam_center_px": ("beam", "pixels (slow, fast)"),
        "pixel_size_mm": ("pixel size", "mm"),
        "distance_mm": ("distance", "mm"),
        "wavelength_A": ("wavelength", "A"),
    }
    for key, (name, unit) in units.items():
        value = record[key]
        text = "unknown" if value is None else f"{_shown(value)} {unit}".rstrip()
        origin = f"  [{origins[key]}]" if key in origins else ""
        lines.append(printable(f"  {name:<12} {text}{origin}"))
    lines += _evidence(record["evidence"])
    lines += [printable(f"  note         {note}") for note in record["notes"]]
    return "\n".join(lines) + "\n"


def _evidence(found: dict[str, Any]) -> list[str]:
    """Return what the frame shows as lines of the table."""
    peaks, off = found["peaks"], found["peaks_off_rings"]
    center = "unknown"
    if found["ring_center_px"] is not None:
        center = f"{_shown(found['ring_center_px'])} [{found['ring_center_origin']}]"
    number, d_min = found["lattices"], found["d_min_A"]
    lattices = "" if number is None else f" ({number})"
    return [
        f"  peaks        {peaks['5']} (z > 7: {peaks['7']}, z > 10: {peaks['10']})",
        f"    left out   single pixels: {found['hot_pixels']}, lines: {found['crests']}",
        f"  off rings    {off['5']} (z > 7: {off['7']}, z > 10: {off['10']})",
        f"  on rings     {found['ring_share']:.0%} of the peaks; rings: {found['rings']}",
        f"  centre       {center}",
        f"  lattice      {found['lattice_score']:.1f} sigma{lattices}",
        f"  d_min        {'unknown' if d_min is None else f'{d_min:.2f} A'}",
        f"  photon       {found['photon']:.3g} counts [{found['photon_origin']}]",
        f"  noise        {found['noise']:.3g} counts",
    ]


def _shown(value: object) -> str:
    if isinstance(value, list):
        return ", ".join(f"{number:.2f}" for number in value)
    return f"{value:.6g}" if isinstance(value, float) else str(value)
