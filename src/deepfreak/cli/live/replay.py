"""`deepfreak live replay`: send frames as a detector does."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from deepfreak.cli.command import OUTPUT_FILE, Command, done
from deepfreak.cli.options import frame_options, read_settings, seed_option, workers_option
from deepfreak.cli.sessions import stopped_by_signals

if TYPE_CHECKING:
    from deepfreak.formats.options import ReadSettings
    from deepfreak.live.replay import Recording


@click.command(cls=Command, extra="live")
@click.argument("what", metavar="RECIPE|FILE")
@click.option(
    "--rate", type=click.FloatRange(0, min_open=True), metavar="HZ",
    help="Frames a second; by default as fast as they are received.",
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
    rate: float | None,
    count: int | None,
    distinct: int,
    bind: str,
    protocol: Literal["v1", "v2"],
    compression: Literal["none", "bslz4", "lz4"],
    seed: int,
    series: int,
    unique_id: str | None,
    first: int,
    high_water: int,
    within_s: float,
    truth: Path | None,
    workers: int,
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
    from deepfreak.progress import progress

    reading = read_settings(options)
    with StreamSender(
        bind, protocol=protocol, compression=compression, high_water=high_water
    ) as speaker:
        # bound first, so that a listener may come while frames are made
        recording = _recording(
            what,
            distinct=min(distinct, count or distinct),
            seed=seed,
            compression=compression,
            protocol=protocol,
            workers=workers,
            reading=reading,
        )
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
                rate_hz=rate,
                series=series,
                unique_id=unique_id,
                first=first,
                must_listen=within_s > 0,
                advance=advance,
                stopped=stop.is_set,
            )
        click.echo(describe(sent, time.perf_counter() - began))
    if truth is not None:
        numbers = range(first, first + sent.sent + len(sent.dropped))
        _write_truth(truth, recording, numbers, set(sent.dropped))
        done(f"wrote {truth}")
    return 0


def _recording(
    what: str,
    *,
    distinct: int,
    seed: int,
    compression: Literal["none", "bslz4", "lz4"],
    protocol: Literal["v1", "v2"],
    workers: int,
    reading: "ReadSettings",
) -> "Recording":
    """Make the frames to send."""
    from deepfreak.datasets import worker_processes
    from deepfreak.formats.guarded import load_guarded
    from deepfreak.live.replay import record_file, record_shots
    from deepfreak.physics.recipe import load_recipe
    from deepfreak.progress import progress

    path = Path(what)
    with progress("preparing", distinct) as advance:
        if path.is_file() and path.suffix != ".toml":
            return record_file(
                path,
                count=distinct,
                compression=compression,
                protocol=protocol,
                advance=advance,
                **load_guarded(reading),
            )
        experiment = load_recipe(what)
        experiment.structure_factors()  # fills the cache before the workers ask for it
        with worker_processes(workers) as executor:
            return record_shots(
                experiment,
                seed=seed,
                count=distinct,
                compression=compression,
                protocol=protocol,
                executor=executor,
                advance=advance,
            )


def _write_truth(path: Path, recording: "Recording", numbers: range, dropped: set[int]) -> None:
    from deepfreak.storage.files import whole_file

    with whole_file(path, overwrite=False) as partial, partial.open("w") as file:
        file.write("number,label,taken\n")
        for number in numbers:
            label = recording.frames[number % len(recording.frames)][1].get("label", "")
            file.write(f"{number},{label},{int(number not in dropped)}\n")
