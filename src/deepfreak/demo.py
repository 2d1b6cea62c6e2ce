"""All in one go: simulate shots, classify them with the model of DiffraNet, show the verdicts."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from deepfreak.datasets import Dataset, generate, worker_processes
from deepfreak.models import load_model
from deepfreak.models.evaluation import Evaluation, evaluate, format_confusion, format_percent
from deepfreak.physics.recipe import load_recipe
from deepfreak.reports.figures import Figure, draw_figure, p_crystal_figure
from deepfreak.reports.palette import class_colours
from deepfreak.reports.verdicts import GalleryItem, write_verdict_page
from deepfreak.storage.files import check_output

if TYPE_CHECKING:
    from matplotlib.axes import Axes

RECIPE = "diffranet"
# Far from the seeds that models are trained and tested on.
SEED = 2019


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Demo:
    """What the demo made and how long it took."""

    shots: Path
    page: Path
    evaluation: Evaluation
    seconds_to_simulate: float
    seconds_to_classify: float


def run_demo(
    folder: Path,
    *,
    count: int,
    workers: int,
    overwrite: bool,
    say: Callable[[str], None],
    advance: Callable[[int], None] | None = None,
) -> Demo:
    """Simulate `count` shots into `folder`, classify them and write a page about it.

    `say` is given one line of text at a time.
    """
    folder.mkdir(parents=True, exist_ok=True)
    shots, page = folder / "shots.h5", folder / "index.html"
    for output in (shots, page):
        check_output(output, overwrite=overwrite)
    model = load_model("diffranet")
    experiment = load_recipe(RECIPE)
    say(f"Simulating {count} shots of the recipe {RECIPE} with {workers} processes ...")
    start = time.perf_counter()
    with worker_processes(workers) as executor:
        generate(
            experiment,
            count=count,
            seed=SEED,
            out=shots,
            executor=executor,
            overwrite=overwrite,
            advance=advance,
        )
    simulated = time.perf_counter()
    say(f"Classifying them with {model.name} ...")
    with Dataset.open(shots) as data:
        evaluation = evaluate(model, data, workers=workers)
        classified = time.perf_counter()
        for index in range(count):
            say(_verdict_line(evaluation, index))
        _write_page(page, evaluation, data, overwrite=overwrite)
    return Demo(
        shots=shots,
        page=page,
        evaluation=evaluation,
        seconds_to_simulate=simulated - start,
        seconds_to_classify=classified - simulated,
    )


def summary(demo: Demo) -> str:
    """Return the demo's figures as text."""
    evaluation = demo.evaluation
    count = evaluation.truth.size
    return "\n".join(
        [
            format_confusion(evaluation),
            "",
            f"accuracy (%)                    {format_percent(evaluation.accuracy)}",
            f"crystal against no crystal (%)  {format_percent(evaluation.crystal_accuracy)}",
            f"simulated  {count / demo.seconds_to_simulate:6.1f} images/s (start-up included)",
            f"classified {count / demo.seconds_to_classify:6.1f} images/s",
            f"images     {demo.shots}",
            f"page       {demo.page}",
        ]
    )


def _verdict_line(evaluation: Evaluation, index: int) -> str:
    truth = evaluation.classes[evaluation.truth[index]]
    verdict = evaluation.classes[evaluation.predictions[index]]
    mark = " " if truth == verdict else "<- wrong"
    probability = evaluation.probabilities[index].max()
    return f"shot {index:3d}  truth {truth:<11} verdict {verdict:<11} {probability:5.0%} {mark}"


def _write_page(page: Path, evaluation: Evaluation, data: Dataset, *, overwrite: bool) -> None:
    verdicts = (
        GalleryItem(
            image=data.images[index],
            caption=f"shot {index}, {data.truth['pulse_photons'][index]:.2g} photons",
            label=evaluation.classes[evaluation.predictions[index]],
            truth=evaluation.classes[evaluation.truth[index]],
            probabilities=dict(
                zip(evaluation.classes, evaluation.probabilities[index].tolist(), strict=True)
            ),
        )
        for index in range(len(data))
    )
    write_verdict_page(
        page,
        title="DeepFreak demo",
        verdicts=verdicts,
        figures=[_physics_figure(evaluation, data), p_crystal_figure(evaluation)],
        details=[
            ("recipe", f"{RECIPE}, seed {SEED}"),
            ("model", evaluation.model),
            ("accuracy (%)", format_percent(evaluation.accuracy)),
            ("crystal or none (%)", format_percent(evaluation.crystal_accuracy)),
        ],
        overwrite=overwrite,
    )


def _physics_figure(evaluation: Evaluation, data: Dataset) -> Figure:
    """Return where each lit shot stands between pulse energy and crystal, and what was missed."""
    colours = class_colours(evaluation.classes)
    lit = data.truth["pulse_photons"] > 0
    share = data.truth["bragg_photons"] / np.maximum(data.truth["background_photons"], 1)

    def plot(axes: "Axes") -> None:
        for label, name in enumerate(evaluation.classes):
            chosen = lit & (evaluation.truth == label)
            if chosen.any():
                axes.scatter(
                    data.truth["pulse_photons"][chosen],
                    share[chosen],
                    s=22,
                    color=colours[name],
                    label=name,
                )
        wrong = lit & (evaluation.truth != evaluation.predictions)
        if wrong.any():
            axes.scatter(
                data.truth["pulse_photons"][wrong],
                share[wrong],
                s=90,
                facecolors="none",
                edgecolors="#e0503a",
                label="wrong verdict",
            )
        axes.set(xlabel="photons in the pulse", ylabel="Bragg / background photons")
        axes.set_xscale("log")
        axes.set_yscale("symlog", linthresh=1e-3)
        axes.set_ylim(-2e-4, 1.5 * share.max() + 1e-3)
        axes.legend(fontsize=8)

    return draw_figure(
        plot,
        title="What the pulse met",
        caption="Each dot is a lit shot. Classes are ranges of the crystal's volume, decided "
        "before the image was rendered; verdicts are read off the image alone.",
    )
