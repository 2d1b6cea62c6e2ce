"""Structure factors against direct summation and Wilson's laws."""

from math import sqrt

import gemmi
import numpy as np
import pytest

from deepfreak.physics.structure_factors.factors import unique_reflections
from deepfreak.physics.structure_factors.model import (
    atoms_F,
    from_model,
    read_coordinates,
    solvent_F,
)
from deepfreak.physics.structure_factors.symmetry import crystal_symmetry
from deepfreak.physics.structure_factors.wilson import AVERAGINE, wilson

BOX = {"cell": (70.0, 80.0, 90.0, 90.0, 90.0, 90.0), "space_group": "P 21 21 21"}
WILSON = BOX | {"atoms_per_asu": 3000, "B_A2": 25.0, "seed": 11}


def write_pdb(path, *, space_group="P 21 21 21", atoms=60):
    rng = np.random.default_rng(5)
    cell = gemmi.UnitCell(31, 37, 43, 90, 90, 90)
    lines = [f"CRYST1   31.000   37.000   43.000  90.00  90.00  90.00 {space_group:<11s}\n"]
    for number in range(atoms):
        x, y, z = cell.orthogonalize(gemmi.Fractional(*rng.random(3))).tolist()
        element = ["C", "N", "O", "S", "FE"][number % 5]
        lines.append(
            f"ATOM  {number + 1:5d}  {element:<3s} ALA A{number + 1:4d}    "
            f"{x:8.3f}{y:8.3f}{z:8.3f}  1.00{rng.uniform(10, 40):6.2f}          {element:>2s}\n"
        )
    path.write_text("".join(lines) + "END\n")
    return path


def direct_sum(structure, hkl):
    calculator = gemmi.StructureFactorCalculatorX(structure.cell)
    return np.array([calculator.calculate_sf_from_model(structure[0], h) for h in hkl.tolist()])


def assert_equals_direct_sum(path, d_min_A):
    structure = read_coordinates(path)
    cell, group = crystal_symmetry(structure.cell.parameters, structure.spacegroup_hm)
    hkl = unique_reflections(cell, group, d_min_A)[::9]
    expected = direct_sum(structure, hkl)
    rms = np.sqrt(np.mean(np.abs(expected) ** 2))
    np.testing.assert_allclose(
        atoms_F(structure, hkl, d_min_A=d_min_A) / rms, expected / rms, rtol=0, atol=1e-4
    )
    # And so do the amplitudes, whatever index of the box they are read at.
    factors = from_model(path, d_min_A=d_min_A, k_sol=0)
    for operation in group.operations().sym_ops:
        for mate in (1, -1):
            equivalents = np.array([operation.apply_to_hkl(h) for h in (mate * hkl).tolist()])
            found = factors.lookup(*equivalents.T)
            np.testing.assert_allclose(found / rms, np.abs(expected) / rms, rtol=0, atol=1e-4)


@pytest.mark.parametrize("space_group", ["P 1", "P 21 21 21", "I 2 2 2"])
def test_a_model_by_fft_equals_the_direct_sum_over_its_atoms(tmp_path, space_group):
    assert_equals_direct_sum(write_pdb(tmp_path / "a.pdb", space_group=space_group), 2.5)


@pytest.mark.parametrize(("file", "d_min_A"), [("insulin", 3.0), ("4lzt_lysozyme_triclinic", 3.0)])
def test_a_real_protein_by_fft_equals_the_direct_sum_over_its_atoms(shared, file, d_min_A):
    assert_equals_direct_sum(shared / "coords" / f"{file}.pdb.gz", d_min_A)


