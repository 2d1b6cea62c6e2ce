"""Disorder takes light from the spots and gives all of it back beside them."""

import gemmi
import numpy as np
import pytest

from deepfreak.beam import Beam
from deepfreak.detector import Detector, beam_factors, sin_theta
from deepfreak.errors import StructureError
from deepfreak.scattering.atoms import coherent, incoherent
from deepfreak.scattering.constants import R_E_SQR_M2
from deepfreak.scattering.disorder import (
    compton_intensity,
    debye_waller,
    diffuse_intensity,
    disorder_photons,
)

PROTEIN = (("C", 500.0), ("N", 130.0), ("O", 150.0), ("S", 4.0))
STOL = np.linspace(0, 2, 401)
DETECTOR = Detector.flat(image_size=(96, 96), pixel_size_mm=0.9, distance_mm=60)
BEAM = Beam(wavelength_A=1.3, photons_per_pulse=1e12, size_mm=0.01)
SHOT = {"beam": BEAM, "detector": DETECTOR, "photons": 1e12, "wavelength_A": 1.3}


def electrons(composition):
    return sum(count * gemmi.Element(element).atomic_number for element, count in composition)


def at_rest(composition, stol):
    return sum(count * coherent(element, stol) ** 2 for element, count in composition)


def test_spots_and_diffuse_light_add_up_to_all_that_the_atoms_scatter():
    """Atoms anywhere, by direct summation: in each shell the mean |F|^2 is what the spots have."""
    rng = np.random.default_rng(4)
    edge, B_A2 = 40.0, 5.0
    elements = np.repeat(["C", "N", "O"], [100, 30, 30])
    composition = (("C", 100.0), ("N", 30.0), ("O", 30.0))
    # one of each pair of Friedel mates, none twice
    hkl = np.unique(rng.integers([-30, -30, 1], 31, (30_000, 3)), axis=0)
    stol = np.linalg.norm(hkl, axis=1) / edge / 2
    F = np.zeros(len(hkl), dtype=complex)
    for element, position in zip(elements, rng.random((160, 3)), strict=True):
        F += coherent(element, stol) * np.exp(2j * np.pi * (hkl @ position))
    bragg = np.abs(F * debye_waller(B_A2, stol)) ** 2
    diffuse = diffuse_intensity(composition, B_A2=B_A2, stol=stol)
    for low, high in ((0.1, 0.2), (0.2, 0.3), (0.3, 0.45)):
        shell = (stol > low) & (stol < high)
        assert shell.sum() > 1000
        # the mean of n exponential intensities has a relative error of 1 / sqrt(n)
        everything = at_rest(composition, stol[shell]).mean()
        error = 4 * bragg[shell].mean() / np.sqrt(shell.sum())
        assert (bragg + diffuse)[shell].mean() == pytest.approx(everything, abs=error)
        assert error < 0.1 * everything
        assert 0.1 < diffuse[shell].mean() / everything < 0.9


def test_atoms_that_move_scatter_what_the_formulas_say():
    """Displaced by Gaussians of variance B / (8 pi^2): the mean amplitude and what varies."""
    rng = np.random.default_rng(7)
    edge, B_A2, moments = 20.0, 12.0, 4000
    positions = rng.random((30, 3))
    hkl = np.array([[2, 0, 1], [4, -3, 1], [5, 5, 2]])
    stol = np.linalg.norm(hkl, axis=1) / edge / 2
    f = coherent("O", stol)
    moves = rng.normal(0, np.sqrt(B_A2 / (8 * np.pi**2)) / edge, (moments, 30, 3))
    F = f * np.exp(2j * np.pi * ((positions + moves) @ hkl.T)).sum(axis=1)
    still = f * np.exp(2j * np.pi * (positions @ hkl.T)).sum(axis=0)
    sigma = np.sqrt(30) * f / np.sqrt(moments)
    assert np.all(np.abs(F.mean(axis=0) - still * debye_waller(B_A2, stol)) < 4 * sigma)
    varies = np.mean(np.abs(F - F.mean(axis=0)) ** 2, axis=0)
    expected = diffuse_intensity((("O", 30.0),), B_A2=B_A2, stol=stol)
    np.testing.assert_allclose(varies, expected, rtol=0.08)


def test_diffuse_light_begins_at_nothing_and_ends_at_all():
    diffuse = diffuse_intensity(PROTEIN, B_A2=30.0, stol=STOL)
    assert diffuse[0] == 0
    small = STOL[1:4]
    np.testing.assert_allclose(diffuse[1:4], at_rest(PROTEIN, small) * 2 * 30 * small**2, rtol=2e-2)
    np.testing.assert_allclose(diffuse[-50:], at_rest(PROTEIN, STOL[-50:]), rtol=1e-9)


def test_a_perfect_crystal_has_no_diffuse_light():
    assert not diffuse_intensity(PROTEIN, B_A2=0.0, stol=STOL).any()
    photons = disorder_photons(PROTEIN, B_A2=0.0, cells=1e6, compton=False, **SHOT)
    assert not photons.any()


def test_compton_light_rises_from_nothing_towards_all_electrons():
    S = compton_intensity(PROTEIN, stol=STOL)
    assert S[0] == pytest.approx(0, abs=1e-9)
    assert np.all(np.diff(S) > 0)
    assert 0.9 * electrons(PROTEIN) < S[-1] < electrons(PROTEIN)


def test_photons_are_the_cells_intensity_times_their_number_in_every_pixel():
    stol = sin_theta(DETECTOR) / 1.3
    expected = at_rest(PROTEIN, stol) * (1 - np.exp(-2 * 25 * stol**2))
    expected += sum(count * incoherent(element, stol) for element, count in PROTEIN)
    expected *= 2e6 * R_E_SQR_M2 * BEAM.fluence(1e12) * beam_factors(DETECTOR, BEAM)
    found = disorder_photons(PROTEIN, B_A2=25.0, cells=2e6, compton=True, **SHOT)
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_an_unknown_composition_is_refused_in_one_line():
    with pytest.raises(StructureError, match="list of reflections, which names none"):
        disorder_photons((), B_A2=10.0, cells=1, compton=False, **SHOT)
