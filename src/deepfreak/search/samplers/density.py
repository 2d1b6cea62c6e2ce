"""Where good settings lie: product kernel densities of the best and of the other settings.

Falkner et al. 2018, section 4.1, as in HpBandSter 0.7.4, whose densities are those of statsmodels'
`KDEMultivariate`. What differs for parameters with more than two choices is in `bandwidths` and
`Density`, and why in docs/decisions/0013-bohb.md.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Indices = NDArray[np.intp]

# Densities below it count as equal, so that rounding decides nothing far from all points.
MIN_DENSITY = 1e-32


@dataclass(frozen=True, slots=True, eq=False)
class Density:
    """A density estimate: the mean, over `points`, of a product of one kernel a parameter.

    Gaussian of standard deviation h where values have an order; where they have none, the kernel
    of Aitchison and Aitken (1976): 1 - h for the point's own choice, h / (c - 1) for each of the
    c - 1 others, whether or not they occur among the points.
    """

    points: Array  # (n, d) vectors of a `Space`, no NaN
    bandwidths: Array  # (d,), h
    choices: Indices  # (d,), c, and 0 where values have an order

    def __call__(self, vectors: Array) -> Array:
        """Return the density at each of (m, d) vectors."""
        ordered = self.choices == 0
        h, c = self.bandwidths, np.maximum(self.choices, 2)
        apart = vectors[:, None, :] - self.points[None, :, :]  # m, n, d
        gaussian = np.exp(-0.5 * (apart / h) ** 2) / (math.sqrt(2 * math.pi) * h)
        unordered = np.where(apart == 0, 1 - h, h / (c - 1))
        kernels = np.where(ordered, gaussian, unordered)
        density: Array = kernels.prod(axis=2).mean(axis=1)
        return density

    def around(self, rng: np.random.Generator, count: int, *, widened: float) -> Array:
        """Draw (count, d) vectors near the points.

        Each near one of them: from a normal distribution `widened` times as wide as the kernel and
        cut off at 0 and 1; or the same choice with chance 1 - h, otherwise any.
        """
        from scipy.special import ndtr, ndtri

        centres = self.points[rng.integers(len(self.points), size=count)]
        width = widened * self.bandwidths
        lowest, highest = ndtr(-centres / width), ndtr((1 - centres) / width)
        level = lowest + rng.random(centres.shape) * (highest - lowest)
        near = np.clip(centres + width * ndtri(level), 0.0, 1.0)
        any_choice = rng.integers(np.maximum(self.choices, 1), size=centres.shape)
        stays = rng.random(centres.shape) < 1 - self.bandwidths
        chosen = np.where(stays, centres, any_choice)
        return np.where(self.choices == 0, near, chosen)


@dataclass(frozen=True, slots=True, eq=False)
class DensityPair:
    """The densities of `good` settings and of `bad` ones."""

    good: Density
    bad: Density

    def worth(self, vectors: Array) -> Array:
        """Return good density over bad density, which ranks vectors by expected improvement."""
        worth: Array = np.maximum(self.good(vectors), MIN_DENSITY) / np.maximum(
            self.bad(vectors), MIN_DENSITY
        )
        return worth

    @classmethod
    def fit(
        cls,
        vectors: Array,
        losses: Array,
        choices: Indices,
        *,
        min_points: int,
        good_percent: int,
        min_bandwidth: float,
        rng: np.random.Generator,
    ) -> "DensityPair | None":
        """Fit both to what was found at one budget; None if there is too little of it.

        `vectors` are (n, d), NaN where a parameter does not exist, which `rng` fills in; `losses`
        are (n,), infinite for a failure.
        """
        good, bad = split(losses, min_points=min_points, good_percent=good_percent)
        if min(len(good), len(bad)) <= vectors.shape[1]:
            return None

        def density(chosen: Indices) -> Density:
            points = filled(vectors[chosen], choices, rng)
            return Density(points, np.maximum(bandwidths(points, choices), min_bandwidth), choices)

        return cls(density(good), density(bad))


def split(losses: Array, *, min_points: int, good_percent: int) -> tuple[Indices, Indices]:
    """Return the indices of the good ones and of the bad, best first.

    Both shares are rounded down, so that the worst may be in neither, and are at least `min_points`
    if there are as many.
    """
    count = len(losses)
    good = max(min_points, good_percent * count // 100)
    bad = max(min_points, (100 - good_percent) * count // 100)
    order = np.argsort(losses, kind="stable")
    return order[:good], order[good : good + bad]


def bandwidths(points: Array, choices: Indices) -> Array:
    """Return a bandwidth for each parameter by the normal reference rule, 1.06 s n^(-1 / (4 + d)).

    s is the standard deviation; for c choices of which the points have shares p, it is that of
    their indices, averaged in square over all orders in which the choices could have been listed:
    s^2 = (1 - sum p^2) c (c + 1) / 12. At most (c - 1) / c, where Aitchison and Aitken's kernel is
    even; beyond, it would prefer what is not there.
    """
    count, dimensions = points.shape
    spread = points.std(axis=0)
    widest = np.full(dimensions, np.inf)
    for column in np.flatnonzero(choices):
        shares = np.bincount(points[:, column].astype(np.intp)) / count
        c = int(choices[column])
        spread[column] = math.sqrt(max(1 - (shares**2).sum(), 0.0) * c * (c + 1) / 12)
        widest[column] = 1 - 1 / c
    reference = 1.06 * spread * float(count) ** (-1 / (4 + dimensions))
    narrowed: Array = np.minimum(reference, widest)
    return narrowed


def filled(points: Array, choices: Indices, rng: np.random.Generator) -> Array:
    """Return points with values in place of NaN, each from a random point that has one there.

    All missing values of a point are taken from the same other point as far as that has them; where
    no point has a value, it is drawn at random.
    """
    complete = points.copy()
    for point in complete:
        while len(missing := np.flatnonzero(np.isnan(point))):
            column = missing[0]
            known = np.flatnonzero(~np.isnan(points[:, column]))
            if len(known):
                point[missing] = points[rng.choice(known), missing]
            elif choices[column]:
                point[column] = rng.integers(choices[column])
            else:
                point[column] = rng.random()
    return complete
