"""`deepfreak live missing`: which frame numbers of a session are missing."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from deepfreak.cli.command import INPUT, Command
from deepfreak.text import printable

if TYPE_CHECKING:
    from deepfreak.live.receive.frame_accounting import SeriesReport

MAX_GAPS = 20
MAX_STRAYS = 5


@click.command(cls=Command)
@click.argument("session", type=INPUT)
@click.option("--json", "as_json", is_flag=True, help="Print everything as JSON.")
def missing(*, session: Path, as_json: bool) -> int:
    """Report missing frame numbers per series.

    SESSION is the directory of `listen` or `watch`, which may still be running.
    """
    from deepfreak.live.ledger import read_ledger

    with read_ledger(session / "ledger.sqlite") as ledger:
        accounts = ledger.series_reports()
        recorded, decisions = ledger.last, ledger.decisions()
        duplicates = ledger.count("duplicates")
    missed = sum(each.missed_count for each in accounts)
    if as_json:
        values = {
            "recorded": recorded,
            "decisions": decisions,
            "missed": missed,
            "duplicates": duplicates,
            "judged_without": sum(each.judged_without for each in accounts),
            "series": [each.to_json() for each in accounts],
        }
        click.echo(json.dumps(values, indent=1))
        return 0
    decided = ", ".join(f"{count} {name}" for name, count in decisions.items() if count)
    click.echo(
        f"recorded {recorded} ({decided or 'nothing'}), missed {missed}, duplicates {duplicates}"
    )
    for each in accounts:
        of = "" if each.expected is None else f" of {each.expected}"
        state = "ended" if each.ended else "open"
        gaps = ", ".join(_gap(*gap) for gap in each.missed[:MAX_GAPS])
        more = f" and {len(each.missed) - MAX_GAPS} more gaps" * (len(each.missed) > MAX_GAPS)
        click.echo(
            f"{printable(each.series)}: {each.received}{of}, {state}, missed {each.missed_count}"
            + (f": {gaps}{more}" if gaps else "")
            + _remarks(each)
        )
    return 0


def _remarks(each: "SeriesReport") -> str:
    """Return what else is to be known of a series."""
    remarks = ""
    if each.lacks:
        remarks += f"; no {' and no '.join(map(printable, each.lacks))} of it is known"
    if each.judged_without:
        remarks += f"; {each.judged_without} judged without the detector's start or mask"
    if each.strays:
        numbers = ", ".join(_gap(*stray) for stray in each.strays[:MAX_STRAYS])
        remarks += f"; far from all others: {numbers}"
    return remarks


def _gap(first: int, last: int) -> str:
    return str(first) if first == last else f"{first}-{last}"
