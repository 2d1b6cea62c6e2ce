"""Frames of a series: functions of their numbers, labelled by what can be seen in them."""

from functools import cache

import numpy as np
import pytest

from deepfreak.datasets.randomised.frame import (
    BLOCK,
    FAULTS,
    LIGHTS,
    _block,
    check_choices,
    draw_frame,
    is_hard,
    label_of,
)
from deepfreak.datasets.randomised.models import FAMILIES
from deepfreak.datasets.randomised.scene import CLEAN_KINDS, HARD_KINDS
from deepfreak.datasets.randomised.table import BETWEEN, HIT, MISS
from deepfreak.errors import InputError

FAMILY = "Timepix"
COUNT = 60


@cache
def series(without=frozenset(), count=COUNT):
    return [draw_frame(5, index, family=FAMILY, without=without) for index in range(count)]


def is_same(one, other):
    return (
        np.array_equal(one.frame.counts, other.frame.counts, equal_nan=True)
        and np.array_equal(one.frame.valid, other.frame.valid)
        and one.frame.beam_center_px == other.frame.beam_center_px
        and (one.label, one.visible, one.zingers) == (other.label, other.visible, other.zingers)
        and (one.model, one.kind, one.tags) == (other.model, other.kind, other.tags)
    )


@pytest.mark.parametrize("index", [3, 17])
def test_a_frame_is_a_function_of_seed_and_index_whatever_came_before(index):
    first = draw_frame(5, index, family=FAMILY)
    _block.cache_clear()
    draw_frame(6, index, family=FAMILY)
    assert is_same(first, draw_frame(5, index, family=FAMILY))
    for seed, other in ((6, index), (5, index + 1)):
        assert not is_same(first, draw_frame(seed, other, family=FAMILY))


def test_blocks_share_a_detector():
    frames = series()
    for start in range(0, COUNT, BLOCK):
        block = frames[start : start + BLOCK]
        for one in block:
            assert one.model == block[0].model
            assert one.frame.counts.shape == block[0].frame.counts.shape
            assert one.frame.counts.dtype == block[0].frame.counts.dtype
            assert one.frame.saturation == block[0].frame.saturation
            assert one.frame.wavelength_A == block[0].frame.wavelength_A
            assert one.frame.index == start + block.index(one)
    assert len({one.model for one in frames}) > 1


@pytest.mark.parametrize("family", ["Timepix", "small CCD"])
def test_block_after_block_is_of_another_family(family):
    assert draw_frame(0, BLOCK * FAMILIES.index(family)).family == family
    assert draw_frame(0, BLOCK * (FAMILIES.index(family) + len(FAMILIES))).family == family


@pytest.mark.parametrize(
    ("visible", "distinguishable", "label"),
    [
        (10, 10, HIT),
        (40, 10, HIT),
        (40, 9, BETWEEN),
        (3, 0, BETWEEN),
        (2, 2, MISS),
        (0, 0, MISS),
    ],
)
def test_the_label_goes_by_what_can_be_seen_and_told(visible, distinguishable, label):
    assert label_of(visible, distinguishable) == label


def test_labels_are_as_many_as_is_promised():
    labels = np.array([one.label for one in series()])
    crystals = np.array([one.kind == "crystal" for one in series()])
    visible = np.array([one.visible for one in series()])
    # binomial, COUNT frames, a half: 30 +- 12 has less than 0.2 % outside
    assert 18 <= crystals.sum() <= 42
    assert np.all(visible[labels == HIT] >= 10)
    assert np.all(visible[labels == MISS] <= 2)
    assert np.all(visible[~crystals] == 0)
    assert np.all(labels[~crystals] == MISS)
    assert (labels == HIT).sum() > 0.7 * crystals.sum()
    assert (labels == BETWEEN).mean() <= 0.15


def test_what_is_left_out_is_not_drawn():
    hard = frozenset(HARD_KINDS)
    for one in series(without=hard, count=20):
        assert one.kind in {"crystal", "dark", "nearly empty", "smooth"}
        assert not hard & set(one.tags)
    lights = frozenset((*CLEAN_KINDS, "shadows", "diffuse spots"))
    for one in series(without=lights, count=20):
        assert not lights & set(one.tags)
    assert any(lights & set(one.tags) for one in series()[:20])
    assert any(one.kind in hard for one in series())
    assert sum(one.zingers for one in series(without=frozenset({"zingers"}))) == 0
    assert sum(one.zingers for one in series()) > 0


def test_a_fault_left_out_changes_neither_scene_nor_detector():
    without = series(without=frozenset({"zingers"}))
    for one, other in zip(series(), without, strict=False):
        assert (one.model, one.kind, one.tags) == (other.model, other.kind, other.tags)


def test_all_names_can_be_left_out_and_no_others():
    check_choices(None, (*LIGHTS, *FAULTS))
    check_choices(FAMILY, ())
    with pytest.raises(InputError, match="expected one of .*zingers.*, found 'rain'"):
        check_choices(None, ("zingers", "rain"))
    with pytest.raises(InputError, match="families PILATUS.*, found 'Kodak'"):
        check_choices("Kodak", ())


def test_hard_misses_are_hard_kinds_and_many_zingers():
    kinds = np.array(["ice", "smooth", "smooth", "dark"])
    assert is_hard(kinds, np.array([0, 4, 5, 60])).tolist() == [True, False, True, True]
