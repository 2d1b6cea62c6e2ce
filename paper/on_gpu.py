"""Ten minutes of one GPU: DiffraNet simulated, our network and the paper's B trained and judged.

Needs no file of images: they are simulated on the device. Where there is no GPU the same is done on
the CPU, which only makes sense for a few images.
"""

import time
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from deepfreak.datasets import Dataset, worker_processes
from deepfreak.datasets.in_memory import agreement, on_cpu, places_in_recipe, render
from deepfreak.errors import OutputError
from deepfreak.models.evaluation import Evaluation, evaluate, format_percent
from deepfreak.networks import CONFIGURATION_B, Topology, save_network, train_network
from deepfreak.networks.curve import Epoch
from deepfreak.networks.normalisation import normalised_by_image
from deepfreak.physics.experiment import Experiment
from deepfreak.search.cnn import first_images
from deepfreak.search.cnn_plan import narrowed
from deepfreak.settings import Count, Positive, settings
from deepfreak.storage.files import reason_of
from paper.parts import rounded, write_parts
from paper.runs import Candidate, hardware, our_network
from paper.step_time import seconds_per_step

if TYPE_CHECKING:
    from concurrent.futures import Future

    import numpy as np
    from numpy.typing import NDArray

    from deepfreak.networks import NetworkModel

Progress = Callable[[str, int], AbstractContextManager[Callable[[int], None]]]

# Of each class one or two.
SHOTS_COMPARED = 6
# What judging, twice for B, and writing need.
SECONDS_TO_END = 75.0
# Writing B's weights and momenta takes as long as a hundred of its steps.
STEPS_BETWEEN_CHECKPOINTS = 5000
# Of the time that is left after the images; B is the one that takes long.
PART_FOR_OURS = 0.4
IMAGES_OF_PAPER, EPOCHS_OF_PAPER = 10_000, 180


@settings
class Plan:
    """What to do with the minutes.

    Parameters
    ----------
    train, validation, test
        The first so many images of the recipe's splits.
    minutes
        No epoch begins that would not end in time.
    epochs, batch
        Of configuration B. With more than the paper's one image in a batch the learning rate is
        multiplied by the batch, and each image is normalised by itself.
    steps
        Steps of B at batch 1 in float32, the paper's, that are timed.
    filters
        The most that B has, None for its 64.
    our_epochs
        Of our network; None for as many as its recipe says.
    """

    train: Count = 10_000
    validation: Count = 2_400
    test: Count = 12_600
    minutes: Positive = 9.0
    epochs: Count = 20
    batch: Count = 1
    steps: Count = 500
    filters: Count | None = None
    our_epochs: Count | None = None
    seed: int = 0


