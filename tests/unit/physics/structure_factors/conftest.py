import gemmi
import numpy as np
import pytest


@pytest.fixture
def crystal():
    """Forty atoms of several elements at random places, with B factors of 10 to 40 A^2."""
    rng = np.random.default_rng(5)
    structure = gemmi.Structure()
    structure.cell = gemmi.UnitCell(31, 37, 43, 90, 90, 90)
    structure.spacegroup_hm = "P 21 21 21"
    chain = gemmi.Chain("A")
    for number in range(40):
        residue = gemmi.Residue()
        residue.name, residue.seqid = "ALA", gemmi.SeqId(number + 1, " ")
        atom = gemmi.Atom()
        atom.name, atom.element = "CA", gemmi.Element(["C", "N", "O", "S", "Fe"][number % 5])
        atom.pos = structure.cell.orthogonalize(gemmi.Fractional(*rng.random(3)))
        atom.b_iso = rng.uniform(10, 40)
        residue.add_atom(atom)
        chain.add_residue(residue)
    model = gemmi.Model(1)
    model.add_chain(chain)
    structure.add_model(model)
    structure.setup_entities()
    return structure


@pytest.fixture
def pdb_file(tmp_path, crystal):
    path = tmp_path / "crystal.pdb"
    path.write_text(crystal.make_pdb_string())
    return path


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory, monkeypatch):
    """Keep every test away from the user's cache, and from the others'."""
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("DEEPFREAK_CACHE", str(folder))
    return folder
