"""A model of evidence is calibrated on detectors that are not in its training."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from threadpoolctl import threadpool_limits

from deepfreak.datasets.randomised.table import BETWEEN, HIT, MISS, Table
from deepfreak.errors import DatasetError
from deepfreak.models.screening_fit import (
    SECOND_NUMBERS,
    area_under_curve,
    calibration,
    fit_screening,
)

NAMES = (*SECOND_NUMBERS, "further")
FAMILIES = ("ccd", "counter", "pnccd")


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    with threadpool_limits(1):  # the last bits depend on how many there are
        yield


def toy(seed=0, count=360, apart=1.5, families=FAMILIES):
    """Return a table whose numbers are moved by a hit; every seventh frame is between."""
    rng = np.random.default_rng(seed)
    label = np.where(np.arange(count) % 2, HIT, MISS).astype(np.int8)
    label[::7] = BETWEEN
    numbers = rng.normal(size=(count, len(NAMES))) + apart * (label == HIT)[:, None] / 3
    numbers[:, 0] += apart * (label == HIT)
    return Table(
        path=Path("toy.h5"),
        names=NAMES,
        numbers=numbers,
        label=label,
        family=np.array(families)[np.arange(count) % len(families)],
        visible=np.where(label == HIT, 20, 0),
        zingers=np.zeros(count, np.int64),
        kind=np.where(label == HIT, "crystal", "smooth"),
        manifest={},
    )


@pytest.fixture(scope="module")
def trained():
    return fit_screening(toy())


def balanced(table, family=None):
    rows = np.isin(table.label, (HIT, MISS))
    weights = np.zeros(len(table))
    for one in FAMILIES:
        for label in (HIT, MISS):
            those = rows & (table.family == one) & (table.label == label)
            weights[those] = 1 / those.sum()
    return rows, weights


def test_it_learns_what_is_there(trained):
    fresh = toy(seed=1)
    hit, miss = fresh.label == HIT, fresh.label == MISS
    p = trained.model.p_crystal(fresh.names, fresh.numbers)
    assert area_under_curve(p[hit], p[miss]) > 0.9  # 0.927 at best
    second = trained.model.p_second(fresh.names, fresh.numbers)
    assert area_under_curve(second[hit], second[miss]) > 0.88
    assert trained.model.second.names == SECOND_NUMBERS
    assert trained.model.classes == ("no-diffraction", "diffraction")
    assert trained.model.hit_share == 0.5


def test_what_is_left_out_is_calibrated(trained):
    table = toy()
    rows, weights = balanced(table)
    for odds in (trained.odds, trained.second):
        slope, offset = calibration(odds[rows], table.label[rows], weights[rows])
        assert slope == pytest.approx(1, abs=0.02)
        assert offset == pytest.approx(0, abs=0.02)


def test_scores_of_a_family_come_from_the_others():
    table = toy(families=(*FAMILIES, "film", "plate"))
    lying = table.family == "ccd"
    label = np.where(lying & (table.label != BETWEEN), 1 - table.label, table.label)
    odds = fit_screening(replace(table, label=label.astype(np.int8))).odds
    hit, miss = lying & (label == HIT), lying & (label == MISS)
    assert area_under_curve(odds[hit], odds[miss]) < 0.2


def test_frames_between_teach_nothing(trained):
    table = toy()
    numbers = table.numbers.copy()
    numbers[table.label == BETWEEN] += 50
    again = fit_screening(replace(table, numbers=numbers))
    assert again.model.fingerprint() == trained.model.fingerprint()
    assert np.isfinite(again.odds).all()


def test_again_it_is_the_same_and_another_seed_is_not(trained):
    assert fit_screening(toy()).model.fingerprint() == trained.model.fingerprint()
    assert fit_screening(toy(), seed=1).model.fingerprint() != trained.model.fingerprint()


def test_it_goes_by_the_numbers_that_it_is_given():
    model = fit_screening(toy(), numbers=NAMES[:3]).model
    assert model.crystal.names == NAMES[:3]


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        (lambda table: table.family != "ccd", "at least 3 families of detectors, found counter"),
        (lambda table: (table.family != "ccd") | (table.label != HIT), "a hit of ccd"),
        (lambda table: (table.family != "pnccd") | (table.label != MISS), "a miss of pnccd"),
    ],
)
def test_too_little_to_learn_from_is_one_line(rows, said):
    table = toy()
    chosen = rows(table)
    columns = ("numbers", "label", "family", "visible", "zingers", "kind")
    few = replace(table, **{name: getattr(table, name)[chosen] for name in columns})
    with pytest.raises(DatasetError, match=said):
        fit_screening(few)


def test_calibration_finds_slope_and_offset():
    rng = np.random.default_rng(0)
    odds = rng.normal(0, 2, 20_000)
    labels = (rng.random(20_000) < 1 / (1 + np.exp(-(2 * odds + 1)))).astype(int)
    slope, offset = calibration(odds, labels, np.ones(len(odds)))
    assert slope == pytest.approx(2, abs=0.1)
    assert offset == pytest.approx(1, abs=0.1)


def test_frames_told_apart_without_a_mistake_are_not_certain():
    odds, labels = np.array([-3.0, -2.0, 2.0, 5.0]), np.array([0, 0, 1, 1])
    slope, offset = calibration(100 * odds, labels, np.ones(4))
    p = 1 / (1 + np.exp(-(slope * 100 * odds + offset)))
    assert np.all((p > 0.5) == labels)
    assert p[[0, -1]] == pytest.approx([0.25, 0.75], abs=0.12)


def test_the_area_counts_ties_by_half():
    assert area_under_curve(np.array([2.0, 1.0]), np.array([1.0, 0.0])) == 0.875
    assert np.isnan(area_under_curve(np.array([]), np.array([1.0])))