# For a trial of all this on a CPU; the first seven shots have all classes.
TINY = Plan(train=10, validation=5, test=5, epochs=2, steps=10, filters=2, our_epochs=2)
TINY_CRYSTAL = (
    "crystal.structure.cell=[20, 22, 24, 90, 90, 90]",
    "crystal.structure.atoms_per_asu=60",
    "crystal.mosaic_domains=3",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Learnt:
    """A network after its training, how that went, and what it says of the test images.

    `by_image` is what it says with each image normalised by itself, if that is another network.
    """

    candidate: Candidate
    model: "NetworkModel"
    history: tuple[Epoch, ...]
    evaluation: Evaluation
    by_image: Evaluation | None = None

    @property
    def seconds_per_epoch(self) -> float:
        """Mean over all epochs but the first, in which libraries warm up, if there are more."""
        seconds = [row.seconds for row in self.history]
        return seconds[0] if len(seconds) == 1 else (seconds[-1] - seconds[0]) / (len(seconds) - 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What came of a `Plan`.

    Parameters
    ----------
    step_s
        Seconds of a step of configuration B at batch 1 in float32.
    likeness
        How far the device's images are from the CPU's; empty where they are the CPU's.
    """

    plan: Plan
    hardware: str
    ours: Learnt
    b: Learnt
    step_s: float
    images_per_second: float
    likeness: tuple[tuple[str, str], ...]


def configuration_b(plan: Plan) -> Candidate:
    """Return B with convolutions in bf16, and what larger batches ask for.

    There each image is normalised by itself, as it is in the paper's batches of one; by batches it
    would be another network, and fail on images unlike most of their batch.
    """
    training = CONFIGURATION_B.training
    alone = plan.batch == training.batch
    return Candidate(
        name="configuration B",
        architecture=replace(
            narrowed(CONFIGURATION_B.topology, plan.filters),
            normalise="batch" if alone else "image",
        ),
        training=replace(
            training,
            epochs=plan.epochs,
            batch=plan.batch,
            learning_rate=training.learning_rate * plan.batch / training.batch,
            precision="bf16",
        ),
    )


def run(
    experiment: Experiment,
    plan: Plan,
    *,
    out: Path,
    work: Path,
    workers: int = 1,
    device: str | None = None,
    progress: Progress,
    say: Callable[[str], None] = lambda _: None,
) -> Outcome:
    """Simulate, train, judge, and write the weights into `out`.

    Parameters
    ----------
    work
        Folder of the checkpoints; what was broken off goes on from there.
    workers
        Processes that simulate where there is no GPU.
    device
        Where networks are trained; by default a GPU where there is one.
    progress, say
        Get what is shown meanwhile.

    Raises
    ------
    DeepFreakError
        Any of its kinds, in one line.
    """
    from deepfreak.physics.gpu import Renderer, missing_on_this_machine

    deadline = time.monotonic() + 60 * plan.minutes - SECONDS_TO_END
    for folder in (out, work):
        _make_folder(folder)
    places = places_in_recipe(
        experiment, {"train": plan.train, "validation": plan.validation, "test": plan.test}
    )
    total = sum(count for _, count in places.values())
    with ExitStack() as stack:
        experiment.structure_factors()  # fills the cache before the workers ask for it
        renderer = Renderer(experiment) if missing_on_this_machine() is None else None
        pool = stack.enter_context(worker_processes(workers if renderer is None else 2))
        seen: list[Future[tuple[NDArray[np.float32], float]]] = []
        if renderer is not None and pool is not None:
            # the other processor compiles and scatters while the GPU works
            seen = [
                pool.submit(on_cpu, experiment, plan.seed, index) for index in range(SHOTS_COMPARED)
            ]
        began = time.monotonic()
        with progress("images", total) as advance:
            data = render(
                experiment,
                seed=plan.seed,
                places=places,
                executor=pool if renderer is None else None,
                renderer=renderer,
                advance=advance,
            )
        simulated_s = time.monotonic() - began
        say(f"{total} images in {simulated_s:.0f} s")

        train, validation, test = (data.split(name) for name in places)
        teacher = _Teacher(
            train=train,
            validation=validation,
            test=test,
            work=work,
            seed=plan.seed,
            device=device,
            progress=progress,
            say=say,
        )
        now = time.monotonic()
        ours = teacher.teach(
            our_network(train, epochs=plan.our_epochs),
            deadline=now + PART_FOR_OURS * (deadline - now),
        )
        save_network(ours.model, out / "our-network.safetensors")
        step_s = seconds_per_step(
            narrowed(CONFIGURATION_B.topology, plan.filters),
            CONFIGURATION_B.training,
            first_images(train, plan.steps),
            device=device,
        )
        say(f"{1000 * step_s:.1f} ms a step of configuration B at batch 1 in float32")
        b = teacher.teach(configuration_b(plan), deadline=deadline, in_parts=True)
        write_parts(b.model, out, "configuration-b")
        likeness = [] if renderer is None else agreement(renderer, plan.seed, seen)
    return Outcome(
        plan=plan,
        hardware=hardware(device),
        ours=ours,
        b=b,
        step_s=step_s,
        images_per_second=total / simulated_s,
        likeness=tuple(likeness),
    )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Teacher:
    train: Dataset
    validation: Dataset
    test: Dataset
    work: Path
    seed: int
    device: str | None
    progress: Progress
    say: Callable[[str], None]

    def teach(self, candidate: Candidate, *, deadline: float, in_parts: bool = False) -> Learnt:
        """Train to the end, or as many epochs as end before `deadline`, and judge.

        With `in_parts` weights are rounded, as `write_parts` needs them.
        """
        done, before = 0, time.monotonic()

        def on_epoch(row: Epoch) -> None:
            nonlocal done, before
            now = time.monotonic()
            done, took, before = row.epoch, now - before, now
            self.say(
                f"{candidate.name}, epoch {row.epoch} of {candidate.training.epochs}: validation "
                f"{100 * (row.validation_accuracy or 0):.2f} %, {took:.1f} s"
            )
            if now + took > deadline:
                raise _OutOfTimeError

        def train(until: int) -> "tuple[NetworkModel, tuple[Epoch, ...]]":
            made = train_network(
                self.train,
                architecture=candidate.architecture,
                training=candidate.training,
                out=self.work / candidate.folder,
                seed=self.seed,
                validation=self.validation,
                until=until,
                device=self.device,
                save_every_steps=STEPS_BETWEEN_CHECKPOINTS,
                show=self.progress,
                on_epoch=on_epoch,
            )
            return made.model, made.history

        try:
            model, history = train(candidate.training.epochs)
        except _OutOfTimeError:
            history = ()
        if not history:
            # nothing is left to train: this reads the checkpoint of the last epoch
            model, history = train(done)
        # what is written is judged
        model = rounded(model) if in_parts else model
        evaluation = self._judge(model, candidate.name)
        by_image = None
        architecture = candidate.architecture
        if isinstance(architecture, Topology) and architecture.normalise == "batch":
            by_image = self._judge(normalised_by_image(model), f"{candidate.name} by image")
        return Learnt(
            candidate=candidate,
            model=model,
            history=history,
            evaluation=evaluation,
            by_image=by_image,
        )

    def _judge(self, model: "NetworkModel", name: str) -> Evaluation:
        with self.progress(f"judging {name}", len(self.test)) as advance:
            evaluation = evaluate(model, self.test, advance=advance)
        self.say(f"{name}: {format_percent(evaluation.accuracy).strip()} % of the test images")
        return evaluation


class _OutOfTimeError(Exception):
    """The next epoch would end too late."""


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"cannot make the folder {folder}: {reason_of(error)}") from error
