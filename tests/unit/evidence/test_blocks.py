"""Level and noise of blocks: against plain code, and without gain and pedestal."""

import numpy as np
import pytest

from deepfreak.evidence.blocks import (
    BLOCK,
    TILE,
    Pixels,
    block_statistics,
    find_steps,
    measure_blocks,
)
from tests.unit.evidence.made import flat, spots


def plain_block(values):
    """Return clipped mean, clipped variance and mean of an array, by masks."""
    mean, variance = values.mean(), max((values**2).mean() - values.mean() ** 2, 0.0)
    first, kept = mean, None
    reach = 4 * np.sqrt(variance) + 1
    if values.max() > mean + reach or values.min() < mean - reach:
        for _ in range(4):
            near = np.abs(values - mean) <= 3 * np.sqrt(variance) + 1
            if not near.any() or near.sum() == kept:
                break
            kept = near.sum()
            mean = values[near].mean()
            variance = ((values[near] - mean) ** 2).mean()
    return mean, variance, first


@pytest.mark.parametrize(
    "dtype", [np.uint8, np.uint16, np.int32, np.uint32, np.float32, np.float64]
)
def test_statistics_equal_the_plain_ones(dtype):
    rng = np.random.default_rng(1)
    counts = rng.poisson(3, (75, 117)).astype(dtype)
    counts[rng.random(counts.shape) < 0.01] = 200
    valid = rng.random(counts.shape) < 0.9
    valid[32:50, 16:40] = False
    level, variance, plain, share = block_statistics(Pixels(counts, valid, 2.0, 0.5))
    for row in range(level.shape[0]):
        for column in range(level.shape[1]):
            box = np.s_[row * BLOCK : (row + 1) * BLOCK : 2, column * BLOCK : (column + 1) * BLOCK]
            values = (counts[box][valid[box]].astype(float) - 2) / 2
            assert share[row, column] == pytest.approx(valid[box].mean())
            if len(values):
                found = level[row, column], variance[row, column], plain[row, column]
                assert found == pytest.approx(plain_block(values), abs=1e-9)


@pytest.mark.parametrize(("factor", "added"), [(1, 0), (4, 1000), (7, -3)])
@pytest.mark.parametrize("light", [0.002, 0.4, 30.0])
def test_steps_are_what_counts_differ_by(factor, added, light):
    counts = flat(np.random.default_rng(2), light, (300, 300)).astype(np.int64) * factor + added
    steps = find_steps(counts, np.ones(counts.shape, np.bool_))
    assert steps.step == factor
    assert steps.base in counts


def test_counts_that_are_no_whole_numbers_have_no_step():
    counts = np.random.default_rng(2).normal(0, 1, (64, 64)).astype(np.float32)
    steps = find_steps(counts, np.ones(counts.shape, np.bool_))
    assert (steps.whole, steps.step) == (False, 1.0)
    assert find_steps(np.round(counts * 3) * 2, counts > -9).step == 2.0


@pytest.mark.parametrize("light", [0.05, 1.0, 20.0])
def test_level_and_variance_are_those_of_the_light_beneath_the_spots(light):
    rng = np.random.default_rng(3)
    places = rng.uniform(10, 502, (40, 2))
    counts = flat(rng, light + spots(places, 300, 1.0))
    valid = np.ones(counts.shape, np.bool_)
    steps = find_steps(counts, valid)
    blocks = measure_blocks(counts, valid, steps)
    level = blocks.level * steps.step + steps.base
    assert np.median(level) == pytest.approx(light, rel=0.15, abs=0.01)
    assert np.median(blocks.variance) == pytest.approx(light, rel=0.15)
    # no block is brighter than noise allows: spots do not raise it
    assert (level < light + 6 * np.sqrt(light / 128) + 0.6 * light + 0.1).all()


def test_a_chance_lull_or_a_dense_block_does_not_set_its_own_noise():
    rng = np.random.default_rng(4)
    counts = flat(rng, 10.0, (256, 256))
    counts[:BLOCK, :BLOCK] = 10
    counts[64 : 64 + BLOCK, 64 : 64 + BLOCK : 2] = 1000
    blocks = measure_blocks(
        counts, np.ones(counts.shape, np.bool_), find_steps(counts, counts >= 0)
    )
    assert blocks.measured[0, 0] == 0
    assert blocks.variance[0, 0] > 5
    assert blocks.measured[4, 4] > 10_000
    assert blocks.variance[4, 4] < 200


def test_blocks_without_pixels_have_their_tiles_level():
    rng = np.random.default_rng(5)
    counts = flat(rng, 50.0, (TILE * BLOCK, TILE * BLOCK))
    valid = np.ones(counts.shape, np.bool_)
    valid[:BLOCK] = False
    steps = find_steps(counts, valid)
    blocks = measure_blocks(counts, valid, steps)
    assert (blocks.share[0] == 0).all()
    assert blocks.level[0] * steps.step + steps.base == pytest.approx(50, abs=3)
    assert (blocks.excess[0] == 0).all()
