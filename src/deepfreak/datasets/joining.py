"""Joining the shards of a series into the file that one run would have made."""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from deepfreak.datasets.file import FORMAT, Dataset, Layout, content_hashes, fill
from deepfreak.datasets.generating import BYTES_PER_PIXEL
from deepfreak.datasets.records import QUANTITIES, Record, digest_of
from deepfreak.errors import DatasetError
from deepfreak.storage.chunks import compress
from deepfreak.storage.files import check_output, whole_hdf5

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

    Raises
    ------
    DatasetError
        They are not of one series, overlap, leave a gap, or the content of one differs from its
        manifest; no file is written.
    OutputError
        `out` exists or cannot be written.
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
