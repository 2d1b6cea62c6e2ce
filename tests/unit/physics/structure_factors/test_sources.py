import gzip
import re
import shutil
import tomllib
from pathlib import Path

import gemmi
import numpy as np
import pydantic
import pytest

from deepfreak.errors import StructureError
from deepfreak.physics.structure_factors import (
    Model,
    Reflections,
    StructureSource,
    Wilson,
    source_of_file,
    structure_factors_for,
)
from deepfreak.physics.structure_factors.model import from_model
from deepfreak.physics.structure_factors.wilson import wilson

WILSON = Wilson(
    cell=(40, 50, 60, 90, 90, 90), space_group="P 21 21 21", atoms_per_asu=500, B_A2=30, seed=3
)
ADAPTER = pydantic.TypeAdapter(StructureSource)


def test_each_source_gives_what_its_own_module_computes(pdb_file):
    table = {
        WILSON: wilson(
            cell=WILSON.cell,
            space_group=WILSON.space_group,
            atoms_per_asu=500,
            B_A2=30,
            d_min_A=4,
            seed=3,
        ),
        Model(file=str(pdb_file), k_sol=0.2): from_model(pdb_file, d_min_A=4, k_sol=0.2),
    }
    for source, expected in table.items():
        for _ in ("computed", "from the cache"):
            found = structure_factors_for(source, 4)
            np.testing.assert_array_equal(found.F, expected.F)
            assert found.source == expected.source


def test_resolution_and_settings_are_not_mixed_up_in_the_cache(pdb_file):
    source = Model(file=str(pdb_file))
    coarse, fine = (structure_factors_for(source, d_min).F.shape for d_min in (5, 4))
    assert coarse < fine
    wet, dry = (
        structure_factors_for(Model(file=str(pdb_file), k_sol=k_sol), 4).lookup(0, 0, 2)
        for k_sol in (0.35, 0.0)
    )
    assert wet != dry


def test_a_file_that_changed_is_read_anew(pdb_file):
    source = Model(file=str(pdb_file))
    before = structure_factors_for(source, 4)
    lines = pdb_file.read_text().splitlines(keepends=True)
    pdb_file.write_text("".join(line for line in lines if " FE " not in line[70:]))
    assert not np.array_equal(structure_factors_for(source, 4).F, before.F)


def test_an_entry_that_was_not_fetched_is_asked_for():
    with pytest.raises(StructureError, match="run `deepfreak data fetch 4RVY`"):
        structure_factors_for(Model(file="pdb:4RVY"), 4)


def test_an_entry_that_was_fetched_is_found(own_cache, crystal):
    (own_cache / "pdb").mkdir()
    text = crystal.make_mmcif_document().as_string()
    (own_cache / "pdb" / "4RVY.cif.gz").write_bytes(gzip.compress(text.encode()))
    for name in ("pdb:4RVY", "pdb:4rvy", "pdb:pdb_00004rvy"):
        assert structure_factors_for(Model(file=name), 4).F.any()


def test_reflections_need_a_cell_unless_the_file_has_one(tmp_path):
    path = tmp_path / "a.hkl"
    path.write_text("1 2 3 4\n")
    with pytest.raises(StructureError, match="give `cell`"):
        structure_factors_for(Reflections(file=str(path)), 4)
    with pytest.raises(StructureError, match="expected an MTZ"):
        structure_factors_for(Reflections(file=str(path), cell=WILSON.cell, column="F"), 4)
    found = structure_factors_for(Reflections(file=str(path), cell=WILSON.cell, default_F=2), 4)
    assert found.lookup(-1, -2, -3) == 4
    assert found.lookup(9, 9, 9) == 2
    shutil.copy(path, tmp_path / "a.mtz")
    with pytest.raises(StructureError, match="leave yours out"):
        structure_factors_for(Reflections(file=str(tmp_path / "a.mtz"), cell=WILSON.cell), 4)


