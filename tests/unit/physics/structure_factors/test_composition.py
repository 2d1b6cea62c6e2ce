"""Which atoms a cell has: what diffuse and Compton scattering need beside the amplitudes."""

from collections import Counter

import numpy as np
import pytest

from deepfreak.physics.structure_factors import (
    Model,
    Reflections,
    Wilson,
    structure_factors_for,
)
from deepfreak.physics.structure_factors.wilson import AVERAGINE


def test_a_model_counts_its_atoms_in_every_copy_by_occupancy(pdb_file, crystal):
    text = pdb_file.read_text().replace("  1.00", "  0.50", 4)
    pdb_file.write_text(text)
    found = dict(structure_factors_for(Model(file=str(pdb_file)), 5.0).composition)
    atoms = Counter(site.atom.element.name for site in crystal[0].all())
    assert sum(atoms.values()) == 40
    # P 21 21 21 has four copies of each; the first four atoms, C N O S, count half
    expected = {element: 4.0 * (n - (element != "Fe") * 0.5) for element, n in atoms.items()}
    assert found == pytest.approx(expected)


@pytest.mark.parametrize(("space_group", "copies"), [("P 21 21 21", 4), ("I 2 2 2", 8)])
def test_wilson_has_the_mean_proteins_atoms_in_every_copy(space_group, copies):
    source = Wilson(
        cell=(40, 50, 60, 90, 90, 90),
        space_group=space_group,
        atoms_per_asu=1000,
        B_A2=30,
        seed=1,
    )
    found = dict(structure_factors_for(source, 6.0).composition)
    assert sum(found.values()) == pytest.approx(1000 * copies)
    assert found["C"] / found["N"] == pytest.approx(AVERAGINE["C"] / AVERAGINE["N"])


def test_the_mean_square_amplitude_is_what_the_composition_scatters():
    from deepfreak.physics.scattering.atoms import coherent

    source = Wilson(
        cell=(60, 60, 60, 90, 90, 90),
        space_group="P 1",
        atoms_per_asu=1000,
        B_A2=0,
        k_sol=0,
        seed=1,
    )
    factors = structure_factors_for(source, 3.0)
    hkl = np.argwhere(factors.F) + factors.hkl_min
    stol = np.linalg.norm(hkl, axis=1) / 60 / 2
    shell = stol > 0.14
    atoms = sum(count * coherent(e, stol[shell]) ** 2 for e, count in factors.composition)
    F_sqr = factors.lookup(*hkl[shell].T).astype(float) ** 2
    assert F_sqr.mean() == pytest.approx(atoms.mean(), rel=0.05)


def test_a_list_of_reflections_names_no_atoms(tmp_path):
    path = tmp_path / "P1.hkl"
    path.write_text("1 2 3 10\n")
    source = Reflections(file=str(path), cell=(10, 20, 30, 90, 90, 90))
    assert structure_factors_for(source, 2.0).composition == ()


def test_a_composition_survives_the_cache(pdb_file):
    first, again = (structure_factors_for(Model(file=str(pdb_file)), 5.0) for _ in range(2))
    assert first.composition == again.composition
    assert all(type(pair) is tuple for pair in again.composition)
    # a key of another cache needs it
    hash(again.composition)
