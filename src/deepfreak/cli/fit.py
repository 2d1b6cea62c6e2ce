"""`deepfreak fit`: train a network."""

import os
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from deepfreak.processors import usable_processors

if TYPE_CHECKING:
    from collections.abc import Iterator

    from deepfreak.datasets import Dataset
    from deepfreak.networks import Architecture, Fresh, NetworkModel, Training

COMPACT = "compact"
CONFIGURATIONS = ("A", "B", "C", "raw", "preprocessed")
VARIANTS = tuple(map(str, range(14)))


@click.command()
@click.argument("data", type=click.Path(path_type=Path))
@click.option(
    "--architecture", type=click.Choice([COMPACT, *CONFIGURATIONS, *VARIANTS]), default=COMPACT,
    show_default=True,
    help="Ours; A, B, C of the paper's Table 11, of which B is its DeepFreak; raw or preprocessed "
    "of Tables 15 and 17; or a variant of Table 9, trained as Table 2 says.",
)  # fmt: skip
@click.option(
    "--out", type=click.Path(path_type=Path), required=True,
    help="Folder for checkpoint, learning curve and weights.",
)  # fmt: skip
@click.option("--split", metavar="NAME", help="Learn from this split.", show_default="train")
@click.option(
    "--validation", metavar="NAME", show_default="validation",
    help="Judge the images of this split after each epoch.",
)  # fmt: skip
@click.option(
    "--also", metavar="FILE", type=click.Path(path_type=Path), multiple=True,
    help="Learn from all images of FILE, too, but only whether they show diffraction: labelled "
    "frames of `deepfreak prepare`. May be given several times.",
)  # fmt: skip
@click.option(
    "--fresh", metavar="SEED", type=click.IntRange(0, 2**63 - 1),
    help="Learn from new shots of DATA's recipe, of that series, as many an epoch as it has.",
)  # fmt: skip
@click.option("--filters", type=click.IntRange(1, 128), help="At most so many filters.")
@click.option(
    "--normalise", type=click.Choice(["batch", "image"]),
    help="By what a network of the paper normalises; by image is what batches of one learn.",
)  # fmt: skip
@click.option(
    "--shrink-to", metavar="SIDE", type=click.IntRange(8, 4096),
    help="Shrink images to that many pixels first.",
)  # fmt: skip
@click.option("--epochs", type=click.IntRange(1), help="How often each image is shown.")
@click.option("--batch", type=click.IntRange(1), help="Images a step.")
@click.option("--learning-rate", type=click.FloatRange(0, min_open=True), help="At the beginning.")
@click.option("--precision", type=click.Choice(["float32", "bf16"]), help="Of the convolutions.")
@click.option("--seed", type=click.IntRange(0, 2**63 - 1), default=0, show_default=True)
@click.option("--device", help="Such as cpu or cuda.", show_default="a GPU where there is one")
@click.option(
    "--memory-map", is_flag=True,
    help="Copy the images into OUT uncompressed: quicker for small networks on a CPU.",
)  # fmt: skip
@click.option(
    "--workers", type=click.IntRange(1), default=usable_processors, show_default="all usable cores",
    help="Processes that simulate fresh shots, where there is no GPU.",
)  # fmt: skip
def fit(
    *,
    data: Path,
    architecture: str,
    out: Path,
    split: str | None,
    validation: str | None,
    also: tuple[Path, ...],
    fresh: int | None,
    filters: int | None,
    normalise: Literal["batch", "image"] | None,
    shrink_to: int | None,
    epochs: int | None,
    batch: int | None,
    learning_rate: float | None,
    precision: str | None,
    seed: int,
    device: str | None,
    memory_map: bool,
    workers: int,
) -> None:
    """Train a network on the images of DATA, a file made by `deepfreak generate`.

    A training that was broken off, however roughly, goes on to the same weights when the same
    command is given again. Several GPUs: `torchrun --no-python deepfreak fit ...`.
    """
    from dataclasses import replace

    from deepfreak.networks import multiply_adds, train_network
    from deepfreak.networks.batches.batch import VOLUME
    from deepfreak.networks.curve import Epoch
    from deepfreak.networks.figures import hours, write_training_page
    from deepfreak.networks.training import CHECKPOINT
    from deepfreak.progress import progress

    chosen, training = _chosen(
        architecture,
        filters=filters,
        normalise=normalise,
        shrink_to=shrink_to,
        epochs=epochs,
        batch=batch,
        learning_rate=learning_rate,
        precision=precision,
    )

    def tell(row: Epoch) -> None:
        judged = row.validation_accuracy
        said = "" if judged is None else f", validation {100 * judged:.2f} %"
        click.echo(
            f"epoch {row.epoch} of {training.epochs}: loss {row.loss:.4f}, "
            f"accuracy {100 * row.accuracy:.2f} %{said}, {hours(row.seconds)}",
            err=True,
        )

    if also and fresh is not None:
        raise click.UsageError("--also mixes images with those of DATA: leave --fresh out")
    with (
        _opened(data, split, validation) as (train, held_out),
        _further(also, folder=out if memory_map else None) as further,
    ):
        if training.volume_weight and fresh is None and VOLUME not in train.truth:
            # as in sets that were not simulated here
            click.echo(f"{data} does not tell the crystals' volumes: not learnt", err=True)
            training = replace(training, volume_weight=0.0)
        with _shown(train, fresh, workers=workers, folder=out if memory_map else None) as source:
            try:
                trained = train_network(
                    source,
                    architecture=chosen,
                    training=training,
                    out=out,
                    seed=seed,
                    also=further,
                    validation=held_out,
                    device=device,
                    show=progress,
                    on_epoch=tell,
                )
            except KeyboardInterrupt:
                if (out / CHECKPOINT).exists():
                    kept = f"{out} holds the last checkpoint: give the same command again to go on"
                else:
                    kept = "there is no checkpoint yet"
                click.echo(f"deepfreak: interrupted; {kept}", err=True)
                raise click.exceptions.Exit(130) from None
        if os.environ.get("RANK", "0") != "0":
            return  # one of several processes tells
        count, side = len(train) + sum(map(len, further)), trained.model.side
        served = _served(trained.model, held_out, out / "network.onnx")
    last = trained.history[-1]
    million = (
        multiply_adds(chosen, classes=len(trained.model.classes), size=shrink_to or side) / 1e6
    )
    facts = [
        ("network", trained.model.name),
        ("multiply-adds an image", f"{million:,.0f} million"),
        ("images", f"{count}{'' if fresh is None else ' fresh'} an epoch"),
        ("epochs", str(last.epoch)),
        ("accuracy (%)", f"{100 * last.accuracy:.2f}"),
    ]
    if last.validation_accuracy is not None:
        facts.append(("validation accuracy (%)", f"{100 * last.validation_accuracy:.2f}"))
    facts += [("served", served), ("time", hours(last.seconds)), ("seed", str(seed))]
    write_training_page(
        out / "report.html", title="A network's training", facts=facts, history=trained.history
    )
    click.echo(f"{out / 'weights.safetensors'}: " + ", ".join(f"{k} {v}" for k, v in facts))


