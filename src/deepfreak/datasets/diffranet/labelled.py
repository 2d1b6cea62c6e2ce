"""Writing imported or measured labelled images in the layout of `deepfreak.datasets`.

Besides `/images` and `/label` such a file has `/source`, the origin of each image; `/valid`, if
pixels may be missing; and the group `/splits`, whose attributes are name = (first, count).
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
from deepfreak.encoding import SIZE
from deepfreak.storage.files import versions

if TYPE_CHECKING:
    import h5py

SPLITS = ("train", "validation", "test")


@dataclass(frozen=True, slots=True, kw_only=True)
class Contents:
    """The content of a file without its images."""

    classes: tuple[str, ...]
    labels: Sequence[int]  # one per image, indices into `classes`
    sources: Sequence[str]  # one per image: its file and the frame in it
    splits: Mapping[str, tuple[int, int]]  # (first, count) by name
    # entries of the manifest beside the versions, the number of images and the hashes
    entries: dict[str, Any]


def write_labelled(
    file: "h5py.File",
    contents: Contents,
    images: Iterable[tuple[NDArray[np.uint8], NDArray[np.bool_] | None]],
    *,
    check_disk: Callable[[], None],
) -> dict[str, Any]:
    """Fill `file` and return its manifest; `images` are consumed one at a time, in order.

    `images`: pairs of an image, uint8 (512, 512), and its valid pixels; None for all images if
    all pixels are valid. `check_disk`: the function that `files.whole_hdf5` gives with the file.
    """
    count = len(contents.labels)
    shape = (count, SIZE, SIZE)
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
        **contents.entries,
        count=count,
        sha256=content_hashes(digests, labels, {}),
        versions=versions("numpy"),
    )
    file.attrs["manifest"] = json.dumps(manifest)
    return manifest
