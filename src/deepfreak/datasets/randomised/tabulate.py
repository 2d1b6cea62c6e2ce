"""Simulating randomised frames into a table of evidence, resumable."""

import json
import struct
from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Unpack

import h5py
import numpy as np
from numpy.typing import NDArray

from deepfreak.datasets.generating import Attempt, make_file
from deepfreak.datasets.randomised.frame import (
    BLOCK,
    VERSION,
    RandomisedFrame,
    check_choices,
    draw_frame,
)
from deepfreak.datasets.randomised.table import FORMAT
from deepfreak.evidence import Evidence, find_evidence, numbers
from deepfreak.storage.files import versions
from deepfreak.storage.manifest import Format

SIDE = 32  # of the stored planes
PLANES = ("significance", "excess", "level", "valid")
_PACKAGES = ("numpy", "numba", "h5py")
_BYTES_A_FRAME = 9000
_DRAFT = Format("evidence table draft", 1)
_HEAD = struct.Struct("<biiI")  # label, visible spots, zingers, length of the words


def make_table(
    *,
    count: int,
    seed: int,
    out: str | Path,
    family: str | None = None,
    without: tuple[str, ...] = (),
    **attempt: Unpack[Attempt],
) -> dict[str, Any]:
    """Simulate frames 0 to count - 1 of a series, write their evidence, and return the manifest.

    Frame i depends on (seed, i), `family` and `without` only: see `frame.draw_frame`. A run resumes
    from the draft beside `out`. Raises as `generating.make_file` does.
    """
    check_choices(family, without)
    settings: dict[str, Any] = {
        "varied": {"version": VERSION, "block": BLOCK},
        "seed": seed,
        "count": count,
        "family": family,
        "without": sorted(without),
        "versions": versions(*_PACKAGES),
    }
    manifest = FORMAT.manifest(**settings)
    make_file(
        Path(out),
        settings,
        form=_DRAFT,
        work=partial(_evidence_of, seed, family, frozenset(without)),
        pieces=range(count),
        pieces_per_task=BLOCK,
        bytes_per_piece=_BYTES_A_FRAME,
        unit="frames",
        fill=partial(_fill, manifest=manifest),
        **attempt,
    )
    return manifest


def _evidence_of(
    seed: int, family: str | None, without: frozenset[str], first: int, last: int
) -> list[bytes]:
    """Return the packed rows of frames first to last - 1; runs in a worker."""
    rows = []
    for index in range(first, last):
        drawn = draw_frame(seed, index, family=family, without=without)
        rows.append(_packed(drawn, find_evidence(drawn.frame)))
    return rows


def _packed(drawn: RandomisedFrame, evidence: Evidence) -> bytes:
    found = numbers(evidence)
    words = json.dumps({"names": list(found), "family": drawn.family, "kind": drawn.kind}).encode()
    return b"".join(
        (
            _HEAD.pack(drawn.label, drawn.visible, drawn.zingers, len(words)),
            words,
            pooled_planes(evidence).astype("<f2").tobytes(),
            np.array(list(found.values()), "<f8").tobytes(),
        )
    )


def pooled_planes(evidence: Evidence) -> NDArray[np.float16]:
    """Return the planes of a frame of any size, pooled to (4, 32, 32) float16.

    Levels become ln(1 + level); significance and excess are clipped at 1000. Where a small frame
    has fewer than 32 blocks, neighbours are repeated.
    """
    planes = evidence.planes
    found = np.empty((len(PLANES), SIDE, SIDE), np.float16)
    for number, name in enumerate(PLANES):
        values = getattr(planes, name)
        if name == "level":
            values = np.log1p(np.maximum(values, 0))
        values = np.clip(values, -1000, 1000)
        reduce = np.maximum if name in {"significance", "excess"} else np.add
        rows, columns = (np.arange(SIDE) * side // SIDE for side in values.shape)
        part = reduce.reduceat(reduce.reduceat(values, rows, axis=0), columns, axis=1)
        if reduce is np.add:
            part = part / np.outer(
                _lengths(rows, values.shape[0]), _lengths(columns, values.shape[1])
            )
        found[number] = part
    return found


def _lengths(starts: NDArray[np.int64], end: int) -> NDArray[np.int64]:
    """Return how many blocks `reduceat` combines from each start."""
    return np.maximum(np.diff(np.append(starts, end)), 1)


def _fill(file: h5py.File, records: Iterable[bytes], manifest: Mapping[str, Any]) -> None:
    heads, words, planes, rows = [], [], [], []
    size = 2 * len(PLANES) * SIDE * SIDE
    for packed in records:
        *head, length = _HEAD.unpack_from(packed)
        heads.append(head)
        words.append(json.loads(packed[_HEAD.size : _HEAD.size + length]))
        place = _HEAD.size + length
        planes.append(np.frombuffer(packed[place : place + size], "<f2"))
        rows.append(np.frombuffer(packed[place + size :], "<f8"))
    numbers = file.create_dataset("numbers", data=np.array(rows))
    numbers.attrs["names"] = words[0]["names"]
    shape = (len(rows), len(PLANES), SIDE, SIDE)
    file.create_dataset("planes", data=np.array(planes).reshape(shape), compression="gzip")
    for column, (name, kind) in enumerate((("label", "i1"), ("visible", "i4"), ("zingers", "i4"))):
        file.create_dataset(name, data=np.array([head[column] for head in heads], kind))
    for name in ("family", "kind"):
        texts = [word[name] for word in words]
        file.create_dataset(name, data=texts, dtype=h5py.string_dtype())
    file.attrs["manifest"] = json.dumps(manifest)
