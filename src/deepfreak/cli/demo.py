"""`deepfreak demo`: the main job on an embedded default."""

from pathlib import Path

import click

from deepfreak.cli.command import Command, done
from deepfreak.cli.options import out_option, overwrite_option, workers_option


@click.command(cls=Command)
@out_option("Directory for images and page.", directory=True, default=Path("deepfreak-demo"))
@click.option(
    "--count", type=click.IntRange(1, 10_000), default=60, show_default=True, help="Shots."
)
@workers_option()
@overwrite_option
def demo(*, out: Path, count: int, workers: int, overwrite: bool) -> None:
    """Simulate shots, classify them, and show the verdicts.

    The model is `diffranet`. The embedded crystal has photosystem II's unit cell; nothing is
    downloaded.
    """
    from deepfreak.demo import run_demo, summary
    from deepfreak.progress import progress

    with progress("simulating", count) as advance:
        made = run_demo(
            out, count=count, workers=workers, overwrite=overwrite, say=click.echo, advance=advance
        )
    click.echo(f"\n{summary(made)}")
    done(f"wrote {made.page}", then=f"open {made.page} in a browser; deepfreak classify FRAMES")