def test_the_scale_is_absolute(tmp_path):
    """One carbon atom scatters f(stol) exp(-B stol^2) electrons, at every index."""
    path = tmp_path / "carbon.pdb"
    path.write_text(
        "CRYST1   20.000   21.000   22.000  90.00  90.00  90.00 P 1\n"
        "ATOM      1  C   ALA A   1       1.000   2.000   3.000  1.00 20.00           C\n"
    )
    factors = from_model(path, d_min_A=2.0, k_sol=0)
    for hkl in ((1, 0, 0), (3, -2, 5), (0, 0, 10)):
        stol2 = gemmi.UnitCell(*factors.cell).calculate_1_d2(hkl) / 4
        expected = gemmi.Element("C").it92.calculate_sf(stol2) * np.exp(-20 * stol2)
        assert factors.lookup(*hkl) == pytest.approx(expected, abs=2e-3)


def test_bulk_solvent_is_added_with_its_density_and_smearing(tmp_path):
    path = write_pdb(tmp_path / "a.pdb")
    structure = read_coordinates(path)
    hkl = np.array([[0, 0, 2], [1, 1, 1], [2, 3, 4], [5, 5, 5]], dtype=np.int32)
    stol2 = structure.cell.calculate_1_d2_array(hkl) / 4
    expected = atoms_F(structure, hkl, d_min_A=3) + 0.3 * np.exp(-50 * stol2) * solvent_F(
        structure, hkl, d_min_A=3
    )
    found = from_model(path, d_min_A=3, k_sol=0.3, B_sol_A2=50).lookup(*hkl.T)
    np.testing.assert_allclose(found, np.abs(expected), rtol=1e-5)


def test_the_solvent_mask_is_the_space_around_the_atoms(tmp_path):
    """Of a cell with one atom all but the atom's sphere is solvent (Babinet)."""
    path = tmp_path / "carbon.pdb"
    path.write_text(
        "CRYST1   20.000   20.000   20.000  90.00  90.00  90.00 P 1\n"
        "ATOM      1  C   ALA A   1      10.000  10.000  10.000  1.00 20.00           C\n"
    )
    structure = read_coordinates(path)
    inside, first = solvent_F(structure, np.array([[0, 0, 0], [1, 0, 0]], np.int32), d_min_A=1.5)
    sphere = 8000 - inside.real
    radius = (3 * sphere / (4 * np.pi)) ** (1 / 3)
    assert 1.5 < radius < 2.5
    x = 2 * np.pi * radius / 20
    # Minus the sphere's transform, and a phase of pi for its place in the middle.
    expected = sphere * 3 * (np.sin(x) - x * np.cos(x)) / x**3
    assert first == pytest.approx(expected, rel=0.01)


def test_solvent_weakens_low_angles_and_leaves_high_ones(shared):
    """Without it low-angle spots are unrealistically strong (paper, Appendix A)."""
    path = shared / "coords" / "insulin.pdb.gz"
    wet, dry = (from_model(path, d_min_A=2.5, k_sol=k_sol) for k_sol in (0.35, 0.0))
    d = resolution_of(wet)
    low, high = d > 12, (d > 0) & (d < 3)
    assert mean_square(wet, low) < 0.5 * mean_square(dry, low)
    assert mean_square(wet, high) == pytest.approx(mean_square(dry, high), rel=0.02)


def resolution_of(factors):
    """d in angstrom of each reflection present in the box, 0 elsewhere."""
    hkl = np.argwhere(factors.F).astype(np.int32) + np.array(factors.hkl_min, np.int32)
    d = np.zeros(factors.F.shape)
    d[factors.F > 0] = gemmi.UnitCell(*factors.cell).calculate_d_array(hkl)
    return d


def mean_square(factors, chosen):
    return np.mean(factors.F[chosen].astype(np.float64) ** 2)


