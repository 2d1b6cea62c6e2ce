"""Simulating the shots of a series into a data set, resumable and in shards."""

import json
from collections.abc import Mapping
from functools import partial
from math import prod
from pathlib import Path
from typing import Any, Unpack

from deepfreak.datasets.file import Layout, fill
from deepfreak.datasets.records import PACKAGES, record_of, unpack
from deepfreak.datasets.resuming import Attempt, make_file
from deepfreak.errors import DatasetError
from deepfreak.physics.experiment import Experiment
from deepfreak.physics.recipe import settings_of
from deepfreak.splits import places_of
from deepfreak.storage.files import versions
from deepfreak.storage.manifest import Format

DRAFT = Format("data set draft", 1)
# Compressed size of an image, measured on the diffranet recipe, with a margin.
BYTES_PER_PIXEL = 0.5
IMAGES_PER_TASK = 4


def generate(
    experiment: Experiment,
    *,
    count: int,
    seed: int,
    out: str | Path,
    splits: Mapping[str, int] | None = None,
    shard: tuple[int, int] = (1, 1),
    **attempt: Unpack[Attempt],
) -> dict[str, Any]:
    """Simulate shots 0 to count - 1 of a series into one HDF5 file and return its manifest.

    On machines with the same processor features the bytes depend only on (experiment, seed, count,
    splits, shard), not on `attempt` or on interruptions: a run resumes from the draft beside `out`.

    Parameters
    ----------
    splits
        Sizes of consecutive splits by name; by default the recipe's, if `count` is its count.
    shard
        (k, n): simulate only part k of n, counted from 1; `join` joins them.
    attempt
        See `resuming.Attempt`.

    Raises
    ------
    OutputError, DeepFreakError
        See `resuming.make_file`.
    """
    settings = _settings(experiment, count=count, seed=seed, splits=splits, shard=shard)
    layout = Layout.of(settings["experiment"])
    experiment.structure_factors()  # cached before the workers need them
    first = settings["first"]
    return make_file(
        Path(out),
        settings,
        form=DRAFT,
        work=partial(_simulate_range, experiment, seed),
        pieces=range(first, first + settings["count"]),
        pieces_per_task=IMAGES_PER_TASK,
        bytes_per_piece=prod(layout.image_size) * BYTES_PER_PIXEL,
        unit="images",
        fill=lambda file, packed: fill(file, map(unpack, packed), settings=settings, layout=layout),
        **attempt,
    )


def part_of(count: int, shard: tuple[int, int]) -> tuple[int, int]:
    """Return the index of the first image of part k of n, and its number of images.

    Raises `DatasetError`: there is no such part.
    """
    k, n = shard
    if not 1 <= k <= n <= count:
        raise DatasetError(
            f"a shard is K/N with 1 <= K <= N, and N at most the {count} images; found {k}/{n}"
        )
    first = (k - 1) * count // n
    return first, k * count // n - first


def _settings(
    experiment: Experiment,
    *,
    count: int,
    seed: int,
    splits: Mapping[str, int] | None,
    shard: tuple[int, int],
) -> dict[str, Any]:
    """Return everything that the bytes depend on, as JSON values."""
    plan = experiment.dataset
    if splits is None:
        splits = dict(plan.splits) if plan is not None and plan.count == count else {}
    try:
        places = places_of(splits, count)
    except ValueError as error:
        raise DatasetError(str(error)) from error
    first, number = part_of(count, shard)
    settings = {
        "experiment": settings_of(experiment),
        "seed": seed,
        "first": first,
        "count": number,
        "of": count,
        "splits": places,
        "versions": versions(*PACKAGES),
    }
    return dict(json.loads(json.dumps(settings)))


def _simulate_range(experiment: Experiment, seed: int, first: int, last: int) -> list[bytes]:
    """Return the packed records of shots first to last - 1; runs in a worker."""
    shots = (experiment.draw(seed=seed, index=index) for index in range(first, last))
    return [record_of(shot).pack() for shot in shots]
