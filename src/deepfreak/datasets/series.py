"""Shots of a series into one file, in whatever number of attempts, places and parts."""

import json
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Executor
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from math import prod
from pathlib import Path
from typing import Any

from deepfreak.datasets.draft import Draft, draft_path, open_draft
from deepfreak.datasets.executors import AHEAD, in_order
from deepfreak.datasets.records import PACKAGES, Record, record_of, unpack
from deepfreak.datasets.store import Layout, fill
from deepfreak.errors import DatasetError, DeepFreakError, OutputError
from deepfreak.physics.experiment import Experiment
from deepfreak.physics.recipe import settings_of
from deepfreak.splits import places_of
from deepfreak.storage.files import check_output, reason_of, versions, whole_hdf5

# What an image takes on disk, compressed, measured on the diffranet recipe (with some to spare).
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
    executor: Executor | None = None,
    ahead: int = AHEAD,
    overwrite: bool = False,
    resume: bool = False,
    advance: Callable[[int], None] | None = None,
) -> dict[str, Any]:
    """Simulate shots 0 to count - 1 of a series into one HDF5 file and return its manifest.

    The bytes depend on (experiment, seed, count, splits, shard) only, on machines with the same
    processor features; never on `executor`, nor on how often the work was broken off: it goes on
    where the draft beside `out` ends.

    Parameters
    ----------
    splits
        Names and sizes of consecutive parts; by default the recipe's, if `count` is its count.
    shard
        (k, n): make only part k of n, counted from 1; `join` makes the whole of them.
    executor, ahead
        Where the work is done, by default in this process, and how many tasks to hand out at once.
    overwrite
        Replace `out`, and a draft of another run.
    resume
        Refuse to begin: there must be a draft.
    advance
        Called with the number of further images that are done.

    Raises
    ------
    OutputError
        If `out` exists, is being made by another process, the draft is of another run, or the disk
        is full. What is done stays in the draft; nothing half-made has the name of the result.
    DeepFreakError
        If a worker died; what is done stays in the draft.
    """
    purpose = _purpose(experiment, count=count, seed=seed, splits=splits, shard=shard)
    experiment.structure_factors()  # fills the cache before the workers ask for it
    return make(
        partial(_simulate_range, experiment, seed),
        out,
        purpose=purpose,
        layout=Layout.of(purpose["experiment"]),
        executor=executor,
        ahead=ahead,
        overwrite=overwrite,
        resume=resume,
        advance=advance,
    )


def make(
    work: Callable[[int, int], list[bytes]],
    out: str | Path,
    *,
    purpose: dict[str, Any],
    layout: Layout,
    images_per_task: int = IMAGES_PER_TASK,
    executor: Executor | None = None,
    ahead: int = AHEAD,
    overwrite: bool = False,
    resume: bool = False,
    advance: Callable[[int], None] | None = None,
) -> dict[str, Any]:
    """Write what `work` makes into one HDF5 file and return its manifest; `generate` has the rest.

    Parameters
    ----------
    work
        Called in a worker for the packed records of images first to last - 1; it is pickled, and
        what it gives follows from `purpose` and the indices.
    purpose
        Everything that the bytes depend on, in JSON types; see `fill`.
    images_per_task
        A task ends before an index that is a multiple of it, or at the last.
    """
    out = Path(out)
    first, number = purpose["first"], purpose["count"]
    draft_file = draft_path(out)
    there = draft_file.stat().st_size if draft_file.exists() else 0
    # the draft and the file are there at once in the end
    needed = int(2 * number * prod(layout.image_size) * BYTES_PER_PIXEL) - there
    check_output(out, overwrite=overwrite, expected_bytes=needed)
    with open_draft(out, purpose, replace=overwrite, must_exist=resume) as draft:
        if advance is not None and draft.count:
            advance(draft.count)
        tasks = _tasks(first + draft.count, first + number, images_per_task)
        try:
            for batch in in_order(executor, work, tasks, ahead=ahead):
                _append(draft, batch, number)
                if advance is not None:
                    advance(len(batch))
        except BrokenProcessPool as error:
            raise DeepFreakError(
                f"a worker process died (out of memory?); {_kept(draft, number)}, with fewer "
                "--workers"
            ) from error
        for orphan in out.parent.glob(f".{out.name}.*.partial"):
            orphan.unlink()  # of a run that was killed while it wrote the file
        left = _kept(draft, number)
        with whole_hdf5(out, overwrite=overwrite, left=left) as (file, check_disk):
            records = _checked(draft, check_disk)
            manifest = fill(file, records, purpose=purpose, layout=layout)
    return manifest


def _tasks(first: int, last: int, images: int) -> Iterator[tuple[int, int]]:
    """Yield ranges that make up first to last - 1, each within a block of so many `images`."""
    while first < last:
        end = min((first // images + 1) * images, last)
        yield first, end
        first = end


def _append(draft: Draft, batch: list[bytes], number: int) -> None:
    try:
        for packed in batch:
            draft.append(packed)
    except OSError as error:
        raise OutputError(
            f"cannot write {draft.path}: {reason_of(error)}; {_kept(draft, number)}"
        ) from error


def _kept(draft: Draft, number: int) -> str:
    return (
        f"{draft.count} of {number} images are kept in {draft.path.name}: give the same command "
        "again"
    )


def _checked(draft: Draft, check_disk: Callable[[], None]) -> Iterator[Record]:
    """Yield the records of a draft as long as the disk takes them."""
    for packed in draft.records():
        yield unpack(packed)
        check_disk()


def part_of(count: int, shard: tuple[int, int]) -> tuple[int, int]:
    """Return the first index of part k of n, and how many images it has.

    Raises
    ------
    DatasetError
        If there is no such part.
    """
    k, n = shard
    if not 1 <= k <= n <= count:
        raise DatasetError(
            f"a shard is K/N with 1 <= K <= N, and N at most the {count} images; found {k}/{n}"
        )
    first = (k - 1) * count // n
    return first, k * count // n - first


def _purpose(
    experiment: Experiment,
    *,
    count: int,
    seed: int,
    splits: Mapping[str, int] | None,
    shard: tuple[int, int],
) -> dict[str, Any]:
    """Return what is to be made, in JSON types: everything that the bytes depend on."""
    plan = experiment.dataset
    if splits is None:
        splits = dict(plan.splits) if plan is not None and plan.count == count else {}
    try:
        places = places_of(splits, count)
    except ValueError as error:
        raise DatasetError(str(error)) from error
    first, number = part_of(count, shard)
    purpose = {
        "experiment": settings_of(experiment),
        "seed": seed,
        "first": first,
        "count": number,
        "of": count,
        "splits": places,
        "versions": versions(*PACKAGES),
    }
    return dict(json.loads(json.dumps(purpose)))


def _simulate_range(experiment: Experiment, seed: int, first: int, last: int) -> list[bytes]:
    """Simulate shots first to last - 1 into packed records; runs in a worker."""
    shots = (experiment.draw(seed=seed, index=index) for index in range(first, last))
    return [record_of(shot).pack() for shot in shots]