def _served(model: "NetworkModel", held_out: "Dataset | None", path: Path) -> str:
    """Write what `classify` takes, calibrated where images are held out; say what came of it."""
    from deepfreak.errors import OutputError
    from deepfreak.networks.calibration import calibrate
    from deepfreak.networks.export import export_onnx
    from deepfreak.progress import progress

    calibration = None
    if held_out is not None:
        with progress("calibrating", len(held_out)) as advance:
            calibration = calibrate(model, held_out, advance=advance)
    try:
        export_onnx(model, path, calibration=calibration, overwrite=True)
    except OutputError as error:
        return f"not: {error}"
    if calibration is None:
        return f"{path.name}, not calibrated"
    return f"{path.name}, temperature {calibration.temperature:.3f}"


def _chosen(
    name: str,
    *,
    filters: int | None,
    normalise: Literal["batch", "image"] | None,
    shrink_to: int | None,
    **changes: Any,  # noqa: ANN401 -- of all kinds
) -> "tuple[Architecture, Training]":
    """Return the architecture of that name and its training, with what options change."""
    from dataclasses import replace

    from pydantic import ValidationError

    from deepfreak import networks
    from deepfreak.search.cnn_plan import lasting, narrowed
    from deepfreak.settings import one_line

    architecture: Architecture
    if name == COMPACT:
        for option, value in (("--filters", filters), ("--normalise", normalise)):
            if value is not None:
                raise click.UsageError(f"{option} is for the paper's topologies: leave it out")
        architecture, training = networks.Compact(), networks.OURS
    else:
        configuration = {
            "A": networks.CONFIGURATION_A,
            "B": networks.CONFIGURATION_B,
            "C": networks.CONFIGURATION_C,
            "raw": networks.FOR_RAW_IMAGES,
            "preprocessed": networks.FOR_PREPROCESSED_IMAGES,
        }.get(name)
        topology = (
            networks.TOPOLOGIES[int(name)] if configuration is None else configuration.topology
        )
        training = networks.Training() if configuration is None else configuration.training
        architecture = replace(narrowed(topology, filters), normalise=normalise or "batch")
    given = {key: value for key, value in changes.items() if value is not None}
    if shrink_to is not None:
        given["inputs"] = replace(training.inputs, shrink_to=shrink_to)
    epochs = given.pop("epochs", None)
    try:
        training = replace(training, **given)
        return architecture, training if epochs is None else lasting(training, epochs)
    except ValidationError as error:
        raise click.UsageError(one_line(error)) from error


