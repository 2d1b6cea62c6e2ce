"""Poisson deviates: exact, and each pixel's own."""

import numpy as np
import pytest
from scipy import stats

from deepfreak.physics.noise.counting import poisson


@pytest.mark.parametrize("mean", [0.01, 0.5, 3, 9.99, 10, 12, 50, 690, 5000, 60000])
def test_they_are_the_distributions_inverse(mean: float) -> None:
    expected = np.full((100, 300), mean, dtype=np.float32)
    counts = poisson(expected, np.random.default_rng(7))
    normal = np.random.default_rng(7).standard_normal(expected.shape)
    wanted = stats.poisson.ppf(stats.norm.cdf(normal), float(expected[0, 0]))
    np.testing.assert_array_equal(counts, wanted)


def test_no_light_gives_no_counts() -> None:
    assert not poisson(np.zeros((20, 20), dtype=np.float32), np.random.default_rng(0)).any()


def test_a_pixels_count_does_not_depend_on_other_pixels_means() -> None:
    rng = np.random.default_rng(1)
    expected = rng.uniform(0, 300, (64, 64)).astype(np.float32)
    other = expected.copy()
    other[:10] *= 3
    counts, changed = (poisson(e, np.random.default_rng(2)) for e in (expected, other))
    np.testing.assert_array_equal(counts[10:], changed[10:])
    assert (counts[:10] != changed[:10]).any()


def test_rounding_of_the_means_changes_almost_no_pixel() -> None:
    rng = np.random.default_rng(3)
    expected = rng.uniform(5, 2000, (512, 512)).astype(np.float32)
    nudged = np.nextafter(expected, np.float32(np.inf))
    counts, again = (poisson(e, np.random.default_rng(4)) for e in (expected, nudged))
    assert np.abs(counts - again).max() <= 1
    assert (counts != again).mean() < 1e-3
