import gemmi
import numpy as np
import pytest

from deepfreak.errors import StructureError
from deepfreak.physics.structure_factors.factors import (
    StructureFactors,
    expand_to_p1,
    unique_reflections,
)
from deepfreak.physics.structure_factors.symmetry import crystal_symmetry

CELLS = {
    "P 1": (20, 22, 25, 80, 95, 105),
    "P 21 21 21": (20, 22, 25, 90, 90, 90),
    "I 21 3": (30, 30, 30, 90, 90, 90),
    "P 63": (25, 25, 30, 90, 90, 120),
    "R 3:R": (25, 25, 25, 80, 80, 80),
    "C 1 2 1": (30, 22, 25, 90, 110, 90),
}


def expanded(space_group, *, d_min_A=4.0, **options):
    cell, group = crystal_symmetry(CELLS[space_group], space_group)
    hkl = unique_reflections(cell, group, d_min_A)
    F = np.random.default_rng(1).uniform(1, 100, len(hkl))
    factors = expand_to_p1(
        hkl, F, cell=cell, group=group, d_min_A=d_min_A, source="made up", **options
    )
    return factors, hkl, F, group


@pytest.mark.parametrize("space_group", CELLS)
def test_every_equivalent_and_its_friedel_mate_have_the_listed_amplitude(space_group):
    factors, hkl, F, group = expanded(space_group)
    for operation in group.operations().sym_ops:
        equivalents = np.array([operation.apply_to_hkl(one) for one in hkl.tolist()])
        np.testing.assert_array_equal(factors.lookup(*equivalents.T), F.astype(np.float32))
        np.testing.assert_array_equal(factors.lookup(*-equivalents.T), F.astype(np.float32))


@pytest.mark.parametrize("space_group", CELLS)
def test_expansion_lists_each_reflection_to_d_min_and_no_other(space_group):
    factors, _, _, group = expanded(space_group)
    everything = gemmi.make_miller_array(
        gemmi.UnitCell(*factors.cell), gemmi.SpaceGroup("P 1"), 4.0, unique=False
    )
    present = everything[~group.operations().systematic_absences(everything)]
    assert np.count_nonzero(factors.F) == len(present)
    assert factors.lookup(*present.T).all()


def test_outside_the_box_is_default_F():
    factors, *_ = expanded("P 21 21 21", default_F=7.0)
    h_max = -factors.hkl_min[0]
    np.testing.assert_array_equal(
        factors.lookup([h_max + 1, -h_max - 1, 10**6, np.iinfo(np.int64).min], 0, 0), 7.0
    )


def test_default_F_fills_the_unlisted_but_not_the_absent():
    factors, *_ = expanded("P 21 21 21", default_F=7.0)
    corner = [-first for first in factors.hkl_min]
    assert factors.lookup(*corner) == 7.0
    assert factors.lookup(3, 0, 0) == 0.0
    assert factors.lookup(0, 0, 0) == 7.0


def test_both_mates_of_an_anomalous_pair_keep_their_own_amplitude():
    cell, group = crystal_symmetry(CELLS["P 21 21 21"], "P 21 21 21")
    hkl = np.array([[1, 2, 3], [-1, -2, -3]])
    factors = expand_to_p1(
        hkl, np.array([10.0, 20.0]), cell=cell, group=group, d_min_A=4, source="pair"
    )
    assert factors.lookup(-1, -2, 3) == 10
    assert factors.lookup(1, -2, 3) == 20


def test_lookup_broadcasts():
    factors, *_ = expanded("P 1")
    h, k, l = np.ogrid[-2:3, -2:3, -2:3]
    found = factors.lookup(h, k, l)
    assert found.shape == (5, 5, 5)
    assert found[3, 1, 4] == factors.lookup(1, -1, 2)


@pytest.mark.parametrize("d_min_A", [1e-3, 1e-300, 0.0, -2.0, float("nan"), float("inf"), 1e3])
def test_a_senseless_resolution_is_rejected_before_memory_is_taken(d_min_A):
    with pytest.raises(StructureError, match="expected"):
        expanded("P 21 21 21", d_min_A=d_min_A)


def test_a_box_that_does_not_match_its_origin_is_rejected():
    with pytest.raises(StructureError, match="symmetric"):
        StructureFactors(
            F=np.zeros((3, 3, 4), np.float32),
            hkl_min=(-1, -1, -1),
            cell=(1, 1, 1, 90, 90, 90),
            space_group="P 1",
            d_min_A=1,
            source="",
        )
