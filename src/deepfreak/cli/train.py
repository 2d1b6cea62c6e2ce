"""`deepfreak train`: from a data set to a model file."""

from pathlib import Path
from typing import Any

import click

from deepfreak.cli.options import (
    classifier_options,
    extractor_options,
    make_classifier,
    make_extractor,
    refuse_strangers,
    written_out,
)
from deepfreak.processors import usable_processors


@click.command()
@click.argument("data", type=click.Path(path_type=Path))
@click.option("--split", metavar="NAME", help="Only this split of DATA.")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Model file to write.")
@extractor_options
@classifier_options
@click.option(
    "--groups", is_flag=True,
    help="Learn two classes, with and without diffraction; class weights are summed.",
)  # fmt: skip
@click.option("--seed", type=click.IntRange(0, 2**32 - 1), default=0, show_default=True)
@click.option(
    "--workers",
    type=click.IntRange(min=1),
    default=usable_processors,
    show_default="all usable cores",
)
@click.option("--overwrite", is_flag=True, help="Replace an existing model file.")
@click.pass_context
def train(
    context: click.Context,
    /,
    *,
    data: Path,
    split: str | None,
    out: Path,
    groups: bool,
    seed: int,
    workers: int,
    overwrite: bool,
    **options: Any,  # noqa: ANN401 -- those of `options`, of all kinds
) -> None:
    """Train a forest, an SVM or perceptrons on images, a file made by `deepfreak generate`.

    The defaults are diffraction statistics and the forest of the DiffraNet paper. The model does
    not depend on the number of workers.
    """
    from dataclasses import replace

    from deepfreak import models
    from deepfreak.datasets import Dataset
    from deepfreak.progress import progress
    from deepfreak.storage.files import check_output

    refuse_strangers(context)
    check_output(out, overwrite=overwrite)
    extractor, classifier = make_extractor(options), make_classifier(options)
    with (
        Dataset.open(data, split=split) as images,
        progress("features", len(images)) as advance,
    ):
        model = models.train(
            images,
            extractor=extractor,
            classifier=classifier,
            groups=groups,
            seed=seed,
            workers=workers,
            advance=advance,
        )
    command = (
        f"deepfreak train {data.name} --out {out.name} {written_out(options)} --seed {seed}"
        + (" --groups" if groups else "")
        + (f" --split {split}" if split else "")
    )
    model = replace(model, manifest={"command": command, **model.manifest})
    models.save_model(model, out, overwrite=overwrite)
    accuracy = model.manifest["accuracy_held_out"]
    said = "unknown (too few trees)" if accuracy is None else f"{100 * accuracy:.2f} %"
    how = "out of bag" if options["classifier"] == "forest" else "cross-validated"
    click.echo(
        f"{out}: {model.name}, {model.manifest['data']['count']} images, "
        f"accuracy {how} {said}, {out.stat().st_size / 1e6:.2f} MB"
    )
