"""A small file of labelled images that needs no simulator: backgrounds with and without spots."""

import json

import h5py
import numpy as np

CLASSES = ("blank", "no-crystal", "weak", "good", "strong")


def draw_images(labels, *, seed, side=128):
    """Return 8-bit images (n, side, side): readout noise, a halo, and spots from class 2 up."""
    rng = np.random.default_rng(seed)
    x = np.linspace(-3, 3, side)
    halo = 300 * np.exp(-(x[:, None] ** 2 + x**2))
    images = np.empty((len(labels), side, side), np.uint8)
    for image, label in zip(images, labels, strict=True):
        counts = 10 + rng.normal(0, 3, (side, side))
        if label > 0:
            counts += rng.poisson(halo * rng.uniform(0.7, 1.4))
        if label > 1:
            spots = 8 * 5 ** (int(label) - 2)
            at = rng.integers(0, side, (2, spots))
            counts[tuple(at)] += rng.exponential(60 * 6 ** (int(label) - 2), spots)
        image[:] = np.sqrt(np.clip(counts, 0, 65025))
    return images


def write_labelled(path, labels, *, seed=0, classes=CLASSES, side=128):
    """Write images of `labels` to `path` in the layout of a data set and return `path`."""
    with h5py.File(path, "w") as file:
        file["images"] = draw_images(labels, seed=seed, side=side)
        file["label"] = np.asarray(labels, np.uint8)
        file["label"].attrs["classes"] = list(classes)
        file["truth/pulse_photons"] = np.ones(len(labels))
        file.attrs["manifest"] = json.dumps({"seed": seed, "count": len(labels)})
    return path
