"""`deepfreak train`: from a data set to a model file."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click


def _numbers(kind: Callable[[str], Any]) -> Callable[..., tuple[Any, ...]]:
    """Return a click callback that reads `1,2,5` as numbers of `kind`."""

    def parse(_context: click.Context, _parameter: click.Parameter, value: str) -> tuple[Any, ...]:
        try:
            return tuple(kind(part) for part in value.split(","))
        except ValueError:
            raise click.BadParameter(
                f"expected numbers separated by commas, found {value!r}"
            ) from None

    return parse


def _max_depth(_context: click.Context, _parameter: click.Parameter, value: str) -> int | None:
    if value == "none":
        return None
    if not value.isdecimal() or not 1 <= int(value) <= 1000:
        raise click.BadParameter(f"expected a whole number from 1 to 1000 or none, found {value!r}")
    return int(value)


def _max_features(_context: click.Context, _parameter: click.Parameter, value: str) -> str | float:
    if value == "sqrt":
        return value
    try:
        part = float(value)
    except ValueError:
        part = 0.0
    if not 0 < part <= 1:
        raise click.BadParameter(f"expected sqrt or a part of 1 such as 0.25, found {value!r}")
    return part


@click.command()
@click.argument("data", type=click.Path(path_type=Path))
@click.option("--split", metavar="NAME", help="Only this split of DATA.")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Model file to write.")
@click.option(
    "--extractor", type=click.Choice(["glcm"]), default="glcm", show_default=True,
    help="What turns an image into numbers.",
)  # fmt: skip
@click.option(
    "--distances", default="1,2,5,8", show_default=True, callback=_numbers(int),
    help="Distances of the pixel pairs, in pixels.",
)  # fmt: skip
@click.option(
    "--angles", default="45,135", show_default=True, callback=_numbers(float),
    help="Directions of the pixel pairs, in degrees.",
)  # fmt: skip
@click.option("--trees", type=click.IntRange(1, 2000), default=100, show_default=True)
@click.option(
    "--max-depth", default="20", show_default=True, callback=_max_depth,
    help="Longest path in a tree, or none.",
)  # fmt: skip
@click.option(
    "--max-features", default="sqrt", show_default=True, callback=_max_features,
    help="Features tried at each split: sqrt, or a part of them such as 0.25.",
)  # fmt: skip
@click.option(
    "--class-weight", type=click.Choice(["none", "balanced"]), default="none", show_default=True,
    help="Whether rare classes weigh more.",
)  # fmt: skip
@click.option("--seed", type=click.IntRange(0, 2**32 - 1), default=0, show_default=True)
@click.option(
    "--workers", type=click.IntRange(min=1), default=os.cpu_count() or 1, show_default="all cores"
)
@click.option("--overwrite", is_flag=True, help="Replace an existing model file.")
def train(
    *,
    data: Path,
    split: str | None,
    out: Path,
    extractor: str,
    distances: tuple[int, ...],
    angles: tuple[float, ...],
    trees: int,
    max_depth: int | None,
    max_features: str | float,
    class_weight: str,
    seed: int,
    workers: int,
    overwrite: bool,
) -> None:
    """Train a random forest on the images of DATA, a file made by `deepfreak generate`.

    The defaults are the best settings of the DiffraNet paper. The model does not depend on the
    number of workers.
    """
    from dataclasses import replace

    from deepfreak.dataset import Dataset
    from deepfreak.features import GLCM
    from deepfreak.files import check_output
    from deepfreak.models import save_model, train_forest
    from deepfreak.progress import progress

    check_output(out, overwrite=overwrite)
    numbers = GLCM(distances=distances, angles_deg=angles)
    with (
        Dataset.open(data, split=split) as images,
        progress("features", len(images)) as advance,
    ):
        model = train_forest(
            images,
            extractor=numbers,
            trees=trees,
            max_depth=max_depth,
            max_features=max_features,
            class_weight=None if class_weight == "none" else class_weight,
            seed=seed,
            workers=workers,
            advance=advance,
        )
    command = (
        f"deepfreak train {data.name} --out {out.name} --extractor {extractor} "
        f"--distances {','.join(map(str, distances))} "
        f"--angles {','.join(f'{angle:g}' for angle in angles)} --trees {trees} "
        f"--max-depth {'none' if max_depth is None else max_depth} --max-features {max_features} "
        f"--class-weight {class_weight} --seed {seed}" + (f" --split {split}" if split else "")
    )
    model = replace(model, manifest={"command": command, **model.manifest})
    save_model(model, out, overwrite=overwrite)
    accuracy = model.manifest["accuracy_out_of_bag"]
    said = "unknown (too few trees)" if accuracy is None else f"{100 * accuracy:.2f} %"
    click.echo(
        f"{out}: {model.name}, {model.manifest['data']['count']} images, "
        f"accuracy out of bag {said}, {out.stat().st_size / 1e6:.2f} MB"
    )
