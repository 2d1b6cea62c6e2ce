"""Disorder moves photons from the spots to diffuse scattering and conserves them."""

from dataclasses import replace
from itertools import pairwise

import gemmi
import numpy as np
import pytest

from deepfreak.physics.beam import Beam, Pulse
from deepfreak.physics.crystal import Crystal, real_axes
from deepfreak.physics.detector import Detector, beam_factors, sin_theta
from deepfreak.physics.experiment import Classes, Experiment, ShotClass
from deepfreak.physics.exposure import background_photons, bragg_photons
from deepfreak.physics.recipe import load_recipe
from deepfreak.physics.scattering.atoms import R_E_SQR_M2, coherent, incoherent
from deepfreak.physics.scattering.disorder import (
    SPOT_VOLUME,
    compton_intensity,
    debye_waller,
    diffuse_intensity,
    disorder_photons,
    protein_of,
)
from deepfreak.physics.structure_factors import Model, Reflections, Wilson
from deepfreak.physics.structure_factors.factors import STOL
from deepfreak.physics.structure_factors.model import atoms_lost

PROTEIN = (("C", 500.0), ("N", 130.0), ("O", 150.0), ("S", 4.0))
DETECTOR = Detector.flat(image_size=(96, 96), pixel_size_mm=0.9, distance_mm=60)
BEAM = Beam(wavelength_A=1.3, photons_per_pulse=1e12, size_mm=0.01)
WILSON = Wilson(
    cell=(120, 135, 150, 90, 90, 90), space_group="P 21 21 21", atoms_per_asu=15000, B_A2=0, seed=4,
    k_sol=0.24, B_sol_A2=135,
)  # fmt: skip
CLASSES = Classes(
    label_version="t",
    dark="blank",
    lit=(ShotClass(name="crystal", probability=1, crystal_fraction=(1, 1)),),
)


def experiment_of(structure, **crystal):
    settings = {"size_mm": 0.01, "diffuse": True} | crystal
    return Experiment(
        crystal=Crystal(structure=structure, **settings),
        beam=BEAM,
        detector=DETECTOR,
        classes=CLASSES,
    )


def electrons(composition):
    return sum(count * gemmi.Element(element).atomic_number for element, count in composition)


def in_shells(experiment, edges):
    """Return the mean of spots and of diffuse light over the reciprocal lattice, in each shell."""
    factors = experiment.structure_factors()
    grid = np.meshgrid(*(np.arange(first, 1 - first) for first in factors.hkl_min), indexing="ij")
    g = np.stack(grid, axis=-1) @ np.linalg.inv(real_axes(factors.cell)).T
    stol = np.linalg.norm(g, axis=-1) / 2
    diffuse = np.interp(stol, STOL, factors.lost)
    shells = [(stol > low) & (stol <= high) for low, high in pairwise(edges)]
    return np.array([((factors.F[s] ** 2).mean(), diffuse[s].mean()) for s in shells])


@pytest.mark.parametrize(
    "disordered",
    [
        pytest.param(lambda B: experiment_of(WILSON, disorder_B_A2=B), id="lattice"),
        pytest.param(lambda B: experiment_of(replace(WILSON, B_A2=B)), id="structure"),
    ],
)
def test_spots_and_diffuse_light_together_do_not_depend_on_B_in_any_shell(disordered):
    ordered = experiment_of(WILSON)
    edges = np.linspace(0.02, 0.22, 11)
    spots, diffuse = in_shells(ordered, edges).T
    assert not diffuse.any()
    for B in (20.0, 60.0):
        weak, light = in_shells(disordered(B), edges).T
        np.testing.assert_allclose(weak + light, spots, rtol=0.01)
        assert light[-1] > 0.8 * spots[-1]
        assert light[0] < 0.15 * spots[0]


def test_the_diffranet_recipe_loses_no_light_in_any_shell():
    recipe = load_recipe("diffranet")
    structure = recipe.crystal.structure
    at_rest = replace(recipe, crystal=replace(recipe.crystal, structure=replace(structure, B_A2=0)))
    edges = 0.5 / np.array([60, 30, 20, 15, 12, 10, 8, 7, 6, 5, 4.5, 4, 3.6, 3.2, 2.9, 2.6, 2.4])
    before, after = (in_shells(e, edges).sum(axis=1) for e in (at_rest, recipe))
    np.testing.assert_allclose(after, before, rtol=0.01)


