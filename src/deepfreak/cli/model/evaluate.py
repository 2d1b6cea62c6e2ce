"""`deepfreak model evaluate`: how often a model is right on labelled images."""

from pathlib import Path

import click

from deepfreak.cli.command import INPUT, Command, done
from deepfreak.cli.options import (
    json_option,
    model_argument,
    overwrite_option,
    report_option,
    split_option,
    workers_option,
)


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
    import json

    from deepfreak.datasets import Dataset
    from deepfreak.models import VectorModel, load_model
    from deepfreak.models.evaluation import evaluate as judge
    from deepfreak.models.evaluation import format_confusion, format_percent
    from deepfreak.models.importance import importances_of, steps
    from deepfreak.progress import progress
    from deepfreak.storage.files import whole_file

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
