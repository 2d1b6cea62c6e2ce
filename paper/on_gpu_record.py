"""The record of ten minutes of a GPU: `on_gpu`'s outcome as tables and plots."""

from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import TYPE_CHECKING

from deepfreak.models.evaluation import format_percent
from deepfreak.networks.curve import curve_figure
from deepfreak.networks.figures import hours
from paper import paper
from paper.network_tables import NORMALISED, Line, accuracy_table, compared
from paper.on_gpu import SHOTS_COMPARED, Learnt, Outcome, Plan
from paper.record import Record, Table, confusion_table

if TYPE_CHECKING:
    from deepfreak.reports.figures import Figure

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
    judged = [lines[ours], lines[b]]
    if b.by_image is not None:
        name = f"{b.candidate.name}, each image normalised by itself"
        judged.append(replace(lines[b], name=name, published=None, evaluations=(b.by_image,)))
    whole = (plan.train, plan.validation, plan.test) == (10_000, 2_400, 12_600)
    reduced = plan.filters is not None or not whole
    summary = (
        (
            f"{'REDUCED SCALE, a trial of the command' if reduced else 'Full width'}: "
            f"{plan.train:,} training, {plan.validation:,} validation and {plan.test:,} test "
            f"images, one run each, on {outcome.hardware}. Unlike the paper's, B saw each image "
            f"{len(b.history)} times ({plan.epochs} planned; the paper 180, but it converged at "
            f"20), with convolutions in bf16{_larger_batches(plan)}."
        ),
        *(
            f"{line.name}: {format_percent(line.evaluation.accuracy).strip()} % of the test images."
            for line in judged
        ),
        (
            "B's weights are rounded to float16, and were judged so. Learning curves"
            f"{', B judged by running statistics' if b.by_image is not None else ''}: curves.html."
        ),
    )
    record = Record(
        name="networks-gpu",
        title="Our network and the paper's on one GPU",
        command=command,
        summary=summary,
        tables=(
            accuracy_table(
                "Table 5: accuracy on the test images (%)",
                judged,
                remarks=(
                    *((NORMALISED,) if b.by_image is not None else ()),
                    *(compared(judged[0], line) for line in judged[1:]),
                ),
            ),
            confusion_table(
                "Table 6: configuration B, test images", b.evaluation, paper.TABLE_6_NETWORK
            ),
            *(confusion_table(f"The same for {line.name}", line.evaluation) for line in judged[2:]),
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
            "evaluations": {line.name: line.evaluation.to_json() for line in judged},
        },
        data_set=ours.evaluation.data_set,
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


def _larger_batches(plan: Plan) -> str:
    """Return what batches of more than the paper's one image change, as the end of a sentence."""
    if plan.batch == 1:
        return ""
    return (
        f", in batches of {plan.batch} (1), each image normalised by itself, and the learning "
        f"rate multiplied by {plan.batch}"
    )


def _cost_table(outcome: Outcome) -> Table:
    b = outcome.b
    steps_an_epoch = -(-outcome.plan.train // outcome.plan.batch)
    of_paper = IMAGES_OF_PAPER * EPOCHS_OF_PAPER
    seconds = {"float32": outcome.step_s}
    if outcome.plan.batch == 1:
        seconds["bf16, with the judging"] = b.seconds_per_epoch / steps_an_epoch
    return Table(
        title="What else was measured",
        columns=("", ""),
        rows=(
            ("images simulated a second", f"{outcome.images_per_second:,.0f}"),
            *(
                (f"a step of B at the paper's batch of 1, {precision}", f"{1000 * step_s:.1f} ms")
                for precision, step_s in seconds.items()
            ),
            *(
                (f"so the paper's 180 epochs of 10,000 would take, {precision}", hours(run_s))
                for precision, run_s in ((key, each * of_paper) for key, each in seconds.items())
            ),
            *(
                (f"GPU against CPU, {SHOTS_COMPARED} shots: {what}", value)
                for what, value in outcome.likeness
            ),
        ),
        remarks=(
            (
                f"The float32 step is a mean of {outcome.plan.steps}. Configurations A and C cost "
                "about as much as B, C at batch 2 half the steps; Fig. 3 has fifteen such runs."
            ),
        ),
    )
