"""Simulated images without a file: an infinite stream, or a recipe's data set in memory."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, Future
from contextlib import AbstractContextManager, ExitStack
from itertools import count as count_from
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from deepfreak.datasets.executors import AHEAD, in_order, worker_processes
from deepfreak.datasets.file import Dataset, LabelledImages
from deepfreak.datasets.records import columns_of, flat_truth
from deepfreak.errors import RecipeError
from deepfreak.physics.experiment import Experiment
from deepfreak.physics.exposure import simulate
from deepfreak.physics.recipe import settings_of
from deepfreak.physics.shot import MATERIALS, Shot
from deepfreak.splits import places_of

if TYPE_CHECKING:
    from deepfreak.physics.gpu.batch import Renderer


def stream(
    experiment: Experiment,
    *,
    seed: int,
    batch: int,
    first: int = 0,
    executor: Executor | None = None,
    ahead: int = AHEAD,
    renderer: "Renderer | None" = None,
) -> Iterator[LabelledImages]:
    """Yield batches of the shots `first`, `first` + 1, ... of a series, indefinitely.

    Batches are as those of `Dataset.batches`. Image i is image i of `generate` with the same seed,
    so a data set and a stream of another seed have no image in common.

    `executor`, `ahead`: where to work, by default in this process, and the maximum number of
    batches in progress. `renderer`: simulates on a GPU: images stay there, their noise differs from
    the CPU's, and the truth has only what is known before a shot is rendered.
    """
    tasks = ((experiment, seed, start, batch) for start in count_from(first, batch))
    if renderer is not None:
        for _, _, start, _ in tasks:
            made = renderer.render(seed=seed, first=start, count=batch)
            labels = np.array([shot.label for shot in made.shots], np.uint8)
            yield LabelledImages(made.images, labels, _drawn(made.shots))
        return
    yield from in_order(executor, _simulate, tasks, ahead=ahead)


def _simulate(experiment: Experiment, seed: int, first: int, count: int) -> LabelledImages:
    """Return a batch; runs in a worker."""
    shots = [experiment.draw(seed=seed, index=first + i) for i in range(count)]
    images, truths = zip(*(simulate(shot) for shot in shots), strict=True)
    labels = np.array([shot.label for shot in shots], np.uint8)
    truth = columns_of(np.stack([flat_truth(one) for one in truths]))
    return LabelledImages(np.stack(images), labels, truth)


def _drawn(shots: Sequence[Shot]) -> dict[str, NDArray[np.float64]]:
    """Return the part of the truth that is known before a shot is rendered."""
    return {
        "pulse_photons": np.array([shot.photons for shot in shots]),
        "wavelength_A": np.array([shot.wavelength_A for shot in shots]),
        "orientation": np.array(
            [shot.orientation if shot.photons > 0 else np.full((3, 3), np.nan) for shot in shots]
        ),
        "crystal_volume_mm3": np.array([shot.crystal_volume_mm3 for shot in shots]),
        **{
            f"{material}_mm": np.array([shot.path_mm(material) for shot in shots], dtype=float)
            for material in MATERIALS
        },
    }


# Larger batches gain little on a GPU (benchmarks/gpu.py).
SHOTS_AT_ONCE = {"gpu": 64, "cpu": 8}

Places = dict[str, tuple[int, int]]
Advance = Callable[[int], None]
Show = Callable[[str, int], AbstractContextManager[Advance]]


def places_in_recipe(experiment: Experiment, counts: Mapping[str, int | None]) -> Places:
    """Return (first, count) by name of the first images of some of a recipe's splits.

    `counts`: number of images of each split, None for all.

    Raises `RecipeError`: the recipe has no such split, or it is smaller.
    """
    plan = experiment.dataset
    known = {} if plan is None else places_of(dict(plan.splits), plan.count)
    places: Places = {}
    for name, count in counts.items():
        if name not in known or (count or 0) > known[name][1]:
            there = ", ".join(f"{split} with {size}" for split, (_, size) in known.items())
            raise RecipeError(
                f"expected a recipe that plans a split {name} with {count or 'its'} images, found "
                f"{there or 'none'}: choose another recipe or fewer images"
            )
        first, size = known[name]
        places[name] = (first, count or size)
    return places


def render(
    experiment: Experiment,
    *,
    seed: int,
    places: Mapping[str, tuple[int, int]],
    executor: Executor | None = None,
    renderer: "Renderer | None" = None,
    advance: Advance | None = None,
) -> Dataset:
    """Return in memory the images that `generate` would write at `places` of its file.

    On the CPU the images are equal. On a GPU the shots and labels are equal, expected photons are
    equal up to rounding, and the noise differs; see `gpu.Renderer`.

    `places`: first shot and number of shots of each split. `executor`, `renderer`: where to
    simulate, by default in this process; see `stream`. `advance`: called with the number of further
    images that are done.
    """
    backend = "cpu" if renderer is None else "gpu"
    total = sum(count for _, count in places.values())
    images = np.empty((total, *experiment.detector.image_size), np.uint8)
    labels = np.empty(total, np.uint8)
    truth: dict[str, Any] = {}
    done, splits = 0, {}
    for name, (first, count) in places.items():
        splits[name] = (done, count)
        made = stream(
            experiment,
            seed=seed,
            batch=SHOTS_AT_ONCE[backend],
            first=first,
            executor=executor,
            renderer=renderer,
        )
        end = done + count
        while done < end:
            batch = next(made)
            size = min(len(batch.labels), end - done)
            place = slice(done, done + size)
            pixels = batch.images if renderer is None else batch.images.cpu().numpy()
            images[place], labels[place] = pixels[:size], batch.labels[:size]
            for quantity, values in batch.truth.items():
                if quantity not in truth:
                    truth[quantity] = np.empty((total, *values.shape[1:]))
                truth[quantity][place] = values[:size]
            done += size
            if advance is not None:
                advance(size)
    return Dataset(
        path=Path(f"{experiment.name} in memory"),
        images=images,
        labels=labels,
        classes=experiment.classes.names,
        truth=truth,
        manifest={
            "experiment": settings_of(experiment),
            "seed": seed,
            "places": {name: list(place) for name, place in places.items()},
            "backend": backend,
        },
        splits=splits,
    )


def rendered_splits(
    experiment: Experiment,
    *,
    seed: int,
    counts: Mapping[str, int | None],
    workers: int = 1,
    show: Show | None = None,
) -> Dataset:
    """Return the first images of a recipe's splits, simulated on a GPU if there is one.

    `counts`: number of images of each split, None for all. `workers`: worker processes if there is
    no GPU. `show`: shows progress, such as `progress.progress`.

    Raises `RecipeError`: the recipe has no such split, or it is smaller.
    """
    from deepfreak.physics.gpu import Renderer, missing_on_this_machine

    places = places_in_recipe(experiment, counts)
    total = sum(count for _, count in places.values())
    with ExitStack() as stack:
        advance = None if show is None else stack.enter_context(show("images", total))
        if missing_on_this_machine() is None:
            renderer = Renderer(experiment)
            return render(experiment, seed=seed, places=places, renderer=renderer, advance=advance)
        experiment.structure_factors()  # cached before the workers need them
        executor = stack.enter_context(worker_processes(workers))
        return render(experiment, seed=seed, places=places, executor=executor, advance=advance)


def on_cpu(experiment: Experiment, seed: int, index: int) -> tuple[NDArray[np.float32], float]:
    """Return a shot's expected photons and the mean of its 8-bit image; runs in a worker."""
    from deepfreak.physics.exposure import scatter, simulate

    shot = experiment.draw(seed=seed, index=index)
    return scatter(shot), float(simulate(shot)[0].mean())