def test_an_mtz_of_a_model_gives_back_its_structure_factors(tmp_path, pdb_file):
    model = structure_factors_for(Model(file=str(pdb_file)), 4)
    cell, group = gemmi.UnitCell(*model.cell), gemmi.SpaceGroup(model.space_group)
    hkl = gemmi.make_miller_array(cell, group, 4)
    mtz = gemmi.Mtz(with_base=True)
    mtz.spacegroup = group
    mtz.set_cell_for_all(cell)
    mtz.add_dataset("x")
    mtz.add_column("FMODEL", "F")
    mtz.set_data(np.column_stack([hkl, model.lookup(*hkl.T)]).astype(np.float32))
    mtz.write_to_file(str(tmp_path / "model.mtz"))
    found = structure_factors_for(source_of_file(str(tmp_path / "model.mtz")), 4)
    np.testing.assert_array_equal(found.F, model.F)


@pytest.mark.parametrize(("occupancy", "k_sol"), [(0.0, 0.35), (0.0, 0.0), (1e-6, 0.0)])
def test_a_model_without_occupied_atoms_is_rejected(tmp_path, crystal, occupancy, k_sol):
    for site in crystal[0].all():
        site.atom.occ = occupancy
    path = tmp_path / "none.cif"
    path.write_text(crystal.make_mmcif_document().as_string())
    for _ in range(2):  # computed, and from the cache
        with pytest.raises(StructureError, match="none.cif.*nothing would be diffracted"):
            structure_factors_for(Model(file=str(path), k_sol=k_sol), 4)


@pytest.mark.parametrize("lines", ["1 2 3 0\n4 1 1 0\n", "0 0 0 100\n", "40 0 0 10\n"])
def test_a_list_with_nothing_in_reach_is_rejected(tmp_path, lines):
    path = tmp_path / "a.hkl"
    path.write_text(lines)
    source = Reflections(file=str(path), cell=WILSON.cell, space_group="P 1")
    with pytest.raises(StructureError, match="a.hkl.*to d = 4 A, found none"):
        structure_factors_for(source, 4)
    path.write_text(lines + "2 0 0 1e-9\n")  # a list may be on any scale
    assert structure_factors_for(source, 4).F.max() > 0


@pytest.mark.parametrize("file", ["missing.pdb", "missing.mtz", "missing.hkl"])
def test_a_missing_file_is_rejected(file):
    with pytest.raises(StructureError, match="No such file"):
        structure_factors_for(source_of_file(file), 4)


def test_a_table_of_settings_becomes_the_source_of_its_kind():
    assert ADAPTER.validate_python({"kind": "model", "file": "pdb:4RVY"}) == Model(file="pdb:4RVY")
    table = {
        "kind": "wilson",
        "cell": [40, 50, 60, 90, 90, 90],
        "space_group": "P 21 21 21",
        "atoms_per_asu": 500,
        "B_A2": 30,
        "seed": 3,
    }
    assert ADAPTER.validate_python(table) == WILSON


def test_the_manual_shows_tables_that_are_understood():
    manual = (Path(__file__).parents[4] / "docs" / "structure_factors.md").read_text()
    tables = [tomllib.loads(block) for block in re.findall(r"```toml\n(.*?)```", manual, re.DOTALL)]
    found = [ADAPTER.validate_python(table["crystal"]["structure"]) for table in tables]
    assert [type(source) for source in found] == [Wilson, Model, Reflections]


@pytest.mark.parametrize(
    "table",
    [
        {"kind": "model", "file": "a.pdb", "ksol": 0.3},
        {"kind": "model", "file": "a.pdb", "k_sol": -0.3},
        {"kind": "model", "file": "a.pdb", "B_sol_A2": float("nan")},
        {"kind": "model"},
        {"file": "a.pdb"},
        {"kind": "guess", "file": "a.pdb"},
        {"kind": "reflections", "file": "a.hkl", "cell": [1, 2, 3]},
    ],
)
def test_a_table_that_says_something_else_is_rejected(table):
    with pytest.raises(pydantic.ValidationError):
        ADAPTER.validate_python(table)