def test_a_models_own_motion_stays_when_the_lattice_is_disordered(shared):
    still = experiment_of(Model(file=str(shared / "coords" / "insulin.pdb.gz")))
    moving = replace(still, crystal=replace(still.crystal, disorder_B_A2=40.0))
    edges = np.linspace(0.08, 0.2, 4)
    np.testing.assert_allclose(
        in_shells(moving, edges).sum(axis=1), in_shells(still, edges).sum(axis=1), rtol=0.02
    )
    own = still.structure_factors().lost
    assert own[0] == 0
    assert (own[20:] > 0).all()


@pytest.mark.parametrize("shape", ["tophat", "gauss"])
def test_rendered_spots_and_diffuse_light_together_do_not_depend_on_B(tmp_path, shape):
    """Photons on the detector, over all orientations: reflections of one amplitude."""
    hkl = np.stack(np.meshgrid(*[np.arange(-18, 19)] * 3), axis=-1).reshape(-1, 3)
    hkl = hkl[(np.linalg.norm(hkl, axis=1) < 18) & hkl.any(axis=1)]
    path = tmp_path / "flat.hkl"
    path.write_text("".join(f"{h} {k} {l} 100\n" for h, k, l in hkl))
    source = Reflections(file=str(path), cell=(30, 30, 30, 90, 90, 90), space_group="P 1")
    # three cells a side: spots so wide that few orientations fill reciprocal space
    crystal = {
        "Ncells_abc": (3, 3, 3), "mosaic_domains": 30, "mosaic_spread_deg": 4.0,
        "xtal_shape": shape,
    }  # fmt: skip
    stol = sin_theta(DETECTOR) / BEAM.wavelength_A
    edges = np.linspace(0.06, stol.max(), 6)
    light = {}
    for B in (0.0, 60.0):
        experiment = experiment_of(source, disorder_B_A2=B, **crystal)
        total = np.zeros(stol.shape)
        for index in range(40):
            shot = experiment.draw(seed=3, index=index)
            total += bragg_photons(shot) + background_photons(shot)
        light[B] = np.array([total[(stol > a) & (stol <= b)].sum() for a, b in pairwise(edges)])
    np.testing.assert_allclose(light[60.0], light[0.0], rtol=0.01)


def test_molecules_that_move_scatter_what_the_formula_says():
    """Molecules displaced as a whole by a Gaussian of variance B / (8 pi^2): variance of F."""
    rng = np.random.default_rng(7)
    edge, B_A2 = 20.0, 12.0
    hkl = np.array([[2, 0, 1], [4, -3, 1], [5, 5, 2]])
    stol = np.linalg.norm(hkl, axis=1) / edge / 2
    still = np.exp(2j * np.pi * (rng.random((30, 3)) @ hkl.T)).sum(axis=0)
    moves = rng.normal(0, np.sqrt(B_A2 / (8 * np.pi**2)) / edge, (40_000, 3))
    F = still * np.exp(2j * np.pi * (moves @ hkl.T))
    np.testing.assert_allclose(F.mean(axis=0), still * debye_waller(B_A2, stol), rtol=0.05)
    varies = np.mean(np.abs(F - F.mean(axis=0)) ** 2, axis=0)
    expected = diffuse_intensity(np.abs(still) ** 2, B_A2=B_A2, stol=stol)
    np.testing.assert_allclose(varies, expected, rtol=0.03)


