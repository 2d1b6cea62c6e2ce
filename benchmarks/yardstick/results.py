"""A result for each frame of a run, in a file from which an interrupted run resumes."""

import hashlib
import json
import math
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import deepfreak
from deepfreak.datasets.executors import in_order, worker_processes
from deepfreak.errors import FrameError, GeometryError, InputError, OutputError
from deepfreak.formats import Frame, Geometry, read_geometry, read_mask
from deepfreak.formats.guarded import open_guarded
from deepfreak.models import load_model
from deepfreak.progress import progress
from deepfreak.screening.policy import find_policy
from deepfreak.screening.screener import Screener
from deepfreak.storage.locks import opened_alone
from yardstick.labels import read_pickled_mask
from yardstick.layout import Layout, Metadata, outside

FORMAT = 1
FRAMES_IN_A_BLOCK = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """All that a worker must know of a run, so that it can make the rest itself."""

    path: Path
    metadata: Metadata
    shape: tuple[int, int]
    model: Path | None = None
    mask: Path | None = None
    geometry: Path | None = None
    gain: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """A few frames of one chunk: number from 1, place in the chunk, distance and wavelength."""

    chunk: str
    frames: tuple[tuple[int, int, float | None, float | None], ...]


def tasks(layout: Layout, wanted: Iterable[int], size: int = FRAMES_IN_A_BLOCK) -> Iterator[Task]:
    """Yield the `wanted` frames, by their numbers from 1, in blocks of one chunk."""
    missing = set(wanted)
    first = 1
    for chunk in layout.chunks:
        numbers = iter([n for n in range(first, first + chunk.count) if n in missing])
        while block := tuple(islice(numbers, size)):
            yield Task(
                chunk=chunk.path,
                frames=tuple(
                    (
                        n,
                        n - first,
                        _at(chunk.distances_mm, n - first),
                        _at(chunk.wavelengths_A, n - first),
                    )
                    for n in block
                ),
            )
        first += chunk.count


def _at(values: tuple[float, ...], place: int) -> float | None:
    return values[place] if values and math.isfinite(values[place]) and values[place] > 0 else None


def with_metadata(
    frame: Frame, job: Job, distance_mm: float | None, wavelength_A: float | None
) -> Frame:
    """Return `frame` with what its file says; a geometry given by hand knows the beam better."""
    metadata, valid = job.metadata, frame.valid
    if metadata.underload is not None:
        valid = valid & (frame.counts > metadata.underload)
    return replace(
        frame,
        valid=valid,
        saturation=frame.saturation if metadata.saturation is None else metadata.saturation,
        beam_center_px=metadata.beam_center_px if job.geometry is None else frame.beam_center_px,
        pixel_size_mm=metadata.pixel_size_mm or frame.pixel_size_mm,
        distance_mm=distance_mm or frame.distance_mm,
        wavelength_A=wavelength_A or frame.wavelength_A,
    )


@lru_cache(maxsize=1)
def screener_of(model: Path | None) -> Screener:
    """Return the screener of a model, by default the shipped one, with its own thresholds."""
    classifier = load_model(model)
    return Screener(classifier, find_policy(classifier, model=model)[0])


@lru_cache(maxsize=1)
def left_out(job: Job) -> NDArray[np.bool_]:
    """Return the pixels of a run's frames that measure nothing, by its mask and active areas."""
    missing = outside(job.metadata.areas, job.shape)
    if job.mask is None:
        return missing
    read = read_pickled_mask if job.mask.suffix in {".pickle", ".pkl"} else read_mask
    mask = read(job.mask)
    if mask.shape != job.shape:
        size, found = (" x ".join(map(str, shape)) for shape in (job.shape, mask.shape))
        raise GeometryError(f"expected a mask of {size} pixels in {job.mask}, found {found}")
    return missing | mask


@lru_cache(maxsize=1)
def geometry_of(job: Job) -> Geometry:
    """Return the geometry given by hand, or one that says nothing."""
    if job.geometry is not None:
        return read_geometry(job.geometry)
    return Geometry(source="CXIDB 76", beam=None)


