"""Writing labelled images that were not simulated here, in the layout of `deepfreak.datasets`.

Beside `/images` and `/label` such a file has `/source`, where each image comes from; `/valid`,
where pixels may have measured nothing; and the group `/splits`, whose attributes are
name = (first, count).
"""

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from deepfreak.datasets.file import FORMAT, content_hashes, create_images, write_splits
from deepfreak.datasets.records import digest_of
from deepfreak.storage.files import versions

if TYPE_CHECKING:
    import h5py

SPLITS = ("train", "validation", "test")


@dataclass(frozen=True, slots=True, kw_only=True)
class Contents:
    """All of a file but its images.

    Attributes
    ----------
    labels
        One an image, indices into `classes`.
    sources
        One an image: the file it was, and the frame in it.
    splits
        (first, count) by name.
    manifest
        What the manifest says beside the versions, the number of images and the hashes.
    """

    classes: tuple[str, ...]
    labels: Sequence[int]
    sources: Sequence[str]
    splits: Mapping[str, tuple[int, int]]
    manifest: Mapping[str, Any]


def write_labelled(
    file: "h5py.File",
    contents: Contents,
    images: Iterable[tuple[NDArray[np.uint8], NDArray[np.bool_] | None]],
    *,
    size: int,
    check_disk: Callable[[], None],
) -> dict[str, Any]:
    """Fill `file` and return its manifest; `images` are taken one at a time, in order.

    Parameters
    ----------
    images
        Pairs of the image, uint8 (size, size), and its valid pixels; None where all are, and then
        for all images.
    check_disk
        The check that `files.whole_hdf5` gives with the file.
    """
    count = len(contents.labels)
    shape = (count, size, size)
    stored = create_images(file, "images", shape)
    valid_stored: h5py.Dataset | None = None
    labels = np.array(contents.labels, dtype=np.uint8)
    label = file.create_dataset("label", data=labels)
    label.attrs["classes"] = list(contents.classes)
    file.create_dataset("source", data=[text.encode() for text in contents.sources])
    write_splits(file, contents.splits)
    digests = hashlib.sha256()
    for index, (image, valid) in enumerate(images):
        stored[index] = image
        digests.update(digest_of(image))
        if valid is not None:
            if valid_stored is None:
                valid_stored = create_images(file, "valid", shape)
            valid_stored[index] = valid
        check_disk()
    manifest = FORMAT.manifest(
        **contents.manifest,
        count=count,
        sha256=content_hashes(digests, labels, {}),
        versions=versions("numpy"),
    )
    file.attrs["manifest"] = json.dumps(manifest)
    return manifest
