"""Vectors of classes that lie side by side, as those of images do."""

import numpy as np


def draw_vectors(labels, *, seed, features=6, apart=1.5):
    """Return vectors (n, features) and labels: each class further along a few of the features."""
    labels = np.asarray(labels)
    rng = np.random.default_rng(seed)
    direction = np.array([1.0, 0.7, 0.4] + [0.0] * (features - 3))
    vectors = rng.normal(size=(len(labels), features)) + apart * labels[:, None] * direction
    # Features of images have all kinds of sizes.
    return vectors * np.logspace(-2, 3, features) + 7, labels
