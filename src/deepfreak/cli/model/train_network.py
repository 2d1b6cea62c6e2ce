"""Training a network, for `deepfreak model train --architecture`."""

import os
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from deepfreak.cli.command import done, log, resumable
from deepfreak.cli.from_settings import SettingsOptions, one_line_errors
from deepfreak.progress import progress

if TYPE_CHECKING:
    from collections.abc import Iterator

    from deepfreak.datasets import Dataset
    from deepfreak.networks import Architecture, Fresh, NetworkModel, Training

THE_ARCHITECTURES = "the architecture's"
TRAINING = SettingsOptions(
    "deepfreak.networks.configuration:Training", "epochs", "batch", "learning_rate", "precision",
    default=THE_ARCHITECTURES,
)  # fmt: skip
TOPOLOGY = SettingsOptions(
    "deepfreak.networks.architecture:Topology", "filters", "normalise", default=THE_ARCHITECTURES
)
INPUTS = SettingsOptions("deepfreak.networks.configuration:Inputs", "shrink_to")


def train_network(
    *,
    data: Path,
    architecture: str,
    out: Path,
    split: str | None,
    validation: str | None,
    also: tuple[Path, ...],
    fresh: int | None,
    seed: int,
    device: str | None,
    memory_map: bool,
    workers: int,
    **options: Any,  # noqa: ANN401 -- those of the architecture and its training
) -> None:
    """Train a network, write what `classify` takes, and a page about the training."""
    from deepfreak import networks
    from deepfreak.networks.batches import VOLUME
    from deepfreak.networks.figures import hours, write_training_page
    from deepfreak.networks.state import Epoch
    from deepfreak.networks.training import CHECKPOINT

    if also and fresh is not None:
        raise click.UsageError("--also mixes images with those of DATA: leave --fresh out")
    chosen, training = _chosen(architecture, options)

    def tell(row: Epoch) -> None:
        judged = row.validation_accuracy
        said = "" if judged is None else f", validation {100 * judged:.2f} %"
        log.info(
            f"epoch {row.epoch} of {training.epochs}: loss {row.loss:.4f}, "
            f"accuracy {100 * row.accuracy:.2f} %{said}, {hours(row.seconds)}"
        )

    def kept() -> str:
        if (out / CHECKPOINT).exists():
            return f"{out} holds the last checkpoint"
        return "there is no checkpoint yet"

    folder = out if memory_map else None
    with _opened(data, split, validation) as (train, held_out), _further(also, folder) as further:
        if training.volume_weight and fresh is None and VOLUME not in train.truth:
            # as in sets that were not simulated here
            log.warning("%s does not tell the crystals' volumes: not learned", data)
            training = replace(training, volume_weight=0.0)
        with _shown(train, fresh, workers=workers, folder=folder) as source, resumable(kept):
            trained = networks.train_network(
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
        if os.environ.get("RANK", "0") != "0":
            return  # one of several processes tells
        count, side = len(train) + sum(map(len, further)), trained.model.side
        served = _served(trained.model, held_out, out / "network.onnx")
    last = trained.history[-1]
    size = training.inputs.shrink_to or side
    cost = networks.multiply_adds(chosen, classes=len(trained.model.classes), size=size)
    facts = [
        ("network", trained.model.name),
        ("multiply-adds an image", f"{cost / 1e6:,.0f} million"),
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
    done(f"wrote {out}", then=f"deepfreak model evaluate {out / 'network.onnx'} TEST.h5")


def _served(model: "NetworkModel", held_out: "Dataset | None", path: Path) -> str:
    """Write what `classify` takes, calibrated where images are held out; say what came of it."""
    from deepfreak.errors import OutputError
    from deepfreak.networks.calibration import calibrate
    from deepfreak.networks.export import export_onnx

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


def _chosen(name: str, options: dict[str, Any]) -> "tuple[Architecture, Training]":
    """Return the architecture of that name and its training, with what options change."""
    from deepfreak import networks
    from deepfreak.search.cnn_plan import lasting, narrowed

    architecture: Architecture
    changes, shape = TRAINING.given(options), TOPOLOGY.given(options)
    if name == "compact":
        for field in shape:
            raise click.UsageError(
                f"{TOPOLOGY.flag(field)} is for the paper's topologies: leave it out"
            )
        architecture, training = networks.Compact(), networks.OURS
    else:
        configuration = {
            "A": networks.CONFIGURATION_A,
            "B": networks.CONFIGURATION_B,
            "C": networks.CONFIGURATION_C,
            "raw": networks.FOR_RAW_IMAGES,
            "preprocessed": networks.FOR_PREPROCESSED_IMAGES,
        }.get(name)
        if configuration is None:
            topology, training = networks.TOPOLOGIES[int(name)], networks.Training()
        else:
            topology, training = configuration.topology, configuration.training
        architecture = replace(
            narrowed(topology, shape.get("filters")), normalise=shape.get("normalise", "batch")
        )
    epochs = changes.pop("epochs", None)
    with one_line_errors():
        inputs = replace(training.inputs, **INPUTS.given(options))
        training = replace(training, inputs=inputs, **changes)
        return architecture, training if epochs is None else lasting(training, epochs)


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
def _further(files: tuple[Path, ...], folder: Path | None) -> "Iterator[tuple[Dataset, ...]]":
    """Give the data sets in `files`, with their images copied into `folder` if there is one."""
    from deepfreak.datasets import Dataset

    with ExitStack() as stack:
        opened = [stack.enter_context(Dataset.open(file)) for file in files]
        yield tuple(_mapped(data, folder) for data in opened)


def _mapped(data: "Dataset", folder: Path | None) -> "Dataset":
    """Return a data set with its images copied into `folder` if there is one."""
    if folder is None:
        return data
    folder.mkdir(parents=True, exist_ok=True)
    return data.memory_map(folder)


@contextmanager
def _shown(
    train: "Dataset", fresh: int | None, *, workers: int, folder: Path | None
) -> "Iterator[Dataset | Fresh]":
    """Give what is learned from: the images, a copy of them in `folder`, or fresh shots."""
    if fresh is None:
        yield _mapped(train, folder)
        return
    from deepfreak.datasets import worker_processes
    from deepfreak.networks import Fresh
    from deepfreak.physics.gpu import Renderer, missing_on_this_machine
    from deepfreak.physics.recipe import experiment_from

    recipe = train.manifest.get("experiment")
    if recipe is None or train.manifest.get("seed") == fresh:
        found = "a file without one" if recipe is None else f"the series {fresh} of the file itself"
        raise click.UsageError(
            "--fresh needs the recipe in a file of `deepfreak data generate` and a seed of its own,"
            f" found {found}"
        )
    experiment = experiment_from(recipe, where=str(train.path))
    made = partial(Fresh, experiment=experiment, series=fresh, images_per_epoch=len(train))
    if missing_on_this_machine() is None:
        yield made(renderer=Renderer(experiment))
        return
    experiment.structure_factors()  # fills the cache before the workers ask for it
    with worker_processes(workers) as executor:
        yield made(executor=executor)
