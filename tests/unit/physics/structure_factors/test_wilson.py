import numpy as np
import pytest

from deepfreak.errors import StructureError
from deepfreak.physics.structure_factors.wilson import uniform_deviates, wilson

SETTINGS = {
    "cell": (40.0, 50.0, 60.0, 90.0, 90.0, 90.0),
    "space_group": "P 21 21 21",
    "atoms_per_asu": 1000,
    "B_A2": 30.0,
    "d_min_A": 3.0,
    "seed": 1,
}


def test_the_same_seed_gives_the_same_amplitudes_and_another_one_others():
    first, again, other = (wilson(**SETTINGS | {"seed": seed}) for seed in (1, 1, 2))
    assert first.F.tobytes() == again.F.tobytes()
    present = first.F > 0
    assert np.mean(first.F[present] == other.F[present]) < 0.01


def test_an_amplitude_does_not_depend_on_the_resolution_asked_for():
    coarse, fine = (wilson(**SETTINGS | {"d_min_A": d_min}) for d_min in (4.0, 2.5))
    hkl = np.argwhere(coarse.F) + coarse.hkl_min
    assert len(hkl) > 1000
    np.testing.assert_array_equal(coarse.lookup(*hkl.T), fine.lookup(*hkl.T))


def test_the_amplitudes_of_a_seed_are_pinned():
    # Data sets are named by their seed: another generator would silently change them all.
    found = wilson(**SETTINGS).lookup([1, 2, 0, 5], [1, 0, 4, 3], [1, 0, 2, 7])
    np.testing.assert_allclose(found, [172.02284, 180.8886, 62.49824, 235.70842], rtol=1e-5)


def test_deviates_are_uniform_independent_and_never_0_or_1():
    hkl = np.stack(np.meshgrid(*[np.arange(-30, 30)] * 3), axis=-1).reshape(-1, 3).astype(np.int32)
    first, second = uniform_deviates(hkl, seed=0)
    for deviates in (first, second):
        assert deviates.min() > 0
        assert deviates.max() < 1
        counts = np.histogram(deviates, bins=100, range=(0, 1))[0]
        # Chi-squared of 99 degrees of freedom: 99 +- 14.
        assert np.sum((counts - 2160) ** 2 / 2160) < 99 + 5 * 14
        assert len(np.unique(deviates)) == len(hkl)
    # Neighbouring reflections, the two deviates of one, and two seeds: 216,000 pairs, sigma 0.0022.
    assert abs(np.corrcoef(first[1:], first[:-1])[0, 1]) < 0.01
    assert abs(np.corrcoef(first, second)[0, 1]) < 0.01
    assert abs(np.corrcoef(first, uniform_deviates(hkl, seed=1)[0])[0, 1]) < 0.01


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("atoms_per_asu", 0),
        ("B_A2", -1.0),
        ("B_A2", float("nan")),
        ("k_sol", 1.5),
        ("B_sol_A2", -1.0),
        ("seed", -1),
        ("seed", 2**64),
        ("d_min_A", 0.0),
        ("cell", (40, 50, 60, 90, 95, 90)),
        ("space_group", "nonsense"),
    ],
)
def test_a_senseless_setting_is_rejected(setting, value):
    with pytest.raises(StructureError, match="expected"):
        wilson(**SETTINGS | {setting: value})


def test_the_largest_seed_works():
    assert np.isfinite(wilson(**SETTINGS | {"seed": 2**64 - 1}).F).all()