def test_atoms_that_move_scatter_what_a_models_B_factors_say():
    """Atoms displaced independently: the variance is sum f^2 (1 - exp(-2 B stol^2))."""
    rng = np.random.default_rng(7)
    edge, B_A2, moments = 20.0, 12.0, 4000
    positions = rng.random((30, 3))
    hkl = np.array([[2, 0, 1], [4, -3, 1], [5, 5, 2]])
    stol = np.linalg.norm(hkl, axis=1) / edge / 2
    moves = rng.normal(0, np.sqrt(B_A2 / (8 * np.pi**2)) / edge, (moments, 30, 3))
    F = coherent("O", stol) * np.exp(2j * np.pi * ((positions + moves) @ hkl.T)).sum(axis=1)
    varies = np.mean(np.abs(F - F.mean(axis=0)) ** 2, axis=0)
    text = "CRYST1   20.000   20.000   20.000  90.00  90.00  90.00 P 1\n" + "".join(
        f"ATOM  {i:5d}  O   HOH A{i:4d}    {x:8.3f}{y:8.3f}{z:8.3f}  1.00 12.00           O\n"
        for i, (x, y, z) in enumerate(positions * edge, start=1)
    )
    found = atoms_lost(gemmi.read_pdb_string(text), gemmi.SpaceGroup("P 1"))
    np.testing.assert_allclose(varies, np.interp(stol, STOL, found), rtol=0.08)


@pytest.mark.parametrize("shape", ["gauss", "tophat", "round"])
def test_spots_of_a_shape_hold_as_much_light_as_is_said(shape):
    """The integral of the squared amplitude of one cell, over shells of a ball."""
    r = (np.arange(400_000) + 0.5) / 1000
    u = np.pi * r
    amplitude = {
        "gauss": np.exp(-(r**2) / 0.63),
        "tophat": r < 0.63,
        "round": 0.723601254558268 * 3 * (np.sin(u) / u - np.cos(u)) / u**2,
    }[shape]
    light = (4 * np.pi * r**2 * amplitude**2).sum() / 1000
    assert light == pytest.approx(SPOT_VOLUME[shape], rel=2e-3)


def test_diffuse_light_begins_at_nothing_and_ends_at_all():
    mean_square = np.full(len(STOL), 7.0)
    diffuse = diffuse_intensity(mean_square, B_A2=30.0, stol=STOL)
    assert diffuse[0] == 0
    np.testing.assert_allclose(diffuse[1:4], 7.0 * 2 * 30 * STOL[1:4] ** 2, rtol=2e-2)
    np.testing.assert_allclose(diffuse[-50:], 7.0, rtol=1e-9)
    assert not diffuse_intensity(mean_square, B_A2=0.0, stol=STOL).any()


def test_compton_light_rises_from_nothing_towards_all_electrons():
    with_hydrogens = (*PROTEIN, ("H", 785.5))
    S = compton_intensity(PROTEIN, stol=STOL)
    assert S[0] == pytest.approx(0, abs=1e-9)
    assert np.all(np.diff(S) > 0)
    assert 0.9 * electrons(with_hydrogens) < S[-1] < electrons(with_hydrogens)
    listed = compton_intensity(with_hydrogens, stol=STOL)
    np.testing.assert_allclose(S, listed, rtol=1e-4, atol=1e-6)


def test_photons_are_the_cells_intensity_times_their_number_in_every_pixel():
    stol = sin_theta(DETECTOR) / 1.3
    S = sum(count * incoherent(element, STOL) for element, count in PROTEIN)
    pulse = Pulse(beam=BEAM, photons=1e12, wavelength_A=1.3)
    found = disorder_photons(S, cells=2e6, pulse=pulse, detector=DETECTOR)
    expected = sum(count * incoherent(element, stol) for element, count in PROTEIN)
    expected *= 2e6 * R_E_SQR_M2 * BEAM.fluence(1e12) * beam_factors(DETECTOR, BEAM)
    np.testing.assert_allclose(found, expected, rtol=1e-4)


def test_a_list_of_reflections_scatters_by_compton_as_the_protein_that_fills_its_cell(tmp_path):
    path = tmp_path / "one.hkl"
    path.write_text("1 0 0 50\n2 1 3 40\n")
    source = Reflections(file=str(path), cell=(40, 50, 60, 90, 90, 90), space_group="P 1")
    found = experiment_of(source, compton=True).cell_intensity()
    np.testing.assert_allclose(found, compton_intensity(protein_of(40 * 50 * 60), stol=STOL))
    # photosystem II: 9.3e6 A^3 for 200,000 atoms, in a cell with more solvent than most
    assert 1 < sum(n for _, n in protein_of(133.25 * 226.26 * 307.09)) / 200_000 < 1.5
