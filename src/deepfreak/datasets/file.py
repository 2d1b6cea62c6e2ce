"""The HDF5 file of a data set: `Dataset` reads it, `fill` writes it from records."""

import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np
from numpy.typing import NDArray

from deepfreak.datasets.records import NUMBERS, Record, columns_of
from deepfreak.errors import DatasetError
from deepfreak.formats.hdf5.links import text_of
from deepfreak.storage.cache import key_of
from deepfreak.storage.chunks import compression
from deepfreak.storage.files import check_output, read_hdf5, whole_file
from deepfreak.storage.manifest import Format

FORMAT = Format("deepfreak data set", 1)
_IMAGES_AT_ONCE = 64  # of a copy


class LabelledImages(NamedTuple):
    """A batch: `images` (n, slow, fast) uint8, `labels` (n,) uint8, and `truth` by quantity."""

    images: Any
    labels: NDArray[np.uint8]
    truth: dict[str, NDArray[np.float64]]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Dataset:
    """An open data set, or one of its splits; see the package for the layout.

    Parameters
    ----------
    images
        (N, slow, fast) uint8, read when indexed.
    labels
        (N,) uint8, indices into `classes`.
    truth
        Arrays of length N by quantity; empty for images that were not simulated.
    manifest
        Settings, seed, versions and hashes; empty for files of other programs.
    splits
        (first, count) by name.
    valid
        Valid pixels, (N, slow, fast) bool, read when indexed; None if all are valid.
    """

    path: Path
    images: Any
    labels: NDArray[np.uint8]
    classes: tuple[str, ...]
    truth: dict[str, NDArray[np.float64]]
    manifest: dict[str, Any]
    splits: dict[str, tuple[int, int]] = field(default_factory=dict)
    valid: Any = None

    def __len__(self) -> int:
        return len(self.labels)

    @classmethod
    @contextmanager
    def open(cls, path: str | Path, *, split: str | None = None) -> Iterator["Dataset"]:
        """Open a file, or one of its splits, for reading.

        Raises
        ------
        DatasetError
            It is missing, not HDF5, of another layout, format or version, or has no such split.
        """
        import hdf5plugin  # noqa: F401 - its import registers the compression filters

        path = Path(path)
        if not path.is_file():
            raise DatasetError(f"no data set {path}; `deepfreak data generate` makes one")
        try:
            # data sets are never written in place, so no lock is needed
            file = read_hdf5(path)
        except OSError as error:
            # HDF5's own message names internals; the system's is clearer
            said = "not an HDF5 file, or a damaged one"
            if error.errno is not None:
                said = f"cannot be read: {os.strerror(error.errno)}"
            elif "already open for write" in str(error):
                said = "a program has it open for writing, or was killed while it had (h5clear -s)"
            raise DatasetError(f"{path}: {said}") from error
        with file:
            data = cls._from(path, file)
            yield data if split is None else data.split(split)

    def split(self, name: str) -> "Dataset":
        """Return the split `name`, with the same interface.

        Raises
        ------
        DatasetError
            There is no such split.
        """
        if name not in self.splits:
            known = ", ".join(self.splits) or "none"
            raise DatasetError(f"{self.path} has no split {name}, but: {known}")
        first, count = self.splits[name]
        part = slice(first, first + count)
        return replace(
            self,
            images=_Part(self.images, first, count),
            labels=self.labels[part],
            truth={quantity: values[part] for quantity, values in self.truth.items()},
            manifest=self.manifest | {"split": {"name": name, "first": first, "count": count}},
            splits={},
            valid=None if self.valid is None else _Part(self.valid, first, count),
        )

    def batches(
        self, size: int, rng: np.random.Generator | None = None
    ) -> Iterator[LabelledImages]:
        """Yield all images once, `size` at a time, in random order if `rng` is given.

        The last batch may be smaller.
        """
        order = np.arange(len(self)) if rng is None else rng.permutation(len(self))
        for first in range(0, len(self), size):
            chosen = order[first : first + size]
            if rng is None:
                images = self.images[first : first + len(chosen)]
            else:
                images = np.stack([self.images[int(index)] for index in chosen])
            truth = {name: values[chosen] for name, values in self.truth.items()}
            yield LabelledImages(images, self.labels[chosen], truth)

    def memory_map(self, folder: str | Path | None = None) -> "Dataset":
        """Return the data set with images mapped into memory from an uncompressed copy.

        The copy is made once, beside the file or in `folder`, with the hash of the manifest in its
        name: another data set of the same name gets another one, and the stale one is removed.

        Raises `DatasetError`: the manifest has no hash of the images, so a changed file could not
        be detected; `OutputError`: the copy cannot be written.
        """
        if "sha256" not in self.manifest:
            raise DatasetError(
                f"{self.path}: expected a manifest with the hash of the images, as "
                "`deepfreak data generate` writes it, to recognise a copy of them"
            )
        key = key_of(self.manifest)[:16]
        place = self.path.parent if folder is None else Path(folder)
        split = self.manifest["split"]["name"] if "split" in self.manifest else "all"
        stem = f"{self.path.name}.{split}."
        path = place / f"{stem}{key}.npy"
        shape = tuple(self.images.shape)
        if not path.exists():
            for stale in place.glob(f"{stem}{'[0-9a-f]' * len(key)}.npy"):
                stale.unlink()
            check_output(path, overwrite=False, expected_bytes=int(np.prod(shape)))
            # another process may make the same copy meanwhile; either may be renamed last
            with whole_file(path, overwrite=True) as partial, partial.open("wb") as file:
                header = {"descr": "|u1", "fortran_order": False, "shape": shape}
                np.lib.format.write_array_header_1_0(file, header)
                for first in range(0, len(self), _IMAGES_AT_ONCE):
                    file.write(self.images[first : first + _IMAGES_AT_ONCE].tobytes())
        images: NDArray[np.uint8] = np.load(path, mmap_mode="r")
        if images.shape != shape:
            raise DatasetError(f"{path}: expected images {shape}, found {images.shape}; remove it")
        return replace(self, images=images)

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
        classes = tuple(text_of(name) for name in label.attrs["classes"])
        labels = label[:]
        if len(labels) and not 0 <= labels.min() <= labels.max() < len(classes):
            raise DatasetError(
                f"{path}: labels must be 0 to {len(classes) - 1}, "
                f"found {labels.min()} to {labels.max()}"
            )
        valid = file.get("valid")
        if valid is not None and (valid.shape != images.shape or valid.dtype != np.uint8):
            raise DatasetError(
                f"{path}: /valid must be {images.shape} uint8, as /images, found "
                f"{valid.shape} {valid.dtype}"
            )
        truth = file.get("truth", {})
        return cls(
            path=path,
            images=images,
            labels=labels.astype(np.uint8),
            classes=classes,
            truth={name: truth[name][:] for name in truth},
            manifest=FORMAT.of_hdf5(file, path, error=DatasetError),
            splits=_splits(path, file, len(labels)),
            valid=None if valid is None else _Part(valid, 0, len(labels), dtype=np.bool_),
        )


