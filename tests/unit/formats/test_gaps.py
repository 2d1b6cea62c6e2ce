"""The compiled search for uniform areas against slow, simple versions."""

import numpy as np
import pytest
from scipy import ndimage

from deepfreak.formats import gaps


def solid_runs(counts, *, skip_zero):
    found = np.zeros(counts.shape, bool)
    for i, line in enumerate(counts):
        for j in range(len(line) - gaps.RUN + 1):
            run = line[j : j + gaps.RUN]
            if (run == run[0]).all() and not (skip_zero and run[0] == 0):
                found[i, j : j + gaps.RUN] = True
    return found


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("skip_zero", [False, True])
def test_solid_rows_and_columns_are_those_of_the_plain_search(seed, skip_zero):
    rng = np.random.default_rng(seed)
    counts = rng.poisson(rng.choice([0.05, 0.5, 3]), (60 + seed, 75 - seed)).astype(np.int32)
    for _ in range(5):
        i, j = rng.integers(0, 60, 2)
        height, width = rng.integers(1, 40, 2)
        counts[i : i + height, j : j + width] = rng.choice([0, 7])
    rows, columns = np.zeros(counts.shape, bool), np.zeros(counts.shape, bool)
    gaps._mark_rows(counts, skip_zero, rows)
    gaps._mark_columns(counts, skip_zero, columns)
    assert np.array_equal(rows, solid_runs(counts, skip_zero=skip_zero))
    assert np.array_equal(columns, solid_runs(counts.T, skip_zero=skip_zero).T)


@pytest.mark.parametrize("seed", range(4))
def test_a_gap_grows_as_a_dilation_within_its_value_does(seed):
    rng = np.random.default_rng(seed)
    same = rng.random((50, 60)) < 0.5
    found = same & (rng.random((50, 60)) < 0.05)
    missing = found.copy()
    gaps._grow(missing, found, np.argwhere(same & ~found))
    expected = ndimage.binary_dilation(found, np.ones((3, 3)), iterations=gaps.BLOCK, mask=same)
    assert np.array_equal(missing, expected)


def test_shares_of_blocks_are_their_means():
    pixels = np.random.default_rng(0).random((61, 74)) < 0.4
    share = gaps._block_mean(pixels)
    padded = np.zeros((64, 76), bool)
    padded[:61, :74] = pixels
    np.testing.assert_allclose(share, padded.reshape(16, 4, 19, 4).mean(axis=(1, 3)))
