"""Labelled images in one HDF5 file: made by `generate`, read by `Dataset`.

Layout::

    /images             (N, 512, 512) uint8, one bitshuffle-LZ4 chunk an image
    /label              (N) uint8, index into its attribute `classes`
    /truth/<quantity>   (N) or (N, 3, 3) float64, the physics that made each image
    attribute manifest  JSON: settings, seed, versions, hash of the images
"""

import hashlib
import json
import multiprocessing
import platform
import signal
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import h5py
import hdf5plugin
import numpy as np
from numpy.typing import NDArray

from deepfreak.errors import DatasetError, DeepFreakError
from deepfreak.experiment import Experiment
from deepfreak.exposure import Truth, simulate
from deepfreak.files import check_output, versions, whole_hdf5
from deepfreak.recipe import settings_of

# What an image takes on disk, compressed, measured on the diffranet recipe (with some to spare).
BYTES_PER_IMAGE = 0.75
IMAGES_PER_TASK = 4


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Dataset:
    """An open file of labelled images; see the module for its layout.

    Parameters
    ----------
    images
        (N, slow, fast) uint8, read from disk when indexed.
    labels
        (N,) uint8, indices into `classes`.
    truth
        Arrays of N by quantity; empty for images that were not simulated.
    manifest
        How the file was made; empty where the file does not say.
    """

    path: Path
    images: Any
    labels: NDArray[np.uint8]
    classes: tuple[str, ...]
    truth: dict[str, NDArray[np.float64]]
    manifest: dict[str, Any]

    def __len__(self) -> int:
        return len(self.labels)

    @classmethod
    @contextmanager
    def open(cls, path: str | Path) -> Iterator["Dataset"]:
        """Open a file for reading, as a context.

        Raises
        ------
        DatasetError
            If it is missing, is not HDF5, or does not have the layout.
        """
        path = Path(path)
        if not path.is_file():
            raise DatasetError(f"no data set {path}; `deepfreak generate` makes one")
        try:
            file = h5py.File(path, "r")
        except OSError as error:
            raise DatasetError(f"{path}: not an HDF5 file, or a damaged one") from error
        with file:
            yield cls._from(path, file)

    @classmethod
    def _from(cls, path: Path, file: h5py.File) -> "Dataset":
        for name in ("images", "label"):
            if not isinstance(file.get(name), h5py.Dataset):
                raise DatasetError(f"{path}: expected the data set /{name}, found {sorted(file)}")
        images, label = file["images"], file["label"]
        if images.ndim != 3 or images.dtype != np.uint8:
            raise DatasetError(
                f"{path}: /images must be (N, slow, fast) uint8, "
                f"found {images.shape} {images.dtype}"
            )
        if label.shape != images.shape[:1] or not np.issubdtype(label.dtype, np.integer):
            raise DatasetError(
                f"{path}: /label must hold one integer an image, "
                f"found {label.shape} {label.dtype} for {images.shape[0]} images"
            )
        if "classes" not in label.attrs:
            raise DatasetError(f"{path}: /label lacks the attribute `classes` with their names")
        classes = tuple(_text(name) for name in label.attrs["classes"])
        labels = label[:]
        if len(labels) and not 0 <= labels.min() <= labels.max() < len(classes):
            raise DatasetError(
                f"{path}: labels must be 0 to {len(classes) - 1}, "
                f"found {labels.min()} to {labels.max()}"
            )
        truth = file.get("truth", {})
        return cls(
            path=path,
            images=images,
            labels=labels.astype(np.uint8),
            classes=classes,
            truth={name: truth[name][:] for name in truth},
            manifest=json.loads(file.attrs.get("manifest", "{}")),
        )


def _text(name: str | bytes) -> str:
    return name.decode() if isinstance(name, bytes) else str(name)