def agreement(
    renderer: "Renderer", seed: int, seen: Sequence[Future[tuple[NDArray[np.float32], float]]]
) -> list[tuple[str, str]]:
    """Return the largest differences between the GPU's and the CPU's images of the same shots.

    The measures are those of benchmarks/gpu.py, as (name, value). `seen` has the results of
    `on_cpu` for shots 0, 1, ...
    """
    shots = [renderer.experiment.draw(seed=seed, index=index) for index in range(len(seen))]
    photons = renderer.expected(shots).cpu().numpy().astype(np.float64)
    images = renderer.images(shots).cpu().numpy()
    sums, off, means = [0.0], [0.0], [0.0]
    for ours, image, future in zip(photons, images, seen, strict=True):
        expected, mean = future.result()
        means.append(abs(float(image.mean()) - mean))
        cpu = expected.astype(np.float64)
        if cpu.sum() > 0:
            sums.append(abs(ours.sum() / cpu.sum() - 1))
            matter = cpu > 1e-6 * cpu.max()
            off.append(float(np.mean(np.abs(ours - cpu)[matter] > 1e-5 * cpu[matter])))
    return [
        ("deviation of a sum of expected photons", f"{max(sums):.1e}"),
        ("part of the pixels off by more than 1e-5", f"{max(off):.1e}"),
        ("difference of an 8-bit mean", f"{max(means):.4f}"),
    ]
