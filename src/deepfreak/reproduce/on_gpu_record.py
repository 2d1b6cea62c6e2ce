"""The record of ten minutes of a GPU: `on_gpu`'s outcome as tables and plots."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

from deepfreak.evaluation import format_percent
from deepfreak.networks.curve import curve_figure
from deepfreak.report.networks import hours
from deepfreak.reproduce import paper
from deepfreak.reproduce.network_tables import Line, accuracy_table, compared
from deepfreak.reproduce.on_gpu import SHOTS_COMPARED, Learnt, Outcome
from deepfreak.reproduce.record import Record, Table, confusion_table

if TYPE_CHECKING:
    from deepfreak.report.figures import Figure

IMAGES_OF_PAPER, EPOCHS_OF_PAPER = 10_000, 180


def make_record(outcome: Outcome, *, command: str) -> "tuple[Record, list[Figure]]":
    """Return the tables of an outcome, and its learning curves."""
    plan, ours, b = outcome.plan, outcome.ours, outcome.b
    shape = {"classes": len(b.model.classes), "side": b.model.side}
    lines = {
        each: Line(
            name=each.candidate.name,
            published=paper.TABLE_5["network"] if each is b else None,
            evaluations=(each.evaluation,),
            multiply_adds=each.candidate.multiply_adds(**shape),
        )
        for each in (ours, b)
    }
    whole = (plan.train, plan.validation, plan.test) == (10_000, 2_400, 12_600)
    reduced = plan.filters is not None or not whole
    summary = (
        (
            f"{'REDUCED SCALE, a trial of the command' if reduced else 'Full width'}: "
            f"{plan.train:,} training, {plan.validation:,} validation and {plan.test:,} test "
            f"images, one run each, on {outcome.hardware}. Unlike the paper's, B saw each image "
            f"{len(b.history)} times ({plan.epochs} planned; the paper 180, but it converged at "
            f"20), in batches of {plan.batch} (1), each image normalised by itself, with the "
            f"learning rate multiplied by {plan.batch} and convolutions in bf16."
        ),
        *(
            f"{each.candidate.name}: {format_percent(each.evaluation.accuracy).strip()} % of the "
            "test images."
            for each in (ours, b)
        ),
        "B's weights are rounded to float16, and were judged so. Learning curves: curves.html.",
    )
    record = Record(
        name="networks-gpu",
        title="Our network and the paper's on one GPU",
        command=command,
        summary=summary,
        tables=(
            accuracy_table(
                "Table 5: accuracy on the test images (%)",
                list(lines.values()),
                remarks=(compared(lines[ours], lines[b]),),
            ),
            confusion_table(
                "Table 6: configuration B, test images", b.evaluation, paper.TABLE_6_NETWORK
            ),
            confusion_table("Our network, test images", ours.evaluation),
            _training_table((ours, b), images=plan.train),
            _cost_table(outcome),
        ),
        facts={
            "settings": {
                each.candidate.name: {
                    "architecture": each.candidate.architecture.settings(),
                    "training": each.candidate.training.settings(),
                }
                for each in (ours, b)
            },
            "curves": {
                each.candidate.name: [asdict(row) for row in each.history] for each in (ours, b)
            },
            "evaluations": {each.candidate.name: each.evaluation.to_json() for each in (ours, b)},
        },
    )
    figures = [
        curve_figure(each.history, title=f"Learning curve: {each.candidate.name}")
        for each in (b, ours)
    ]
    return record, figures


def _training_table(learnt: Sequence[Learnt], *, images: int) -> Table:
    return Table(
        title="Training",
        columns=(
            "network",
            "epochs (planned)",
            "batch",
            "learning rate",
            "precision",
            "s an epoch",
            "images/s",
            "validation (%)",
        ),
        rows=tuple(
            (
                each.candidate.name,
                f"{len(each.history)} ({each.candidate.training.epochs})",
                str(each.candidate.training.batch),
                f"{each.candidate.training.learning_rate:.4g}",
                each.candidate.training.precision,
                f"{each.seconds_per_epoch:.1f}",
                f"{images / each.seconds_per_epoch:,.0f}",
                f"{100 * (each.history[-1].validation_accuracy or 0):.2f}",
            )
            for each in learnt
        ),
        remarks=("An epoch's time has the judging of the validation images in it.",),
    )


def _cost_table(outcome: Outcome) -> Table:
    step_s = outcome.step_s
    run_s = step_s * IMAGES_OF_PAPER * EPOCHS_OF_PAPER
    return Table(
        title="What else was measured",
        columns=("", ""),
        rows=(
            ("images simulated a second", f"{outcome.images_per_second:,.0f}"),
            (
                f"{outcome.plan.steps} steps of B at the paper's batch of 1, each",
                f"{1000 * step_s:.1f} ms",
            ),
            ("so the paper's 180 epochs of 10,000 would take", hours(run_s)),
            ("and Fig. 3's fifteen runs", hours(15 * run_s)),
            *(
                (f"GPU against CPU, {SHOTS_COMPARED} shots: {what}", value)
                for what, value in outcome.likeness
            ),
        ),
        remarks=("Configurations A and C cost about as much as B; C at batch 2 half the steps.",),
    )
