"""`python -m paper`: the paper's tables, made again beside the published figures."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from deepfreak.processors import usable_processors


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
    "--workers",
    type=click.IntRange(min=1),
    default=usable_processors,
    show_default="all usable cores",
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
    """Make Tables 3, 4, 5, 12, 13 for forests and SVMs; DATA is DiffraNet, of `data generate`.

    With real images of `data prepare` also Tables 7, 14 and 16. The record is written as Markdown,
    JSON and HTML.
    """
    from deepfreak.features.cache import FeatureCache
    from deepfreak.progress import progress
    from paper.classical import Request, make_record
    from paper.record import write_record

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
    command = f"python -m paper classical {data.name}" + "".join(
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


@reproduce.command()
@click.argument("data", type=click.Path(path_type=Path))
@click.option(
    "--scale", type=click.Choice(["cpu", "full"]), default="cpu", show_default=True,
    help="The paper's whole work, for days of a GPU, or a reduced one for hours of a CPU.",
)  # fmt: skip
@click.option(
    "--out", type=click.Path(path_type=Path), default="records", show_default=True,
    help="Folder in which the record's own, <date>-networks, is made.",
)  # fmt: skip
@click.option(
    "--work", type=click.Path(path_type=Path), default="reproduce-networks", show_default=True,
    help="Folder of the trainings; one that was broken off goes on.",
)  # fmt: skip
@click.option("--real", type=click.Path(path_type=Path), help="Raw real images, for Tables 7, 15.")
@click.option(
    "--real-preprocessed", type=click.Path(path_type=Path),
    help="Preprocessed real images, for Tables 7, 17.",
)  # fmt: skip
@click.option(
    "--search", metavar="DIR", type=click.Path(path_type=Path),
    help="Folder of a `model search cnn`, whose best stand in Table 11.",
)  # fmt: skip
@click.option(
    "--search-raw", metavar="DIR", type=click.Path(path_type=Path),
    help="Of one that chose on the raw real images, for Table 15.",
)  # fmt: skip
@click.option(
    "--search-preprocessed", metavar="DIR", type=click.Path(path_type=Path),
    help="Of one that chose on the preprocessed ones, for Table 17.",
)  # fmt: skip
@click.option("--epochs", type=click.IntRange(1), help="Of each configuration of the paper.")
@click.option("--our-epochs", type=click.IntRange(1), help="Of our network.")
@click.option("--runs", type=click.IntRange(1), help="Of each of the configurations A, B, C.")
@click.option("--images", type=click.IntRange(1), help="At most so many to learn from.")
@click.option("--filters", type=click.IntRange(1), help="At most so many a topology.")
@click.option(
    "--normalise", type=click.Choice(["batch", "image"]),
    help="By what the paper's networks do; by image is what batches of one learn.",
)  # fmt: skip
@click.option(
    "--precision", type=click.Choice(["float32", "bf16"]), help="Of the paper's networks."
)
@click.option("--device", help="Such as cpu or cuda.", show_default="a GPU where there is one")
@click.option(
    "--workers", type=click.IntRange(min=1), default=usable_processors,
    show_default="all usable cores", help="Threads for the forest's and the SVM's features.",
)  # fmt: skip
@click.option("--cache", type=click.Path(path_type=Path), help="Folder of the features.")
def networks(
    *,
    data: Path,
    scale: str,
    out: Path,
    work: Path,
    real: Path | None,
    real_preprocessed: Path | None,
    search: Path | None,
    search_raw: Path | None,
    search_preprocessed: Path | None,
    epochs: int | None,
    our_epochs: int | None,
    runs: int | None,
    images: int | None,
    filters: int | None,
    normalise: str | None,
    precision: str | None,
    device: str | None,
    workers: int,
    cache: Path | None,
) -> None:
    """Make Fig. 3 and 4, Tables 5, 6, 11 and section 4.3 for networks; DATA is DiffraNet.

    With real images of `data prepare` also Tables 7, 15 and 17. The record, whose first line says
    the scale, is written as Markdown, JSON and HTML, its plots as curves.html.
    """
    from dataclasses import replace

    from deepfreak.features.cache import FeatureCache
    from deepfreak.progress import progress
    from deepfreak.reports.networks import write_curves_page
    from deepfreak.search.cnn_results import read_results
    from paper.networks import CPU_SCALE, FULL_SCALE, Request, make_record
    from paper.record import write_record

    variants = {"raw": real, "preprocessed": real_preprocessed}
    searches = {"synthetic": search, "raw": search_raw, "preprocessed": search_preprocessed}
    changes: dict[str, Any] = {
        "epochs": epochs,
        "our_epochs": our_epochs,
        "runs": runs,
        "train": images,
        "filters": filters,
        "normalise": normalise,
        "precision": precision,
    }
    whole = FULL_SCALE if scale == "full" else CPU_SCALE
    request = Request(
        data=data,
        work=work,
        cache=FeatureCache() if cache is None else FeatureCache(cache),
        scale=replace(whole, **{name: value for name, value in changes.items() if value}),
        real={variant: path for variant, path in variants.items() if path is not None},
        searches={name: read_results(path) for name, path in searches.items() if path is not None},
        device=device,
        workers=workers,
    )
    command = f"python -m paper networks {data.name}" + _written_out(
        {
            "--scale": scale,
            "--real": real and real.name,
            "--real-preprocessed": real_preprocessed and real_preprocessed.name,
            "--search": search and search.name,
            "--search-raw": search_raw and search_raw.name,
            "--search-preprocessed": search_preprocessed and search_preprocessed.name,
            "--epochs": epochs,
            "--our-epochs": our_epochs,
            "--runs": runs,
            "--images": images,
            "--filters": filters,
            "--normalise": normalise,
            "--precision": precision,
            "--device": device,
        }
    )
    record, figures = make_record(
        request, command=command, progress=progress, say=lambda line: click.echo(line, err=True)
    )
    place = write_record(record, out)
    write_curves_page(
        place / "curves.html", title=record.title, summary=record.summary[:1], figures=figures
    )
    click.echo(place)


@reproduce.command()
@click.option(
    "--out", type=click.Path(path_type=Path), default="records", show_default=True,
    help="Folder in which the record's own, <date>-networks-gpu, is made.",
)  # fmt: skip
@click.option(
    "--weights", type=click.Path(path_type=Path), default="gpu-weights", show_default=True,
    help="Folder for the weights, in files of at most 16 MB.",
)  # fmt: skip
@click.option(
    "--work", type=click.Path(path_type=Path), default="gpu-work", show_default=True,
    help="Folder of the checkpoints; what was broken off goes on.",
)  # fmt: skip
@click.option(
    "--minutes", type=click.FloatRange(0, min_open=True), default=9.0, show_default=True,
    help="For all of it; no epoch begins that would end too late.",
)  # fmt: skip
@click.option("--epochs", type=click.IntRange(1), default=20, show_default=True, help="Of B.")
@click.option("--batch", type=click.IntRange(1), default=1, show_default=True, help="Of B.")
@click.option(
    "--steps", type=click.IntRange(1), default=500, show_default=True,
    help="Of B at the paper's batch of 1 in float32, which are timed.",
)  # fmt: skip
@click.option("--seed", type=click.IntRange(0, 2**63 - 1), default=0, show_default=True)
@click.option("--device", help="Such as cpu or cuda.", show_default="a GPU where there is one")
@click.option(
    "--tiny", is_flag=True,
    help="A trial of the command: few images of a small crystal, two filters, two epochs.",
)  # fmt: skip
def on_gpu(
    *,
    out: Path,
    weights: Path,
    work: Path,
    minutes: float,
    epochs: int,
    batch: int,
    steps: int,
    seed: int,
    device: str | None,
    tiny: bool,
) -> None:
    """Simulate DiffraNet on a GPU, train our network and the paper's B on it, and judge both.

    In ten minutes of one H100 or H200, and ten more when given again. B is trained for fewer
    epochs than the paper's 180, with convolutions in bf16.
    """
    from dataclasses import replace

    from deepfreak.physics.recipe import load_recipe
    from deepfreak.progress import progress
    from deepfreak.reports.networks import write_curves_page
    from paper.on_gpu import TINY, TINY_CRYSTAL, Plan, run
    from paper.on_gpu_record import make_record
    from paper.record import write_record

    plan = TINY if tiny else Plan(epochs=epochs, batch=batch, steps=steps)
    outcome = run(
        load_recipe("diffranet", changes=TINY_CRYSTAL if tiny else ()),
        replace(plan, minutes=minutes, seed=seed),
        out=weights,
        work=work,
        workers=1 if tiny else usable_processors(),
        device=device,
        progress=progress,
        say=lambda line: click.echo(line, err=True),
    )
    options = {
        "--minutes": f"{minutes:g}",
        "--epochs": None if tiny else epochs,
        "--batch": None if tiny else batch,
        "--steps": None if tiny else steps,
        "--seed": seed,
        "--device": device,
    }
    command = "python -m paper on-gpu" + _written_out(options) + (" --tiny" if tiny else "")
    record, figures = make_record(outcome, command=command)
    place = write_record(record, out)
    write_curves_page(
        place / "curves.html", title=record.title, summary=record.summary[:1], figures=figures
    )
    click.echo(place)


def _written_out(options: Mapping[str, object]) -> str:
    """Return the options that were given as they would be typed."""
    return "".join(f" {option} {value}" for option, value in options.items() if value is not None)