def screen(job: Job, task: Task) -> list[dict[str, Any]]:
    """Return a row for each frame: `n`, and `p`, `decision`, `peaks` and `ms`, or else `error`."""
    screener, mask = screener_of(job.model), left_out(job)
    geometry = replace(geometry_of(job), data_path=task.chunk)
    rows: list[dict[str, Any]] = []
    try:
        with open_guarded(job.path, mask=mask, geometry=geometry, gain=job.gain) as file:
            for number, place, distance_mm, wavelength_A in task.frames:
                try:
                    frame = with_metadata(file.read(place), job, distance_mm, wavelength_A)
                    verdict = screener(frame)
                except FrameError as error:
                    rows.append({"n": number, "error": str(error)})
                    continue
                rows.append(
                    {
                        "n": number,
                        "p": verdict.p_crystal,
                        "decision": verdict.decision,
                        "peaks": None if verdict.peaks is None else len(verdict.peaks),
                        "ms": round(verdict.ms, 1),
                    }
                )
    except FrameError as error:
        done = {row["n"] for row in rows}
        rows += [{"n": n, "error": str(error)} for n, *_ in task.frames if n not in done]
    return rows


def _fingerprint(path: Path | None) -> str | None:
    return None if path is None else hashlib.sha256(path.read_bytes()).hexdigest()[:16]


def read_record(text: bytes, head: Mapping[str, Any], source: str) -> tuple[dict[int, Any], int]:
    """Return the rows of a record by frame, and how many of its bytes are whole lines.

    Raises
    ------
    InputError
        It was made with other settings, or is not a record.
    """
    whole = text.rfind(b"\n") + 1
    try:
        lines = [json.loads(line) for line in text[:whole].splitlines()]
        rows = {int(row["n"]): row for row in lines[1:]}
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"expected a record in {source}, found other text: remove it") from error
    if lines and lines[0] != head:
        known = lines[0] if isinstance(lines[0], dict) else {}
        changed = [name for name in head if known.get(name) != head[name]]
        raise InputError(
            f"expected a record of the same settings in {source}, found another "
            f"{', '.join(changed) or 'kind'}: give another --records directory, or remove it"
        )
    return rows, whole


@contextmanager
def record(path: Path, head: Mapping[str, Any]) -> Iterator[tuple[dict[int, Any], Any]]:
    """Give the rows of a record, and the function that appends further ones.

    Appended rows are on the disk when the function returns; a last line that was cut off is
    removed.

    Raises
    ------
    OutputError
        The file cannot be written, or another process writes it.
    """
    with opened_alone(path, busy=f"{path} is being written by another process") as descriptor:
        rows, whole = read_record(path.read_bytes(), head, str(path))
        os.ftruncate(descriptor, whole)
        os.lseek(descriptor, 0, os.SEEK_END)

        def append(new: Iterable[Mapping[str, Any]]) -> None:
            text = b"".join(json.dumps(row).encode() + b"\n" for row in new)
            try:
                while text:
                    text = text[os.write(descriptor, text) :]
                os.fsync(descriptor)
            except OSError as error:
                raise OutputError(f"cannot write {path}: {error.strerror or error}") from error

        if whole == 0:
            append([head])
        yield rows, append


def screen_run(
    run: str, job: Job, layout: Layout, wanted: Sequence[int], records: Path, workers: int
) -> dict[int, Any]:
    """Return a row for each `wanted` frame: from the run's record, or made now and appended.

    Frames that could not be read are tried again.
    """
    left_out(job)  # a wrong mask is said before the work starts
    geometry_of(job)
    screener = screener_of(job.model)
    head = {
        "format": FORMAT,
        "run": run,
        "file": job.path.name,
        "bytes": job.path.stat().st_size,
        "frames": layout.count,
        "model": screener.model.name,
        "thresholds": None
        if screener.policy is None
        else [screener.policy.discard_below, screener.policy.keep_from],
        "version": deepfreak.__version__,
        "mask": _fingerprint(job.mask),
        "geometry": _fingerprint(job.geometry),
        "gain": job.gain,
    }
    with record(records / f"{run}.jsonl", head) as (rows, append):
        new = [number for number in wanted if "p" not in rows.get(number, {})]
        with worker_processes(workers if new else 1) as pool, progress(run, len(new)) as advance:
            work = ((job, task) for task in tasks(layout, new))
            for found in in_order(pool, screen, work, ahead=2 * workers + 2):
                append(found)
                rows |= {row["n"]: row for row in found}
                advance(len(found))
        return {number: rows[number] for number in wanted}
