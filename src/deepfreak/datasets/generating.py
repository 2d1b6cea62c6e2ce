"""Simulating the shots of a series into a data set, in pieces that resume after an interruption.

Shards of a series are joined into the file that one run would have made.
"""

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack
from functools import partial
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict, TypeVar, Unpack

import numpy as np

from deepfreak.datasets.executors import AHEAD, in_order
from deepfreak.datasets.file import FORMAT, Dataset, Layout, content_hashes, fill
from deepfreak.datasets.records import PACKAGES, QUANTITIES, Record, digest_of, record_of, unpack
from deepfreak.errors import DatasetError, DeepFreakError, OutputError
from deepfreak.physics.experiment import Experiment
from deepfreak.physics.recipe import settings_of
from deepfreak.splits import places_of
from deepfreak.storage.chunks import compress
from deepfreak.storage.draft import draft_path, open_draft
from deepfreak.storage.files import check_output, versions, whole_hdf5
from deepfreak.storage.manifest import Format

if TYPE_CHECKING:
    import h5py

T = TypeVar("T")


class Attempt(TypedDict, total=False):
    """Options of one run; none of them changes the result."""

    # where to work, by default in this process, and the maximum number of tasks in progress
    executor: Executor | None
    ahead: int
    overwrite: bool  # replace the file, and a draft of another run
    resume: bool  # resume only: there must be a draft
    advance: Callable[[int], None] | None  # called with the number of further pieces that are done


def make_file(
    out: Path,
    settings: Mapping[str, Any],
    *,
    form: Format,
    work: Callable[[int, int], list[bytes]],
    pieces: range,
    pieces_per_task: int,
    bytes_per_piece: float,
    unit: str,
    fill: Callable[["h5py.File", Iterator[bytes]], T],
    **attempt: Unpack[Attempt],
) -> T:
    """Make the HDF5 file `out` from pieces made by `work`, and return the result of `fill`.

    Each piece is appended to the draft beside `out`, from which a later run resumes.

    Raises `OutputError`: `out` exists, is being made by another process, the draft is of another
    run, or the disk is full. Finished pieces stay in the draft; an incomplete file never has the
    name `out`. Or `DeepFreakError`: a worker crashed; finished pieces stay in the draft too.

    Parameters
    ----------
    settings
        All that the pieces depend on, as JSON values.
    form
        Format of the draft.
    work
        Returns the packed pieces first to last - 1; pickled, and called in a worker.
    pieces_per_task
        A task ends before a piece whose index is a multiple of it, or at the last piece.
    bytes_per_piece
        Approximate size in the file, to check the free space before any work is done.
    unit
        Name of the pieces in messages: "images".
    fill
        Writes the file, given all packed pieces in order.
    """
    overwrite, advance = attempt.get("overwrite", False), attempt.get("advance")
    draft_file = draft_path(out)
    there = draft_file.stat().st_size if draft_file.exists() else 0
    # in the end both the draft and the file exist
    needed = int(2 * len(pieces) * bytes_per_piece) - there
    check_output(out, overwrite=overwrite, expected_bytes=needed)
    with open_draft(
        out, settings, form=form, replace=overwrite, must_exist=attempt.get("resume", False)
    ) as draft:

        def kept() -> str:
            done = f"{len(draft)} of {len(pieces)} {unit} are kept in {draft_file.name}"
            return f"{done}: give the same command again"

        if advance is not None and len(draft):
            advance(len(draft))
        tasks = _tasks(pieces[len(draft) :], pieces_per_task)
        ahead = attempt.get("ahead", AHEAD)
        try:
            for batch in in_order(attempt.get("executor"), work, tasks, ahead=ahead):
                draft.extend(batch)
                if advance is not None:
                    advance(len(batch))
        except BrokenProcessPool as error:
            raise DeepFreakError(
                f"a worker process crashed (out of memory?); {kept()}, with fewer --workers"
            ) from error
        except OutputError as error:
            raise OutputError(f"{error}; {kept()}") from error
        for orphan in out.parent.glob(f".{out.name}.*.partial"):
            orphan.unlink()  # of a run that was killed while it wrote the file
        with whole_hdf5(out, overwrite=overwrite, left=kept()) as (file, check_disk):

            def checked() -> Iterator[bytes]:
                for piece in draft.records():
                    yield piece
                    check_disk()

            return fill(file, checked())