class _Part:
    """Consecutive images of a file, or their valid pixels, read when indexed."""

    def __init__(
        self,
        images: "h5py.Dataset | _Part",
        first: int,
        count: int,
        *,
        dtype: type[np.bool_] | None = None,
    ) -> None:
        self._images, self._first = images, first
        self.shape: tuple[int, ...] = (count, *images.shape[1:])
        self.dtype: np.dtype[Any] = np.dtype(dtype or images.dtype)
        self.ndim = len(self.shape)

    def __len__(self) -> int:
        return int(self.shape[0])

    def __getitem__(self, index: int | slice) -> NDArray[Any]:
        chosen = range(len(self))[index]  # raises IndexError, as a list does
        if isinstance(chosen, int):
            found = self._images[self._first + chosen]
        elif chosen.step != 1:
            found = np.stack([self._images[self._first + i] for i in chosen])
        else:
            stop = self._first + max(chosen.start, chosen.stop)
            found = self._images[self._first + chosen.start : stop]
        return np.asarray(found, self.dtype)


def _splits(path: Path, file: h5py.File, total: int) -> dict[str, tuple[int, int]]:
    """Return (first, count) of each split, in order of `first`."""
    found = {}
    for name, value in file["splits"].attrs.items() if "splits" in file else ():
        place = np.asarray(value)
        if place.shape != (2,) or not 0 <= place[0] <= place.sum() <= total or place[1] < 0:
            raise DatasetError(
                f"{path}: split {name} must be (first, count) within {total} images, found {value}"
            )
        found[name] = (int(place[0]), int(place[1]))
    return dict(sorted(found.items(), key=lambda item: item[1]))


