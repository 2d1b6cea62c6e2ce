import pytest

from deepfreak.errors import StructureError
from deepfreak.physics.structure_factors.symmetry import crystal_symmetry

ORTHORHOMBIC = (40, 50, 60, 90, 90, 90)


@pytest.mark.parametrize(
    ("cell", "space_group", "required"),
    [
        ((40, 50, 60, 90, 90, 120), "P 63", "a = b, alpha = beta = 90 and gamma = 120"),
        ((40, 40, 60, 90, 90, 90), "P 63", "gamma = 120"),
        ((40, 50, 60, 90, 95, 90), "P 21 21 21", "alpha = beta = gamma = 90"),
        (ORTHORHOMBIC, "P 43 21 2", "a = b and alpha"),
        (ORTHORHOMBIC, "I 21 3", "a = b = c"),
        ((40, 50, 60, 90, 90, 100), "P 1 21 1", "alpha = gamma = 90"),
        (ORTHORHOMBIC, "R 3:R", "a = b = c and alpha = beta = gamma"),
        ((20, 20.1, 300, 90, 90, 90), "P 43 21 2", "a = b and alpha"),
        ((117.6, 222.9, 309.5, 90, 90.05, 90), "P 21 21 21", "alpha = beta = gamma = 90"),
    ],
)
def test_a_cell_that_the_space_group_forbids_is_told_what_it_requires(cell, space_group, required):
    with pytest.raises(StructureError) as caught:
        crystal_symmetry(cell, space_group)
    assert required in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("cell", "complaint"),
    [
        ((-40, 50, 60, 90, 90, 90), "edges above 0"),
        ((0, 50, 60, 90, 90, 90), "edges above 0"),
        ((40, 50, 60, 90, 90, 180), "between 0 and 180"),
        ((40, 50, 60, 20, 30, 80), "no volume"),
        ((40, 50, 60, 120, 120, 120), "no volume"),
        ((40, 50, 60, 130, 130, 130), "no volume"),
        ((1, 1, 1, 90, 90, 90), "unit cell of a crystal, found edges of 1 1 1"),
        ((40, 50, float("nan"), 90, 90, 90), "six numbers"),
        ((40, 50, float("inf"), 90, 90, 90), "six numbers"),
        ((40, 50, 60), "six numbers"),
    ],
)
def test_a_cell_without_volume_is_rejected(cell, complaint):
    with pytest.raises(StructureError, match=complaint):
        crystal_symmetry(cell, "P 1")


@pytest.mark.parametrize("symbol", ["", "P 21 21 22 1", "bogus"])
def test_an_unknown_space_group_is_rejected(symbol):
    with pytest.raises(StructureError, match="Hermann-Mauguin"):
        crystal_symmetry(ORTHORHOMBIC, symbol)


@pytest.mark.parametrize(
    ("cell", "written", "meant"),
    [
        (ORTHORHOMBIC, "P212121", "P 21 21 21"),
        (ORTHORHOMBIC, "P 21 21 21", "P 21 21 21"),
        ((40, 40, 60, 90, 90, 120), "R 3", "R 3:H"),
        ((40, 40, 40, 80, 80, 80), "R 3", "R 3:R"),
        ((40, 50, 60, 90, 100, 90), "P21", "P 1 21 1"),
        ((77.9, 77.905, 77.9, 90, 90, 90), "I213", "I 21 3"),
    ],
)
def test_usual_ways_of_writing_a_space_group_are_understood(cell, written, meant):
    assert crystal_symmetry(cell, written)[1].xhm() == meant
