"""`deepfreak demo`: the main job on an embedded default."""

from pathlib import Path

import click

from deepfreak.processors import usable_processors


@click.command()
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default=Path("deepfreak-demo"),
    show_default=True,
    help="Folder for the images and the page.",
)
@click.option("--count", type=click.IntRange(1, 10_000), default=60, show_default=True)
@click.option(
    "--workers", type=click.IntRange(1), default=usable_processors, show_default="all usable cores"
)
@click.option("--overwrite", is_flag=True, help="Replace the results of an earlier demo.")
def demo(*, out: Path, count: int, workers: int, overwrite: bool) -> None:
    """Simulate shots, classify them with the model of DiffraNet, and show its verdicts.

    The embedded crystal has photosystem II's cell; nothing is downloaded.
    """
    from deepfreak.demo import run_demo, summary
    from deepfreak.progress import progress

    with progress("simulating", count) as advance:
        done = run_demo(
            out, count=count, workers=workers, overwrite=overwrite, say=click.echo, advance=advance
        )
    click.echo(f"\n{summary(done)}")
