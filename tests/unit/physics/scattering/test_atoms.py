"""What free atoms scatter elastically and incoherently."""

import gemmi
import numpy as np
import pytest

from deepfreak.physics.scattering.atoms import INCOHERENT, coherent, incoherent

STOL = np.linspace(0, 3, 301)

# Hubbell et al., J. Phys. Chem. Ref. Data 4, 471 (1975), at 0.1, 0.3, 0.5 and 1 1/A.
HUBBELL = {
    "H": [0.343, 0.937, 0.995, 1.0],
    "C": [1.039, 3.643, 4.478, 5.348],
    "N": [1.08, 4.097, 5.182, 6.113],
    "O": [0.977, 4.293, 5.828, 6.901],
    "S": [2.151, 6.795, 8.96, 12.472],
    "Fe": [2.891, 8.432, 12.687, 18.488],
}


@pytest.mark.parametrize("element", HUBBELL)
def test_incoherent_intensities_are_the_tabulated_ones(element):
    Z = gemmi.Element(element).atomic_number
    found = incoherent(element, np.array([0.1, 0.3, 0.5, 1.0]))
    np.testing.assert_allclose(found, HUBBELL[element], atol=4e-3 * Z)


@pytest.mark.parametrize("element", [*INCOHERENT, "Au", "D"])
def test_incoherent_intensity_rises_from_nothing_to_all_electrons(element):
    S = incoherent(element, STOL)
    Z = gemmi.Element(element).atomic_number
    assert S[0] == pytest.approx(0, abs=2e-3 * Z)
    assert np.all(np.diff(S) >= 0)
    assert 0.85 * Z < S[-1] <= 1.001 * Z


def test_amplitudes_are_all_electrons_forwards_and_gemmis_elsewhere():
    for element in ("H", "C", "O", "Fe"):
        f = coherent(element, STOL)
        assert f[0] == pytest.approx(gemmi.Element(element).atomic_number, rel=2e-3)
        table = gemmi.Element(element).it92
        np.testing.assert_allclose(f, [table.calculate_sf(s * s) for s in STOL], rtol=1e-5)


@pytest.mark.parametrize("element", ["X", "Es", "Og"])
def test_an_element_without_tables_scatters_as_oxygen_by_all_of_them(element):
    np.testing.assert_array_equal(coherent(element, STOL), coherent("O", STOL))
    np.testing.assert_array_equal(incoherent(element, STOL), incoherent("O", STOL))


@pytest.mark.parametrize("Z", range(119))
def test_every_element_scatters_without_a_warning(Z):
    name = gemmi.Element(Z).name
    for scattered in (coherent, incoherent):
        assert np.isfinite(scattered(name, STOL)).all()
        assert scattered(name, STOL).max() > 0.9