@contextmanager
def _opened(
    path: Path, split: str | None, validation: str | None
) -> "Iterator[tuple[Dataset, Dataset | None]]":
    """Give the images to learn from, and those to judge, if there are any."""
    from deepfreak.datasets import Dataset

    with Dataset.open(path) as data:
        learned = split or ("train" if "train" in data.splits else None)
        judged = validation or ("validation" if "validation" in data.splits else None)
        if learned == judged and judged is not None:
            raise click.UsageError(
                f"expected two splits, found {judged} to learn from and to judge: choose another "
                "--validation"
            )
        yield (
            data if learned is None else data.split(learned),
            None if judged is None else data.split(judged),
        )


@contextmanager
def _further(files: tuple[Path, ...], *, folder: Path | None) -> "Iterator[tuple[Dataset, ...]]":
    """Give the data sets in `files`, with their images copied into `folder` if there is one."""
    from deepfreak.datasets import Dataset

    with ExitStack() as stack:
        opened = tuple(stack.enter_context(Dataset.open(file)) for file in files)
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
            opened = tuple(data.memory_map(folder) for data in opened)
        yield opened


@contextmanager
def _shown(
    train: "Dataset", fresh: int | None, *, workers: int, folder: Path | None
) -> "Iterator[Dataset | Fresh]":
    """Give what is learned from: the images, a copy of them in `folder`, or fresh shots."""
    if fresh is None:
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
            train = train.memory_map(folder)
        yield train
        return
    from deepfreak.datasets import worker_processes
    from deepfreak.networks import Fresh
    from deepfreak.physics.gpu import Renderer, missing_on_this_machine
    from deepfreak.physics.recipe import experiment_from

    recipe = train.manifest.get("experiment")
    if recipe is None or train.manifest.get("seed") == fresh:
        found = "a file without one" if recipe is None else f"the series {fresh} of the file itself"
        raise click.UsageError(
            f"--fresh needs the recipe in a file of `deepfreak generate` and a seed of its own, "
            f"found {found}"
        )
    experiment = experiment_from(recipe, where=str(train.path))
    if missing_on_this_machine() is None:
        yield Fresh(
            experiment=experiment,
            series=fresh,
            images_per_epoch=len(train),
            renderer=Renderer(experiment),
        )
        return
    experiment.structure_factors()  # fills the cache before the workers ask for it
    with worker_processes(workers) as executor:
        yield Fresh(
            experiment=experiment, series=fresh, images_per_epoch=len(train), executor=executor
        )
