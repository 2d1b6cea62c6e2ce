import gzip

import pytest

from deepfreak.errors import StructureError
from deepfreak.physics.structure_factors.model import from_model, read_coordinates


def test_pdb_and_mmcif_plain_and_gzipped_are_the_same_crystal(tmp_path, crystal):
    pdb = crystal.make_pdb_string().encode()
    cif = b"# a comment\n\n" + crystal.make_mmcif_document().as_string().encode()
    contents = {
        "a.pdb": pdb,
        "a.cif": cif,
        "a.pdb.gz": gzip.compress(pdb),
        "a.cif.gz": gzip.compress(cif),
        "misnamed.txt": cif,
    }
    for name, content in contents.items():
        path = tmp_path / name
        path.write_bytes(content)
        found = read_coordinates(path)
        assert found.cell.parameters == pytest.approx(crystal.cell.parameters), name
        assert found.spacegroup_hm == "P 21 21 21", name
        assert found[0].count_atom_sites() == 40, name


def without(text, *records):
    return "".join(line for line in text.splitlines(True) if not line.startswith(records))


@pytest.mark.parametrize(
    ("damaged", "complaint"),
    [
        (lambda text: without(text, "CRYST1"), "unit cell"),
        (lambda text: without(text, "ATOM", "HETATM"), "with atoms, found none"),
        (lambda text: text.replace("P 21 21 21", "P 43 21 2 "), "a = b"),
        (lambda text: text.replace("P 21 21 21", "Q 21 21 21"), "Hermann-Mauguin"),
        (lambda text: text.replace("P 21 21 21", "          "), "space group"),
        (lambda _: "", "atoms, found none"),
        (lambda _: "<html><body>Not found</body></html>", "atoms, found none"),
        (lambda _: "data_x\n_cell.length_a 1\n", "atoms, found none"),
        (lambda _: "data_x\nloop_\n_a.b\n", "PDB or mmCIF"),
        (lambda _: bytes(range(256)) * 20, "atoms, found none"),
        (lambda text: gzip.compress(text.encode())[:-20], "intact gzip"),
        (lambda text: gzip.compress(text.encode())[:300] + b"\xff" * 300, "intact gzip"),
    ],
)
def test_an_unusable_file_is_rejected_in_one_line_that_names_it(
    tmp_path, pdb_file, damaged, complaint
):
    content = damaged(pdb_file.read_text())
    path = tmp_path / "bad.pdb"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(StructureError, match=complaint) as caught:
        from_model(path, d_min_A=4)
    assert "\n" not in str(caught.value)
    assert "bad.pdb" in str(caught.value)


def test_a_missing_file_is_rejected(tmp_path):
    with pytest.raises(StructureError, match="No such file"):
        read_coordinates(tmp_path / "missing.pdb")


def test_a_gzip_bomb_stops_at_the_limit(tmp_path):
    path = tmp_path / "bomb.pdb.gz"
    path.write_bytes(gzip.compress(b"REMARK\n" * 1_000_000))
    with pytest.raises(StructureError, match="at most 1 MB"):
        read_coordinates(path, max_bytes=1_000_000)


def test_an_atom_without_a_place_is_rejected(tmp_path, crystal):
    text = crystal.make_mmcif_document().as_string()
    x = f"{crystal[0][0][3][0].pos.x:.3f}".rstrip("0")
    assert x in text
    path = tmp_path / "bad.cif"
    path.write_text(text.replace(x, "?", 1))
    with pytest.raises(StructureError, match="expected numbers"):
        read_coordinates(path)


def test_a_map_too_large_for_memory_is_rejected(pdb_file):
    with pytest.raises(StructureError, match="d_min_A"):
        from_model(pdb_file, d_min_A=0.15)
