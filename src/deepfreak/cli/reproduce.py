"""`deepfreak reproduce`: the paper's tables, made again beside the published figures."""

import os
from pathlib import Path

import click


@click.group()
def reproduce() -> None:
    """Make the tables of the DiffraNet paper again, each beside the published figures."""


@reproduce.command()
@click.argument("data", type=click.Path(path_type=Path))
@click.option(
    "--out", type=click.Path(path_type=Path), default="records", show_default=True,
    help="Folder in which the record's own, <date>-classical, is made.",
)  # fmt: skip
@click.option(
    "--work", type=click.Path(path_type=Path), default="reproduce-classical", show_default=True,
    help="Folder of the searches; one that was broken off goes on.",
)  # fmt: skip
@click.option("--real", type=click.Path(path_type=Path), help="Raw real images, for Tables 7, 14.")
@click.option(
    "--real-preprocessed", type=click.Path(path_type=Path),
    help="Preprocessed real images, for Tables 7, 16.",
)  # fmt: skip
@click.option("--trials", type=click.IntRange(1), default=150, show_default=True)
@click.option(
    "--trial-seconds", type=click.FloatRange(min=0, min_open=True), default=600.0,
    show_default=True, help="After how long a trial is ended.",
)  # fmt: skip
@click.option(
    "--seeds", type=click.IntRange(1, 100), default=3, show_default=True,
    help="How many forests of each configuration.",
)  # fmt: skip
@click.option(
    "--workers", type=click.IntRange(min=1), default=os.cpu_count() or 1, show_default="all cores"
)
@click.option("--cache", type=click.Path(path_type=Path), help="Folder of the features.")
def classical(
    *,
    data: Path,
    out: Path,
    work: Path,
    real: Path | None,
    real_preprocessed: Path | None,
    trials: int,
    trial_seconds: float,
    seeds: int,
    workers: int,
    cache: Path | None,
) -> None:
    """Make Tables 3, 4, 5, 12, 13 for forests and SVMs; DATA is DiffraNet, of `generate`.

    With real images of `prepare` also Tables 7, 14 and 16. The record is written as Markdown, JSON
    and HTML.
    """
    from deepfreak.features.cache import FeatureCache
    from deepfreak.progress import progress
    from deepfreak.reproduce.classical import Request, make_record
    from deepfreak.reproduce.record import write_record

    variants = {"raw": real, "preprocessed": real_preprocessed}
    request = Request(
        data=data,
        work=work,
        cache=FeatureCache() if cache is None else FeatureCache(cache),
        real={variant: path for variant, path in variants.items() if path is not None},
        trials=trials,
        trial_seconds=trial_seconds,
        seeds=seeds,
        workers=workers,
    )
    command = f"deepfreak reproduce classical {data.name}" + "".join(
        f" {option} {value}"
        for option, value in {
            "--real": real and real.name,
            "--real-preprocessed": real_preprocessed and real_preprocessed.name,
            "--trials": trials,
            "--trial-seconds": f"{trial_seconds:g}",
            "--seeds": seeds,
            "--workers": workers,
        }.items()
        if value is not None
    )
    record = make_record(
        request, command=command, progress=progress, say=lambda line: click.echo(line, err=True)
    )
    click.echo(write_record(record, out))
