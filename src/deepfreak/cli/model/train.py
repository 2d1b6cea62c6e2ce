"""`deepfreak model train`: every kind of model.

What is trained follows from the options and the data: a network with `--architecture`, the
screening model on a table of evidence, an extractor with a classifier on images otherwise.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from deepfreak.cli.command import INPUT, Command, check_directory, done
from deepfreak.cli.from_settings import SettingsOptions, reject_unrelated_options
from deepfreak.cli.model.train_network import INPUTS, TOPOLOGY, TRAINING, train_network
from deepfreak.cli.options import (
    device_option,
    overwrite_option,
    seed_option,
    split_option,
    workers_option,
)
from deepfreak.extras import require
from deepfreak.progress import progress
from deepfreak.storage.files import check_output

ARCHITECTURES = ("compact", "A", "B", "C", "raw", "preprocessed", *map(str, range(14)))
EXTRACTORS = {
    "diffraction": SettingsOptions("deepfreak.features.diffraction:Diffraction"),
    "glcm": SettingsOptions(
        "deepfreak.features.glcm:GLCM", "distances", "angles_deg=angles",
        choice=("extractor", "glcm"),
    ),
    "lbp": SettingsOptions(
        "deepfreak.features.lbp:LBP", "points", "radius", choice=("extractor", "lbp")
    ),
    "sift": SettingsOptions(
        "deepfreak.features.sift:SIFT", "clusters", "contrast_threshold",
        choice=("extractor", "sift"),
    ),
}  # fmt: skip
CLASSIFIERS = {
    "forest": SettingsOptions(
        "deepfreak.models.forest:Forest", "trees", "max_depth", "max_features",
        choice=("classifier", "forest"),
    ),
    "svm": SettingsOptions(
        "deepfreak.models.svm:SVM", "C", "gamma", choice=("classifier", "svm")
    ),
    "perceptrons": SettingsOptions(
        "deepfreak.models.perceptrons:PerceptronLearner", "hidden", "decay", "members",
        choice=("classifier", "perceptrons"),
    ),
}  # fmt: skip
# all classifiers have it
WEIGHT = SettingsOptions("deepfreak.models.forest:Forest", "class_weight")
_CLASSICAL = (
    click.option(
        "--extractor", type=click.Choice([*EXTRACTORS]), default="diffraction", show_default=True,
        help="What turns an image into numbers.",
    ),
    *EXTRACTORS.values(),
    click.option(
        "--classifier", type=click.Choice([*CLASSIFIERS]), default="forest", show_default=True,
        help="What learns from the numbers.",
    ),
    *CLASSIFIERS.values(),
    WEIGHT,
    click.option(
        "--groups", is_flag=True,
        help="Learn two classes, with and without diffraction; class weights are summed.",
    ),
)  # fmt: skip
_NETWORK = (
    click.option(
        "--architecture", type=click.Choice(ARCHITECTURES),
        help="Train a network: compact is DeepFreak's own; A, B, C of the paper's Table 11; raw or "
        "preprocessed of Tables 15 and 17; or a variant of Table 9, trained as Table 2 says.",
    ),
    TRAINING,
    TOPOLOGY,
    INPUTS,
    click.option(
        "--validation", metavar="NAME", show_default="validation",
        help="Split to evaluate after each epoch.",
    ),
    click.option(
        "--also", metavar="FILE", type=INPUT, multiple=True,
        help="Also learn from all images of FILE, but only whether they show diffraction: labelled "
        "frames of `deepfreak data prepare`. Repeatable.",
    ),
    click.option(
        "--fresh", metavar="SEED", type=click.IntRange(0),
        help="Learn from new shots of DATA's recipe, of that series, as many an epoch as it has.",
    ),
    click.option(
        "--memory-map", is_flag=True,
        help="Copy the images into OUT uncompressed: faster for small networks on a CPU.",
    ),
    device_option,
)  # fmt: skip
_SHARED = {"data", "out", "seed", "verbose", "quiet"}
_OF = {
    "classical": {"split", "workers", "overwrite"},
    "network": {"split", "workers"},
    "screening": {"overwrite"},
}


def _with(kind: str, options: tuple[Any, ...]) -> Any:  # noqa: ANN401 -- a decorator
    """Return the decorator that adds options, whose names it notes as those of a kind of model."""

    def add(command: Any) -> Any:  # noqa: ANN401
        before = len(getattr(command, "__click_params__", []))
        for option in reversed(options):
            command = option(command)
        _OF[kind] |= {each.name for each in command.__click_params__[before:]}
        return command

    return add


@click.command(cls=Command)
@click.argument("data", type=INPUT)
@click.option(
    "--out", type=click.Path(path_type=Path), required=True,
    help="Model file to write; of a network the directory for checkpoint, curve and weights.",
)  # fmt: skip
@split_option
@seed_option()
@workers_option()
@overwrite_option
@_with("classical", _CLASSICAL)
@_with("network", _NETWORK)
@click.pass_context
def train(context: click.Context, /, **options: Any) -> None:  # noqa: ANN401 -- of all kinds
    """Train a model on labelled images or evidence.

    DATA is a file of `deepfreak data generate` or `data prepare`, or a table of `deepfreak data
    randomise`, on which the screening model is trained. The defaults are diffraction statistics and
    the forest of the DiffraNet paper; `--architecture` trains a network. A model does not depend on
    the number of workers. An interrupted training of a network resumes when the same command is
    given again. Several GPUs: `torchrun --no-python deepfreak model train ...`.
    """
    chosen = {name: options[name] for name in ("extractor", "classifier")}
    reject_unrelated_options(options, [*EXTRACTORS.values(), *CLASSIFIERS.values()], chosen)
    data, out = options["data"], options["out"]
    if options["architecture"] is not None:
        _reject_others(context, "network", "--architecture")
        check_directory(out)
        require("networks")
        return train_network(**options)
    # a table's options are among those of a classifier
    _reject_others(context, "classical", f"--classifier {options['classifier']}")
    check_output(out, overwrite=options["overwrite"])
    if options["seed"] >= 2**32:
        raise click.UsageError(f"expected a --seed below {2**32}, found {options['seed']}")
    from deepfreak.datasets.randomised.table import is_table

    if is_table(data):
        _reject_others(context, "screening", f"a table of evidence, {data}")
        return _train_screening(data, out, seed=options["seed"], overwrite=options["overwrite"])
    require("search")
    return _train_classical(**options)


def _reject_others(context: click.Context, kind: str, what: str) -> None:
    """Raise `click.UsageError` for an option that was given and is not of this kind of model."""
    for parameter in context.command.params:
        name = parameter.name or ""
        given = context.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE
        if given and name not in _SHARED | _OF[kind]:
            raise click.UsageError(f"{parameter.opts[0]} does not go with {what}: leave it out")


def _train_classical(
    *,
    data: Path,
    split: str | None,
    out: Path,
    extractor: str,
    classifier: str,
    groups: bool,
    seed: int,
    workers: int,
    overwrite: bool,
    **options: Any,  # noqa: ANN401 -- those of `EXTRACTORS` and `CLASSIFIERS`
) -> None:
    """Train an extractor with a classifier."""
    from deepfreak import models
    from deepfreak.datasets import Dataset

    chosen = EXTRACTORS[extractor].make(options)
    learner = CLASSIFIERS[classifier].make(options, **WEIGHT.given(options))
    with Dataset.open(data, split=split) as images, progress("features", len(images)) as advance:
        model = models.train(
            images,
            extractor=chosen,
            classifier=learner,
            groups=groups,
            seed=seed,
            workers=workers,
            advance=advance,
        )
    words = [
        f"deepfreak model train {data.name} --out {out.name} --extractor {extractor}",
        EXTRACTORS[extractor].typed(chosen),
        f"--classifier {classifier}",
        CLASSIFIERS[classifier].typed(learner),
        WEIGHT.typed(learner),
        f"--seed {seed}",
        "--groups" * groups,
        f"--split {split}" if split else "",
    ]
    model = replace(model, manifest={"command": " ".join(filter(None, words)), **model.manifest})
    models.save_model(model, out, overwrite=overwrite)
    accuracy = model.manifest["accuracy_held_out"]
    said = "unknown (too few trees)" if accuracy is None else f"{100 * accuracy:.2f} %"
    how = "out of bag" if classifier == "forest" else "cross-validated"
    click.echo(
        f"{out}: {model.name}, {model.manifest['data']['count']} images, "
        f"accuracy {how} {said}, {out.stat().st_size / 1e6:.2f} MB"
    )
    done(f"wrote {out}", then=f"deepfreak model evaluate {out} TEST.h5")


def _train_screening(table: Path, out: Path, *, seed: int, overwrite: bool) -> None:
    """Train the screening model, and write its scores beside it.

    Each family of detectors is left out in turn: what is learned about it from the others is
    printed, and becomes the scores, from which `classify` and `watch` take their thresholds.
    """
    from threadpoolctl import threadpool_limits

    from deepfreak.datasets.randomised import read_table
    from deepfreak.models import save_model
    from deepfreak.models.screening_fit import fit_screening
    from deepfreak.reports.records import thresholds_text, transfer_table
    from deepfreak.screening.calibration import (
        calibrate_left_out,
        calibration_path,
        write_calibration,
    )

    check_output(calibration_path(out), overwrite=overwrite)
    data = read_table(table)
    with threadpool_limits(1):  # the last bits depend on how many there are
        found = fit_screening(data, seed=seed)
    manifest = {
        "command": f"deepfreak model train {table.name} --seed {seed}",
        "table": data.manifest,
        "frames": len(data),
    }
    model = replace(found.model, manifest=manifest)
    save_model(model, out, overwrite=overwrite)
    write_calibration(
        calibrate_left_out(model, data, found.odds), calibration_path(out), overwrite=overwrite
    )
    click.echo(transfer_table(data, found))
    click.echo(thresholds_text(data, found.odds))
    click.echo(f"{out}: {model.name}, {len(data)} frames, {out.stat().st_size / 1e6:.2f} MB")
    done(f"wrote {out} and {calibration_path(out)}", then=f"deepfreak classify FILES --model {out}")
