"""`deepfreak live`: without a detector, and after a session."""

import json
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from deepfreak.cli.command import INPUT, OUTPUT_FILE, Group, done
from deepfreak.cli.from_settings import SettingsOptions
from deepfreak.cli.options import (
    frame_options,
    json_option,
    model_option,
    read_settings,
    seed_option,
    take,
    workers_option,
)
from deepfreak.cli.sessions import beam, stopped_by_signals
from deepfreak.progress import progress
from deepfreak.storage.files import whole_file
from deepfreak.text import printable

if TYPE_CHECKING:
    from deepfreak.formats.options import ReadSettings
    from deepfreak.live.bench import Measured
    from deepfreak.live.receive.frame_accounting import SeriesReport
    from deepfreak.live.replay import Recording

MAX_GAPS = 20
MAX_STRAYS = 5
_SCORES = SettingsOptions("deepfreak.screening.policy:find_policy", "scores")


@click.group(cls=Group)
def live() -> None:
    """Rehearse, measure and check live screening."""


@live.command(extra="live")
@click.argument("what", metavar="RECIPE|FILE")
@click.option(
    "--rate", "rate_hz", type=click.FloatRange(0, min_open=True), metavar="HZ",
    help="Frames per second; by default as fast as they are received.",
)  # fmt: skip
@click.option("--count", type=click.IntRange(1), help="Frames of the series; by default endless.")
@click.option(
    "--distinct", type=click.IntRange(1, 100_000), default=64, show_default=True,
    help="Different frames, made before the first one is sent.",
)  # fmt: skip
@click.option(
    "--bind", metavar="ADDRESS", default="tcp://127.0.0.1:31001", show_default=True,
    help="Where to wait for a listener.",
)  # fmt: skip
@click.option("--protocol", type=click.Choice(["v2", "v1"]), default="v2", show_default=True)
@click.option(
    "--compression", type=click.Choice(["bslz4", "lz4", "none"]), default="bslz4", show_default=True
)
@seed_option("of the shots")
@click.option("--series", type=click.IntRange(1), default=1, show_default=True, help="Its number.")
@click.option("--unique-id", metavar="NAME", help="Unique id of the series; by default a new one.")
@click.option("--first", type=click.IntRange(0), default=0, help="Number of the first frame.")
@click.option(
    "--high-water", type=click.IntRange(1), default=1000, show_default=True,
    help="Frames that wait for a listener before they are dropped.",
)  # fmt: skip
@click.option(
    "--wait", "within_s", type=click.FloatRange(0), default=30.0, show_default=True,
    help="Seconds to wait for the first listener; 0 begins without one.",
)  # fmt: skip
@click.option("--truth", type=OUTPUT_FILE, help="CSV to write: number, label, and if received.")
@workers_option("Processes that simulate.")
@frame_options
def replay(
    *,
    what: str,
    count: int | None,
    first: int,
    bind: str,
    high_water: int,
    within_s: float,
    truth: Path | None,
    **options: Any,  # noqa: ANN401 -- of all kinds
) -> int:
    """Send simulated shots or a file as a detector does.

    Each frame carries its class and the time at which it was sent, so that `listen` can be measured
    without a detector. Frames that no listener receives in time are dropped and counted. Ctrl-C
    ends the series.
    """
    from deepfreak.errors import DeepFreakError
    from deepfreak.live.receive.dectris.sender import StreamSender
    from deepfreak.live.replay import describe
    from deepfreak.live.replay import replay as send

    reading, form = read_settings(options), take(options, "protocol", "compression")
    distinct, seed, workers = (options.pop(name) for name in ("distinct", "seed", "workers"))
    with StreamSender(bind, high_water=high_water, **form) as speaker:
        # bound first, so that a listener may come while frames are made
        with progress("preparing", min(distinct, count or distinct)) as advance:
            made = {"count": min(distinct, count or distinct), "advance": advance, **form}
            recording = _recording(what, reading, seed=seed, workers=workers, **made)
        done(f"sending {recording.name} at {speaker.address}")
        if within_s and not speaker.wait(within_s):
            raise DeepFreakError(
                f"no listener at {speaker.address} within {within_s:g} s: start "
                f"`deepfreak listen {speaker.address} --out DIRECTORY`"
            )
        began = time.perf_counter()
        with (
            stopped_by_signals("ending the series") as stop,
            progress("sending", count or 0) as advance,
        ):
            sent = send(
                recording,
                speaker,
                count=count,
                first=first,
                must_listen=within_s > 0,
                advance=advance,
                stopped=stop.is_set,
                **options,
            )
        click.echo(describe(sent, time.perf_counter() - began))
    if truth is not None:
        dropped = set(sent.dropped)
        with whole_file(truth, overwrite=False) as partial, partial.open("w") as file:
            file.write("number,label,taken\n")
            for number in range(first, first + sent.sent + len(sent.dropped)):
                label = recording.frames[number % len(recording.frames)][1].get("label", "")
                file.write(f"{number},{label},{int(number not in dropped)}\n")
        done(f"wrote {truth}")
    return 0


