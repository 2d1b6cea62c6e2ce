"""`deepfreak live bench`: what this machine sustains."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from deepfreak.cli.command import Command, done
from deepfreak.cli.from_settings import SettingsOptions
from deepfreak.cli.options import json_option, model_option, seed_option, workers_option

if TYPE_CHECKING:
    from deepfreak.live.bench import Measured

_SCORES = SettingsOptions("deepfreak.screening.policy:find_policy", "scores")


@click.command(cls=Command, extra="live")
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
    """Measure frames a second and latency on this machine.

    Frames go through a real socket. For each size: as fast as they are received, which is the
    capacity, then at parts of it.
    """
    from deepfreak.live import bench as measuring
    from deepfreak.live.session import Settings
    from deepfreak.physics.recipe import load_recipe
    from deepfreak.storage.files import whole_file

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
