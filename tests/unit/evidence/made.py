"""Frames by construction: known light, known spots, known faults."""

import numpy as np
from scipy import ndimage

from deepfreak.formats import Frame


def made(counts, valid=None, **facts):
    """Return a frame of `counts` [slow, fast]; without a gain unless given."""
    valid = np.ones(counts.shape, dtype=np.bool_) if valid is None else valid
    return Frame(file="made", index=0, counts=counts, valid=valid, **facts)


def flat(rng, light, shape=(512, 512), dtype=np.int32):
    """Return Poisson counts of `light` photons a pixel, a number or an array."""
    return rng.poisson(np.broadcast_to(light, shape)).astype(dtype)


def with_hot_pixels(rng, counts, number):
    """Return the counts with `number` hot pixels of 10 to 10,000 counts more."""
    counts = counts.copy()
    places = rng.choice(counts.size, number, replace=False)
    counts.reshape(-1)[places] += rng.integers(10, 10_000, number).astype(counts.dtype)
    return counts


def scattered(rng, number, shape=(512, 512), margin=12.0, apart=20.0):
    """Return places (n, 2) inside the frame, none nearer than `apart` to another."""
    places = np.zeros((0, 2))
    while len(places) < number:
        one = rng.uniform(margin, np.array(shape) - margin)
        if not len(places) or np.hypot(*(places - one).T).min() > apart:
            places = np.vstack([places, one])
    return places


def spots(places, photons, sigma, shape=(512, 512)):
    """Return the expected light of Gaussian spots, in pixels whose centres lie at + 0.5."""
    light = np.zeros(shape)
    photons = np.broadcast_to(photons, len(places))
    reach = int(np.ceil(5 * sigma)) + 1
    for (slow, fast), one in zip(places, photons, strict=True):
        i = np.arange(max(int(slow) - reach, 0), min(int(slow) + reach + 1, shape[0]))
        j = np.arange(max(int(fast) - reach, 0), min(int(fast) + reach + 1, shape[1]))
        if not len(i) or not len(j):
            continue
        spot = np.outer(
            np.exp(-((i + 0.5 - slow) ** 2) / (2 * sigma**2)),
            np.exp(-((j + 0.5 - fast) ** 2) / (2 * sigma**2)),
        )
        light[i[0] : i[-1] + 1, j[0] : j[-1] + 1] += one * spot / (2 * np.pi * sigma**2)
    return light


def ccd(rng, light, *, gain=3.0, sigma=1.0, read=4.0, pedestal=40.0, dtype=np.uint16):
    """Return counts of a CCD whose point spread comes after the photons were counted."""
    photons = rng.poisson(light).astype(float)
    counts = gain * ndimage.gaussian_filter(photons, sigma) + rng.normal(
        pedestal, read, light.shape
    )
    return np.clip(np.rint(counts), 0, np.iinfo(dtype).max).astype(dtype)


def on_circles(rng, center, radii, number, shape=(512, 512), margin=8.0):
    """Return places (n, 2) inside the frame on circles about `center`, at random angles."""
    found = []
    while len(found) < number:
        angle, radius = rng.uniform(0, 2 * np.pi), rng.choice(radii)
        place = np.array(center) + radius * np.array([np.sin(angle), np.cos(angle)])
        inside = (place > margin).all() and (place < np.array(shape) - margin).all()
        if inside and (not found or np.hypot(*(np.array(found) - place).T).min() > 5):
            found.append(place)
    return np.array(found)


def on_lattice(rng, first, second, share, shape=(512, 512), margin=8.0):
    """Return a `share` of the places (n, 2) of a lattice inside the frame."""
    h, k = np.meshgrid(np.arange(-60, 61), np.arange(-60, 61))
    places = h.reshape(-1, 1) * np.array(first) + k.reshape(-1, 1) * np.array(second)
    places = places + np.array(shape) / 2 + rng.uniform(-5, 5, 2)
    inside = ((places > margin) & (places < np.array(shape) - margin)).all(axis=1)
    places = places[inside]
    return places[rng.random(len(places)) < share]