def generate(
    experiment: Experiment,
    *,
    count: int,
    seed: int,
    out: str | Path,
    executor: Executor | None = None,
    overwrite: bool = False,
    advance: Callable[[int], None] | None = None,
) -> dict[str, Any]:
    """Simulate shots 0 to count - 1 of a series into one HDF5 file and return its manifest.

    The arrays depend on (experiment, seed, count) only, never on `executor`.

    Parameters
    ----------
    executor
        Where the work is done; in this process by default.
    advance
        Called with the number of further images written.

    Raises
    ------
    OutputError
        If `out` exists, or the disk is full; no half-made file is left under its name.
    """
    out = Path(out)
    rows, columns = experiment.detector.image_size
    check_output(
        out, overwrite=overwrite, expected_bytes=int(count * rows * columns * BYTES_PER_IMAGE)
    )
    experiment.structure_factors()  # fills the cache before the workers ask for it
    tasks = (
        (first, min(first + IMAGES_PER_TASK, count)) for first in range(0, count, IMAGES_PER_TASK)
    )
    digest = hashlib.sha256()
    with whole_hdf5(out, overwrite=overwrite) as (file, check_disk):
        columns_of = _create(file, experiment, count)
        for start, images, labels, truth in _in_order(executor, experiment, seed, tasks):
            for offset, image in enumerate(images):
                file["images"][start + offset] = image
                digest.update(image.tobytes())
            file["label"][start : start + len(labels)] = labels
            for name, values in truth.items():
                columns_of[name][start : start + len(labels)] = values
            check_disk()
            if advance is not None:
                advance(len(labels))
        manifest = _manifest(experiment, count=count, seed=seed, images_sha256=digest.hexdigest())
        file.attrs["manifest"] = json.dumps(manifest)
    return manifest


@contextmanager
def worker_processes(workers: int) -> Iterator[Executor | None]:
    """Give an executor of `workers` processes, or None (this process) for one."""
    if workers == 1:
        yield None
        return
    pool = ProcessPoolExecutor(
        workers, mp_context=multiprocessing.get_context("spawn"), initializer=_ignore_interrupts
    )
    try:
        yield pool
    except BrokenProcessPool as error:
        raise DeepFreakError(
            "a worker process died (out of memory?); try again with fewer --workers"
        ) from error
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _ignore_interrupts() -> None:
    """Leave Ctrl-C to the main process, which ends the pool."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


# First index, images, labels, truth by quantity.
Batch = tuple[int, NDArray[np.uint8], NDArray[np.uint8], dict[str, NDArray[np.float64]]]


def _simulate_range(experiment: Experiment, seed: int, first: int, last: int) -> Batch:
    """Simulate shots first to last - 1; runs in a worker."""
    shots = [experiment.draw(seed=seed, index=index) for index in range(first, last)]
    images, truths = zip(*(simulate(shot) for shot in shots), strict=True)
    truth = {
        field.name: np.array([getattr(t, field.name) for t in truths]) for field in fields(Truth)
    }
    return first, np.stack(images), np.array([s.label for s in shots], dtype=np.uint8), truth


def _in_order(
    executor: Executor | None, experiment: Experiment, seed: int, tasks: Iterator[tuple[int, int]]
) -> Iterator[Batch]:
    """Yield the results of `tasks` in their order, with a bounded number under way."""
    if executor is None:
        for first, last in tasks:
            yield _simulate_range(experiment, seed, first, last)
        return
    under_way: deque[Future[Batch]] = deque()
    for first, last in tasks:
        under_way.append(executor.submit(_simulate_range, experiment, seed, first, last))
        if len(under_way) >= 32:
            yield under_way.popleft().result()
    while under_way:
        yield under_way.popleft().result()


def _create(file: h5py.File, experiment: Experiment, count: int) -> dict[str, h5py.Dataset]:
    """Lay out an empty file and return its columns of truth."""
    size = experiment.detector.image_size
    file.create_dataset(
        "images",
        shape=(count, *size),
        dtype=np.uint8,
        chunks=(1, *size),
        **hdf5plugin.Bitshuffle(cname="lz4"),
    )
    label = file.create_dataset("label", shape=(count,), dtype=np.uint8)
    label.attrs["classes"] = list(experiment.classes.names)
    label.attrs["label_version"] = experiment.classes.label_version
    truth = file.create_group("truth")
    shapes = {"orientation": (count, 3, 3)}
    return {
        field.name: truth.create_dataset(
            field.name, shape=shapes.get(field.name, (count,)), dtype=np.float64
        )
        for field in fields(Truth)
    }


def _manifest(
    experiment: Experiment, *, count: int, seed: int, images_sha256: str
) -> dict[str, Any]:
    return {
        "kind": "deepfreak data set",
        "experiment": settings_of(experiment),
        "seed": seed,
        "count": count,
        "images_sha256": images_sha256,
        "backend": f"cpu {platform.machine()}",
        "versions": versions("numpy", "numba", "gemmi"),
    }