def _recording(
    what: str,
    reading: "ReadSettings",
    *,
    seed: int,
    workers: int,
    **made: Any,  # noqa: ANN401 -- of both kinds
) -> "Recording":
    """Make the frames to send."""
    from deepfreak.datasets import worker_processes
    from deepfreak.formats.guarded import load_guarded
    from deepfreak.live.replay import record_file, record_shots
    from deepfreak.physics.recipe import load_recipe

    path = Path(what)
    if path.is_file() and path.suffix != ".toml":
        return record_file(path, **made, **load_guarded(reading))
    experiment = load_recipe(what)
    experiment.structure_factors()  # fills the cache before the workers ask for it
    with worker_processes(workers) as executor:
        return record_shots(experiment, seed=seed, executor=executor, **made)


live.add_command(beam)


@live.command(extra="live")
@model_option
@workers_option("Processes that classify.", default=1)
@click.option(
    "--seconds", type=click.FloatRange(1), default=10.0, show_default=True, help="For each line."
)
@click.option(
    "--size", "names", type=click.Choice(["512", "1M", "4M"]), multiple=True,
    default=("512", "1M", "4M"), show_default=True, help="Pixels of the frames. Repeatable.",
)  # fmt: skip
@seed_option("of the shots", default=1)
@json_option
@_SCORES
def bench(
    *,
    model: Path | None,
    workers: int,
    seconds: float,
    names: tuple[str, ...],
    seed: int,
    json_path: Path | None,
    **options: Any,  # noqa: ANN401 -- of all kinds
) -> int:
    """Measure frames per second and latency on this machine.

    Frames go through a real socket. For each size: as fast as they are received, which is the
    capacity, then at parts of it.
    """
    from deepfreak.live import bench as measuring
    from deepfreak.live.session import Settings
    from deepfreak.physics.recipe import load_recipe

    settings = Settings(out=Path(), model=model, workers=workers, **_SCORES.take(options))
    sizes = dict(zip(("512", "1M", "4M"), measuring.SIZES, strict=True))
    experiment = load_recipe("diffranet")
    click.echo(f"{workers} workers; core-ms: processor time a frame, of receiver and workers")
    click.echo(f"{'frames':<10} {'offered':>9} {'judged':>9} {'core-ms':>8}", nl=False)
    click.echo(f" {'1 core':>8} {'p50 ms':>8} {'p99 ms':>8}   left out, missed, not taken")
    found: list[dict[str, object]] = []
    first = 0.0
    for name in dict.fromkeys(names):
        size = sizes[name]
        recording = measuring.frames_of(experiment, size, seed=seed, count=measuring.DISTINCT)
        if not first:
            first = measuring.seconds_to_first_verdict(recording, settings=settings)
        whole = measuring.measure(recording, settings=settings, seconds=seconds, rate_hz=None)
        lines = [whole]
        click.echo(_line(size.name, whole))
        for load in measuring.LOADS:
            rate = load * whole.judged_hz
            one = measuring.measure(recording, settings=settings, seconds=seconds, rate_hz=rate)
            lines.append(one)
            click.echo(_line(f"  at {load:.0%}", one))
        found += [{"size": size.name, **asdict(one)} for one in lines]
    click.echo(f"start to first verdict: {first:.1f} s")
    if json_path is not None:
        with whole_file(json_path, overwrite=False) as partial:
            values = {"workers": workers, "first_verdict_s": first, "lines": found}
            partial.write_text(json.dumps(values, indent=1) + "\n")
        done(f"wrote {json_path}")
    return 0


def _line(name: str, one: "Measured") -> str:
    offered = "all" if one.offered_hz is None else f"{one.offered_hz:.0f} Hz"
    alone = 1e3 / one.core_ms
    return (
        f"{name:<10} {offered:>9} {one.judged_hz:>6.0f} Hz {one.core_ms:>8.2f} {alone:>5.0f} Hz"
        f" {one.p50_ms:>8.1f} {one.p99_ms:>8.1f}   {one.dropped}, {one.missed}, {one.not_taken}"
    )


@live.command()
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
