"""Replicas of the layout of the published DiffraNet, without its images."""

import io
import zipfile

import numpy as np
from PIL import Image


def image(seed, size=(512, 512)):
    """Return an 8-bit image (slow, fast) that is unique to the seed."""
    return np.random.default_rng(seed).integers(0, 200, size, dtype=np.uint8)


def packed(pixels, form="PNG"):
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, form)
    return buffer.getvalue()


def layout():
    """Return the pixels of each picture by its path, in the order they should be stored in."""
    paths = [
        "synthetic/train/1/b.png",
        "synthetic/train/5/a.png",
        "synthetic/validation/2/c.png",
        "synthetic/test/3/d.png",
        "synthetic/test/4/a.png",
        "real_raw/validation/1/x.png",
        "real_raw/validation/2/y.png",
        "real_raw/test/2/z.png",
    ]
    return {path: image(seed) for seed, path in enumerate(paths)}


def write_folder(root, files):
    for path, content in files.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(content if isinstance(content, bytes) else packed(content))
    return root


def write_zip(path, files, **options):
    with zipfile.ZipFile(path, "w", **options) as archive:
        for name, content in files.items():
            archive.writestr(name, content if isinstance(content, bytes) else packed(content))
    return path


def names(folder):
    """Return the sorted contents of a directory."""
    return sorted(path.name for path in folder.iterdir())