def _tasks(pieces: range, size: int) -> Iterator[tuple[int, int]]:
    """Yield ranges (first, last) that make up `pieces`, each within a block of `size` of all."""
    first = pieces.start
    while first < pieces.stop:
        last = min((first // size + 1) * size, pieces.stop)
        yield first, last
        first = last


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
        See `Attempt`.

    Raises
    ------
    OutputError, DeepFreakError
        See `make_file`.
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


# Settings that shards of one series share, and their names in messages.
_COMMON = {
    "experiment": "recipes",
    "seed": "seeds",
    "of": "numbers of images",
    "splits": "splits",
    "versions": "versions",
}


def join(
    shards: Sequence[str | Path],
    *,
    out: str | Path,
    overwrite: bool = False,
    advance: Callable[[int], None] | None = None,
) -> dict[str, Any]:
    """Join files that `generate` made with `shard` into one, and return its manifest.

    They may be in any order. Their content is compared with their manifests.

    Raises `DatasetError`: they are not of one series, overlap, leave a gap, or the content of one
    differs from its manifest; no file is written; `OutputError`: `out` exists or cannot be written.
    """
    out = Path(out)
    with ExitStack() as stack:
        parts = [stack.enter_context(Dataset.open(path)) for path in shards]
        if not parts:
            raise DatasetError("expected shards to join, found none")
        for part in parts:
            _check_kind(part)
        parts.sort(key=lambda part: int(part.manifest["first"]))
        _check_series(parts)
        settings = {name: parts[0].manifest[name] for name in ("experiment", "seed")}
        total = int(parts[0].manifest["of"])
        settings |= {"first": 0, "count": total, "of": total}
        settings |= {name: parts[0].manifest[name] for name in ("splits", "versions")}
        pixels = total * int(np.prod(parts[0].images.shape[1:]))
        check_output(out, overwrite=overwrite, expected_bytes=int(pixels * BYTES_PER_PIXEL))
        with whole_hdf5(out, overwrite=overwrite) as (file, check_disk):

            def step(done: int) -> None:
                check_disk()
                if advance is not None:
                    advance(done)

            layout = Layout.of(settings["experiment"])
            return fill(file, _records(parts, step), settings=settings, layout=layout)


def _check_kind(part: Dataset) -> None:
    wanted = {*_COMMON, "first", "count", "sha256", "processors"}
    if part.manifest.get("kind") != FORMAT.name or not wanted <= set(part.manifest):
        raise DatasetError(
            f"{part.path}: expected a shard made by `deepfreak data generate --shard`"
        )
    if part.manifest["count"] != len(part) or set(part.truth) != set(QUANTITIES):
        raise DatasetError(f"{part.path}: its content differs from its manifest")


def _check_series(parts: list[Dataset]) -> None:
    """Check that parts, in order of their first image, make up one series."""
    first = parts[0]
    for part in parts[1:]:
        for name, words in _COMMON.items():
            ours, theirs = first.manifest[name], part.manifest[name]
            if ours != theirs:
                found = f" ({ours} and {theirs})" if isinstance(ours, int) else ""
                raise DatasetError(
                    f"shards of different {words}{found}: {first.path} and {part.path}"
                )
    reached, before = 0, None
    for part in parts:
        start = int(part.manifest["first"])
        if start < reached and before is not None:
            raise DatasetError(
                f"{part.path} overlaps {before.path}: it starts at image {start}, not {reached}"
            )
        if start > reached:
            raise DatasetError(f"no shard with images {reached} to {start - 1}; generate it first")
        reached, before = start + len(part), part
    total = int(first.manifest["of"])
    if reached != total:
        raise DatasetError(f"no shard with images {reached} to {total - 1}; generate it first")


def _records(parts: list[Dataset], step: Callable[[int], None]) -> Iterator[Record]:
    for part in parts:
        hashes = part.manifest["sha256"]
        flat = [part.truth[name].reshape(len(part), -1) for name in QUANTITIES]
        truths = np.concatenate(flat, axis=1)
        processors = part.manifest["processors"]
        digests = hashlib.sha256()
        for index in range(len(part)):
            image = part.images[index]
            digest = digest_of(image)
            digests.update(digest)
            yield Record(
                label=int(part.labels[index]),
                digest=digest,
                # a manifest lists processors without their images; only the set is needed
                processor=processors[index % len(processors)],
                truth=truths[index],
                chunk=compress(image),
            )
            step(1)
        for name, digest_found in content_hashes(digests, part.labels, part.truth).items():
            if hashes.get(name) != digest_found:
                raise DatasetError(f"{part.path}: its {name} differ from its manifest")