def normalised(**settings):
    """E^2 of the unique reflections with their centric flags: what Wilson's laws are about."""
    factors = wilson(**settings)
    cell, group = crystal_symmetry(settings["cell"], settings["space_group"])
    hkl = unique_reflections(cell, group, settings["d_min_A"])
    operations = group.operations()
    stol2 = cell.calculate_1_d2_array(hkl) / 4
    f2 = sum(
        count * np.array([gemmi.Element(symbol).it92.calculate_sf(s) for s in stol2]) ** 2
        for symbol, count in AVERAGINE.items()
    ) / sum(AVERAGINE.values())
    in_cell = settings["atoms_per_asu"] * len(operations)
    damping = 1 - 0.75 * np.exp(-200 * stol2)
    mean = operations.epsilon_factor_array(hkl) * in_cell * f2
    mean *= np.exp(-2 * settings["B_A2"] * stol2) * damping**2
    return factors.lookup(*hkl.T) ** 2 / mean, operations.centric_flag_array(hkl)


def test_intensities_are_exponential_if_acentric_and_chi_squared_if_centric():
    from scipy import stats

    E2, centric = normalised(**WILSON, d_min_A=3.0)
    assert centric.sum() > 500
    assert (~centric).sum() > 5000
    assert stats.kstest(E2[~centric], stats.expon.cdf).pvalue > 1e-3
    assert stats.kstest(E2[centric], stats.chi2(1).cdf).pvalue > 1e-3


@pytest.mark.parametrize(
    ("cell", "space_group"),
    [
        (BOX["cell"], BOX["space_group"]),
        ((80, 80, 80, 90, 90, 90), "I 21 3"),
        ((80, 80, 90, 90, 90, 120), "P 63"),
        ((70, 80, 90, 90, 100, 90), "C 1 2 1"),
        ((40, 50, 60, 80, 95, 105), "P 1"),
    ],
)
def test_the_mean_intensity_is_that_of_the_cells_atoms_on_absolute_scale(cell, space_group):
    settings = WILSON | {"cell": cell, "space_group": space_group}
    E2, centric = normalised(**settings, d_min_A=4.0)
    # The variance of E^2 is 1 for acentric reflections and 2 for centric ones.
    sigma = sqrt(len(E2) + centric.sum()) / len(E2)
    assert E2.mean() == pytest.approx(1, abs=4 * sigma)


def test_wilson_leaves_systematic_absences_and_the_direct_beam_dark():
    factors = wilson(**WILSON, d_min_A=4.0)
    odd = np.arange(1, 16, 2)
    for axes in ((odd, 0, 0), (0, odd, 0), (0, 0, odd)):
        assert not factors.lookup(*axes).any()
    assert factors.lookup(0, 0, 0) == 0
    assert factors.lookup(np.arange(2, 16, 2), 0, 0).all()


def test_wilson_without_damping_is_stronger_at_low_angles_by_its_formula():
    damped, bare = (wilson(**WILSON, d_min_A=4.0, k_sol=k_sol) for k_sol in (0.75, 0.0))
    hkl = np.array([[1, 1, 1], [2, 0, 0], [3, 4, 5], [10, 10, 10]])
    stol2 = gemmi.UnitCell(*damped.cell).calculate_1_d2_array(hkl.astype(np.int32)) / 4
    np.testing.assert_allclose(
        damped.lookup(*hkl.T) / bare.lookup(*hkl.T), 1 - 0.75 * np.exp(-200 * stol2), rtol=1e-5
    )


def test_wilson_meets_the_radial_curve_of_photosystem_ii(shared):
    """The curve of the XFEL model in solvent, beyond the range of the molecule's shape."""
    path = shared / "coords" / "PSII_XFEL_1.92A_exafel.pdb.gz"
    model = from_model(path, d_min_A=3.0)
    random = wilson(
        cell=model.cell,
        space_group=model.space_group,
        atoms_per_asu=52_459,
        B_A2=32.0,
        d_min_A=3.0,
        seed=0,
    )
    d = resolution_of(model)
    for outer, inner in ((8, 6), (6, 5), (5, 4), (4, 3.5), (3.5, 3)):
        shell = (d > inner) & (d <= outer)
        assert 0.6 < mean_square(random, shell) / mean_square(model, shell) < 1.5
