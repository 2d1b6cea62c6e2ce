"""`deepfreak model evaluate` and `calibrate`: how often a model is right, and its thresholds."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from deepfreak.cli.command import INPUT, Command, done, log
from deepfreak.cli.options import (
    frame_options,
    json_option,
    model_argument,
    notes_once,
    out_option,
    overwrite_option,
    read_settings,
    report_option,
    split_option,
    workers_option,
)
from deepfreak.progress import progress
from deepfreak.storage.files import check_output, whole_file
from deepfreak.text import printable

if TYPE_CHECKING:
    from deepfreak.models import Classifier
    from deepfreak.screening.calibration import Calibration


@click.command(cls=Command)
@model_argument
@click.argument("data", type=INPUT)
@split_option
@report_option
@json_option
@click.option(
    "--importance", is_flag=True,
    help="Also find which features the verdicts rest on; for --report and --json.",
)  # fmt: skip
@workers_option()
@overwrite_option
def evaluate(
    *,
    model: Path,
    data: Path,
    split: str | None,
    report: Path | None,
    json_path: Path | None,
    importance: bool,
    workers: int,
    overwrite: bool,
) -> None:
    """Evaluate a model on labelled images.

    MODEL is a file, `default` or `diffranet`. Prints the confusion matrix as the DiffraNet paper's
    Table 6 has it, with 95 % intervals. Where DATA has two classes, with and without diffraction,
    five classes are summed to these.
    """
    from deepfreak.datasets import Dataset
    from deepfreak.models import VectorModel, load_model
    from deepfreak.models.evaluation import evaluate as judge
    from deepfreak.models.evaluation import format_confusion, format_percent
    from deepfreak.models.importance import importances_of, steps

    if importance and report is None and json_path is None:
        raise click.UsageError("--importance is for a report: add --report or --json")
    loaded = load_model(model)
    if importance and not isinstance(loaded, VectorModel):
        raise click.UsageError("--importance is for models of features, found a network")
    done(f"model: {model}, {loaded.name}")
    with Dataset.open(data, split=split) as images:
        with progress("images", len(images)) as advance:
            evaluation = judge(loaded, images, workers=workers, advance=advance)
        if evaluation.grouped_from:
            click.echo(f"grouped from: {', '.join(evaluation.grouped_from)}")
        click.echo(format_confusion(evaluation))
        click.echo("")
        click.echo(f"accuracy (%)                    {format_percent(evaluation.accuracy)}")
        click.echo(f"crystal against no crystal (%)  {format_percent(evaluation.crystal_accuracy)}")
        click.echo(
            f"{evaluation.truth.size} images, {1000 * evaluation.seconds_per_image:.2f} ms each "
            f"(workers: {workers}); 95 % intervals in brackets"
        )
        importances = None
        if importance and isinstance(loaded, VectorModel):
            with progress("importance", steps(loaded)) as advance:
                importances = importances_of(loaded, images, workers=workers, advance=advance)
        if report is not None:
            from deepfreak.reports.evaluation import write_evaluation_page

            write_evaluation_page(
                report,
                evaluation,
                images=images.images,
                valid=images.valid,
                importances=importances,
                overwrite=overwrite,
            )
    if json_path is not None:
        values = evaluation.to_json()
        if importances is not None:
            values["importance"] = importances.to_json()
        with whole_file(json_path, overwrite=overwrite) as partial:
            partial.write_text(json.dumps(values, indent=1) + "\n")
    for path in (report, json_path):
        if path is not None:
            done(f"wrote {path}")


def _labelled(value: str) -> tuple[Path, str | None]:
    """Read `file.h5:test` as file and split; a file may have a colon in its name."""
    file, colon, split = value.rpartition(":")
    named = colon and not Path(value).exists()
    found = (Path(file), split) if named else (Path(value), None)
    if not found[0].exists():
        raise click.UsageError(f"no file {found[0]}")
    return found


@click.command(cls=Command)
@model_argument
@click.argument("data", nargs=-1, required=True, metavar="FILE[:SPLIT]...", type=_labelled)
@click.option(
    "--labels", type=INPUT,
    help="FILEs are detector frames: CSV with the columns file, label and, optionally, frame.",
)  # fmt: skip
@out_option("File for the scores.", show_default="beside the model")
@overwrite_option
@frame_options
def calibrate(
    *,
    model: Path,
    data: tuple[tuple[Path, str | None], ...],
    labels: Path | None,
    out: Path | None,
    overwrite: bool,
    **options: Any,  # noqa: ANN401 -- of all kinds
) -> int:
    """Calibrate decision thresholds on labelled images.

    MODEL is a file, `default` or `diffranet`. FILEs are detector frames with `--labels`, data sets
    of images, or, for a model of evidence, tables of evidence. They must be new to the model.
    `classify`, `watch` and `listen` take their thresholds from these scores.
    """
    from deepfreak.models import load_model
    from deepfreak.models.shipped import is_shipped
    from deepfreak.screening.calibration import calibration_path, write_calibration

    if out is None and is_shipped(model):
        raise click.UsageError("expected --out FILE for the scores of a model that ships")
    path = out or calibration_path(model)
    check_output(path, overwrite=overwrite)
    classifier = load_model(model)
    if labels is None:
        scores = _of_data(classifier, data)
    else:
        scores = _of_frames(classifier, [file for file, _ in data], labels, options)
    write_calibration(scores, path, overwrite=overwrite)
    click.echo(f"{path}: {scores.hits} hits, {scores.empties} frames without, {scores.model}")
    for recall in (0.9, 0.99, 0.995, 0.999, 0.9999):
        click.echo(f"  --min-hit-recall {recall:g}: {_would(scores, recall)}")
    done(f"wrote {path}", then=f"deepfreak classify FILES --scores {path}")
    return 0


def _of_data(classifier: "Classifier", data: tuple[tuple[Path, str | None], ...]) -> "Calibration":
    """Return the scores of data sets and tables."""
    from deepfreak.datasets import Dataset
    from deepfreak.datasets.randomised.table import is_table, read_table
    from deepfreak.models import EvidenceModel
    from deepfreak.screening.calibration import calibrate_on_images as ask
    from deepfreak.screening.calibration import calibrate_on_table, together

    parts = []
    for file, split in data:
        if split is None and is_table(file):
            if not isinstance(classifier, EvidenceModel):
                raise click.UsageError(f"expected images for {classifier.name}, found a table")
            parts.append(calibrate_on_table(classifier, read_table(file)))
            continue
        with Dataset.open(file) as whole:
            images = whole if split is None else whole.split(split)
            with progress(f"scoring {file}", len(images)) as advance:
                parts.append(ask(classifier, images, advance=advance))
    return together(parts)


def _of_frames(
    classifier: "Classifier", frames: list[Path], labels: Path, options: dict[str, Any]
) -> "Calibration":
    """Return the scores of labelled detector frames."""
    from deepfreak.datasets.real_images.labels import read_labels
    from deepfreak.formats.guarded import find_files_guarded, load_guarded
    from deepfreak.screening.calibration import calibrate_on_frames
    from deepfreak.screening.screener import Screener, screen_files
    from deepfreak.screening.verdict import Failure

    given = load_guarded(read_settings(options))
    files = find_files_guarded(frames, given.get("geometry"))

    def skip(failure: Failure) -> None:
        log.warning("left out: %s", printable(failure.error))

    results = screen_files(files, Screener(classifier), see=notes_once(), **given)
    return calibrate_on_frames(classifier, results, read_labels(labels, files), skip=skip)


def _would(scores: "Calibration", recall: float) -> str:
    """Return what a policy would do with this."""
    from deepfreak.errors import InputError
    from deepfreak.screening.policy import policy_from

    try:
        policy = policy_from(scores, min_hit_recall=recall)
    except InputError as error:
        return f"not provable: {error}"
    return (
        f"discards below {policy.discard_below:.4g}, keeps from {policy.keep_from:.4g}; hits not "
        f"discarded {policy.hit_recall[0]:.4%}, at least {policy.hit_recall[1]:.4%}"
    )
