"""Simulated frames into a table of evidence; an interrupted run resumes."""

import json
import struct
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Executor
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from deepfreak.datasets.draft import Draft, open_draft
from deepfreak.datasets.executors import AHEAD, in_order
from deepfreak.errors import DeepFreakError, OutputError
from deepfreak.storage.files import check_output, reason_of, versions, whole_hdf5

if TYPE_CHECKING:
    import h5py

    from deepfreak.datasets.randomised.frame import RandomisedFrame
    from deepfreak.evidence import Evidence

SIDE = 32  # of the planes that are kept
PLANES = ("significance", "excess", "level", "valid")
_PACKAGES = ("numpy", "numba", "h5py")
_BYTES_A_FRAME = 9000
_HEAD = struct.Struct("<biiI")  # label, visible spots, zingers, length of the words


def make_table(
    *,
    count: int,
    seed: int,
    out: str | Path,
    family: str | None = None,
    without: tuple[str, ...] = (),
    executor: Executor | None = None,
    ahead: int = AHEAD,
    overwrite: bool = False,
    resume: bool = False,
    advance: Callable[[int], None] | None = None,
) -> dict[str, Any]:
    """Simulate frames 0 to count - 1 of a series, write their evidence, and return the manifest.

    Frame i depends on (seed, i) and on `family` and `without` only. An interrupted
    run resumes where the draft beside `out` ends; see `dataset.generate` for the errors.

    Parameters
    ----------
    family
        Draw detectors of this family only.
    without
        Kinds of light and faults to leave out; see `frame.draw_frame`.
    """
    from deepfreak.datasets.randomised.frame import BLOCK, VERSION, check_choices

    check_choices(family, without)
    out = Path(out)
    purpose: dict[str, Any] = {
        "varied": {"version": VERSION, "block": BLOCK},
        "seed": seed,
        "count": count,
        "family": family,
        "without": sorted(without),
        "versions": versions(*_PACKAGES),
    }
    purpose = dict(json.loads(json.dumps(purpose)))
    check_output(out, overwrite=overwrite, expected_bytes=2 * count * _BYTES_A_FRAME)
    work = partial(_evidence_of, seed, family, frozenset(without))
    with open_draft(out, purpose, replace=overwrite, must_exist=resume) as draft:
        if advance is not None and draft.count:
            advance(draft.count)
        tasks = _tasks(draft.count, count, BLOCK)
        try:
            for batch in in_order(executor, work, tasks, ahead=ahead):
                for packed in batch:
                    draft.append(packed)
                if advance is not None:
                    advance(len(batch))
        except BrokenProcessPool as error:
            raise DeepFreakError(
                f"a worker process crashed (out of memory?); {_kept(draft, count)}, with fewer "
                "--workers"
            ) from error
        except OSError as error:
            raise OutputError(
                f"cannot write {draft.path}: {reason_of(error)}; {_kept(draft, count)}"
            ) from error
        with whole_hdf5(out, overwrite=overwrite, left=_kept(draft, count)) as (file, _):
            _fill(file, draft, purpose)
    return purpose


def _kept(draft: Draft, count: int) -> str:
    return (
        f"{draft.count} of {count} frames are kept in {draft.path.name}: give the same command "
        "again"
    )


def _tasks(first: int, last: int, size: int) -> Iterator[tuple[int, int]]:
    """Yield ranges that make up first to last - 1, each within a block of so many frames."""
    while first < last:
        end = min((first // size + 1) * size, last)
        yield first, end
        first = end


def _evidence_of(
    seed: int, family: str | None, without: frozenset[str], first: int, last: int
) -> list[bytes]:
    """Return the packed rows of frames first to last - 1; runs in a worker."""
    from deepfreak.datasets.randomised.frame import draw_frame
    from deepfreak.evidence import find_evidence

    rows = []
    for index in range(first, last):
        drawn = draw_frame(seed, index, family=family, without=without)
        rows.append(_packed(drawn, find_evidence(drawn.frame)))
    return rows


def _packed(drawn: "RandomisedFrame", evidence: "Evidence") -> bytes:
    from deepfreak.evidence import numbers

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


def pooled_planes(evidence: "Evidence") -> NDArray[np.float16]:
    """Return the planes of a frame of any size in 32 x 32 parts, (4, 32, 32), float16.

    Levels are ln(1 + level), significance and excess are cut off at 1000; parts of a small frame
    that hold no block repeat their neighbours.
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
    """Return how many blocks `reduceat` takes together from each start."""
    return np.maximum(np.diff(np.append(starts, end)), 1)


def _fill(file: "h5py.File", draft: Draft, purpose: Mapping[str, Any]) -> None:
    import h5py

    heads, words, planes, rows = [], [], [], []
    size = 2 * len(PLANES) * SIDE * SIDE
    for packed in draft.records():
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
    file.attrs["manifest"] = json.dumps(purpose)