class Layout(NamedTuple):
    """What all images of a file share: size (slow, fast), classes, version of the labels."""

    image_size: tuple[int, int]
    classes: tuple[str, ...]
    label_version: str

    @classmethod
    def of(cls, experiment: Mapping[str, Any]) -> "Layout":
        """Return the layout of the images of an experiment, given its settings."""
        slow, fast = experiment["detector"]["image_size"]
        classes = experiment["classes"]
        names = (classes["dark"], *(lit["name"] for lit in classes["lit"]))
        return cls((slow, fast), names, classes["label_version"])


def fill(
    file: h5py.File, records: Iterable[Record], *, settings: Mapping[str, Any], layout: Layout
) -> dict[str, Any]:
    """Write a data set into an empty file and return its manifest.

    The bytes depend only on the arguments: equal records, from one run, a resumed run or shards,
    give equal files.

    `settings`: experiment, seed, first, count, of, splits, versions.
    """
    size = layout.image_size
    count = int(settings["count"])
    images = create_images(file, "images", (count, *size))
    labels = np.zeros(count, np.uint8)
    truths = np.empty((count, NUMBERS))
    digests = hashlib.sha256()
    processors = set()
    for index, record in enumerate(records):
        images.id.write_direct_chunk((index, 0, 0), record.chunk)
        labels[index], truths[index] = record.label, record.truth
        digests.update(record.digest)
        processors.add(record.processor)
    label = file.create_dataset("label", data=labels)
    label.attrs["classes"] = list(layout.classes)
    label.attrs["label_version"] = layout.label_version
    truth = columns_of(truths)
    group = file.create_group("truth")
    for name, values in truth.items():
        group.create_dataset(name, data=values)
    if settings["splits"] and count == settings["of"]:
        write_splits(file, settings["splits"])
    manifest = FORMAT.manifest(
        **settings,
        sha256=content_hashes(digests, labels, truth),
        backend="cpu",
        processors=sorted(processors),
    )
    file.attrs["manifest"] = json.dumps(manifest)
    return manifest


def create_images(file: h5py.File, name: str, shape: tuple[int, int, int]) -> h5py.Dataset:
    """Create the data set `name` for (N, slow, fast) uint8, one compressed chunk an image."""
    return file.create_dataset(
        name, shape=shape, dtype=np.uint8, chunks=(1, *shape[1:]), **compression()
    )


def write_splits(file: h5py.File, splits: Mapping[str, tuple[int, int]]) -> None:
    """Write (first, count) of each split by its name."""
    group = file.create_group("splits")
    for name, place in splits.items():
        group.attrs[name] = np.array(place, np.int64)


def content_hashes(
    image_digests: "hashlib._Hash",
    labels: NDArray[np.uint8],
    truth: Mapping[str, NDArray[np.float64]],
) -> dict[str, str]:
    """Return the hashes of images, labels and truth that a manifest holds.

    `image_digests`: SHA-256 over the SHA-256 of each image, in their order. `truth`: hashed with
    the names, in the order of the names; may be empty.
    """
    digest = hashlib.sha256()
    for name in sorted(truth):
        digest.update(name.encode() + b"\0" + truth[name].astype("<f8").tobytes())
    return {
        "images": image_digests.hexdigest(),
        "labels": hashlib.sha256(labels.astype(np.uint8).tobytes()).hexdigest(),
        "truth": digest.hexdigest(),
    }
