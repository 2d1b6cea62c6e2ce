"""`deepfreak score`: what a promise about lost hits is made from."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from deepfreak.scores import Scores


@click.command()
@click.argument("model", type=click.Path(path_type=Path))
@click.argument("data", nargs=-1, required=True, metavar="FILE[:SPLIT]...")
@click.option(
    "--out", type=click.Path(path_type=Path), show_default="beside the model",
    help="File for the scores.",
)  # fmt: skip
@click.option("--overwrite", is_flag=True, help="Replace the file.")
def score(*, model: Path, data: tuple[str, ...], out: Path | None, overwrite: bool) -> int:
    """Ask MODEL (`default`: the one that ships) about the labelled images of FILEs.

    The images must be new to the model: fresh shots of `deepfreak generate` with another seed, or
    labelled real frames of `deepfreak prepare`. A model of evidence also takes tables of evidence.
    `classify`, `watch` and `listen` take their thresholds from what is found.
    """
    from deepfreak.dataset import Dataset
    from deepfreak.files import check_output
    from deepfreak.models import EvidenceModel, load_model
    from deepfreak.progress import progress
    from deepfreak.scores import score as ask
    from deepfreak.scores import score_table, scores_path, together, write_scores
    from deepfreak.varied.table import is_table, read_table

    named = str(model) != "default"
    if out is None and not named:
        raise click.UsageError("expected --out FILE for the scores of the default model")
    path = out or scores_path(model)
    check_output(path, overwrite=overwrite)
    classifier = load_model(model if named else None)
    parts = []
    for name in data:
        file, split = _file_and_split(name)
        if split is None and is_table(file):
            if not isinstance(classifier, EvidenceModel):
                raise click.UsageError(f"expected images for {classifier.name}, found a table")
            parts.append(score_table(classifier, read_table(file)))
            continue
        with Dataset.open(file) as whole:
            images = whole if split is None else whole.split(split)
            with progress(f"scoring {name}", len(images)) as advance:
                parts.append(ask(classifier, images, advance=advance))
    scores = together(parts)
    write_scores(scores, path, overwrite=overwrite)
    click.echo(f"{path}: {scores.hits} hits, {scores.empties} frames without, {scores.model}")
    for recall in (0.9, 0.99, 0.995, 0.999, 0.9999):
        click.echo(f"  --min-hit-recall {recall:g}: {_would(scores, recall)}")
    return 0


def _file_and_split(name: str) -> tuple[Path, str | None]:
    """Return what `file.h5:test` names; a file may have a colon in its name."""
    file, colon, split = name.rpartition(":")
    return (Path(file), split) if colon and not Path(name).exists() else (Path(name), None)


def _would(scores: "Scores", recall: float) -> str:
    """Return what a policy would do with this."""
    from deepfreak.errors import InputError
    from deepfreak.policy import policy_from

    try:
        policy = policy_from(scores, min_hit_recall=recall)
    except InputError as error:
        return f"refused: {error}"
    return (
        f"discards below {policy.discard_below:.4g}, keeps from {policy.keep_from:.4g}; hits not "
        f"discarded {policy.hit_recall[0]:.4%}, at least {policy.hit_recall[1]:.4%}"
    )
