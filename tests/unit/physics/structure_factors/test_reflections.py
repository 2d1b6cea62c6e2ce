import gemmi
import numpy as np
import pytest

from deepfreak.errors import StructureError
from deepfreak.physics.structure_factors.reflections import from_hkl_text, from_mtz

CELL = (40, 50, 60, 90, 90, 90)


def write_mtz(path, columns, *, space_group="P 21 21 21", cell=CELL):
    """An MTZ of three reflections; `columns` maps (label, type) to their values."""
    mtz = gemmi.Mtz(with_base=True)
    mtz.spacegroup = gemmi.SpaceGroup(space_group)
    mtz.set_cell_for_all(gemmi.UnitCell(*cell))
    mtz.add_dataset("x")
    for label, kind in columns:
        mtz.add_column(label, kind)
    hkl = [[1, 2, 3], [2, 0, 0], [4, 1, 1]]
    mtz.set_data(np.column_stack([hkl, *columns.values()]).astype(np.float32))
    mtz.write_to_file(str(path))
    return path


def test_mtz_is_expanded_by_its_symmetry_and_gaps_stay_unlisted(tmp_path):
    path = write_mtz(tmp_path / "a.mtz", {("FMODEL", "F"): [10, np.nan, 30]})
    factors = from_mtz(path, default_F=5)
    assert factors.lookup(-1, 2, -3) == 10
    assert factors.lookup(1, -2, -3) == 10
    assert factors.lookup(-4, -1, -1) == 30
    assert factors.lookup(2, 0, 0) == 5
    assert factors.space_group == "P 21 21 21"
    assert factors.d_min_A == pytest.approx(gemmi.UnitCell(*CELL).calculate_d([4, 1, 1]))


def with_cells(path, *, whole, own):
    """An MTZ whose CELL and whose column's DCELL are these."""
    mtz = gemmi.read_mtz_file(str(write_mtz(path, {("F", "F"): [10, 20, 30]})))
    mtz.cell = gemmi.UnitCell(*whole)
    mtz.datasets[mtz.column_with_label("F").dataset_id].cell = gemmi.UnitCell(*own)
    mtz.write_to_file(str(path))
    return path


NO_CELL, OTHER_CELL = (1, 1, 1, 90, 90, 90), (41, 51, 61, 90, 90, 90)


@pytest.mark.parametrize(
    ("whole", "own", "taken"),
    [
        (CELL, OTHER_CELL, OTHER_CELL),
        (NO_CELL, OTHER_CELL, OTHER_CELL),
        (CELL, NO_CELL, CELL),
        (CELL, (0, 0, 0, 0, 0, 0), CELL),
    ],
)
def test_the_cell_is_that_of_the_columns_data_set(tmp_path, whole, own, taken):
    path = with_cells(tmp_path / "a.mtz", whole=whole, own=own)
    assert from_mtz(path).cell == taken


@pytest.mark.parametrize("none", [NO_CELL, (0, 0, 0, 0, 0, 0), (0, 0, 0, 90, 90, 90)])
def test_an_mtz_without_a_cell_is_rejected(tmp_path, none):
    with pytest.raises(StructureError, match="expected .*cell"):
        from_mtz(with_cells(tmp_path / "a.mtz", whole=none, own=none))


@pytest.mark.parametrize("flag", [-999, -1e10, 0, 1e30, float("nan")])
def test_the_number_that_stands_for_a_missing_one_is_missing(tmp_path, flag):
    path = write_mtz(tmp_path / "a.mtz", {("F", "F"): [10, flag, 30]})
    mtz = gemmi.read_mtz_file(str(path))
    mtz.valm = flag
    mtz.write_to_file(str(path))
    factors = from_mtz(path, default_F=7)
    assert [factors.lookup(*hkl) for hkl in ([1, 2, 3], [2, 0, 0], [4, 1, 1])] == [10, 7, 30]


def test_calculated_amplitudes_go_before_observed_ones(tmp_path):
    columns = {("FP", "F"): [1, 1, 1], ("SIGFP", "Q"): [0, 0, 0], ("FC", "F"): [2, 2, 2]}
    path = write_mtz(tmp_path / "a.mtz", columns)
    assert from_mtz(path).lookup(1, 2, 3) == 2
    assert from_mtz(path, column="FP").lookup(1, 2, 3) == 1


@pytest.mark.parametrize("column", [None, "F", "F(+)", "F(-)"])
def test_an_anomalous_pair_is_read_as_one(tmp_path, column):
    columns = {("F(+)", "G"): [10, 20, 30], ("F(-)", "G"): [11, 20, np.nan]}
    factors = from_mtz(write_mtz(tmp_path / "a.mtz", columns), column=column)
    assert factors.lookup(-1, -2, 3) == 10
    assert factors.lookup(-1, -2, -3) == 11
    # Without a measured mate Friedel's law has to do.
    assert factors.lookup(-4, -1, -1) == 30


@pytest.mark.parametrize(
    ("columns", "column", "complaint"),
    [
        ({("A", "F"): [1, 1, 1], ("B", "F"): [1, 1, 1]}, None, "found A, B"),
        ({("F", "F"): [1, 1, 1]}, "FC", "'FC', found F"),
        ({("IMEAN", "J"): [1, 1, 1]}, None, "found only H, K, L, IMEAN"),
        ({("F", "F"): [1, -1, 1]}, None, "found -1"),
        ({("F", "F"): [np.nan] * 3}, None, "found none"),
    ],
)
def test_an_mtz_without_clear_amplitudes_is_rejected(tmp_path, columns, column, complaint):
    with pytest.raises(StructureError, match=complaint):
        from_mtz(write_mtz(tmp_path / "a.mtz", columns), column=column)


def test_what_is_no_mtz_is_rejected(tmp_path):
    path = tmp_path / "a.mtz"
    for content in (b"", b"MTZ ", b"1 2 3 4\n" * 100):
        path.write_bytes(content)
        with pytest.raises(StructureError, match="expected an MTZ file"):
            from_mtz(path)
    with pytest.raises(StructureError, match="No such file"):
        from_mtz(tmp_path / "missing.mtz")


def test_a_truncated_mtz_is_rejected(tmp_path):
    path = write_mtz(tmp_path / "a.mtz", {("F", "F"): [1, 2, 3]})
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(StructureError, match="expected an MTZ file"):
        from_mtz(path)


def test_text_in_P1_is_taken_as_listed_and_the_last_value_wins(tmp_path):
    path = tmp_path / "P1.hkl"
    path.write_text("1 2 3 10\n-1 -2 -3 11.5\n\n# comment\n 4 0 0 1\n4 0 0 2 # again\n")
    factors = from_hkl_text(path, cell=CELL, default_F=3)
    assert factors.lookup(1, 2, 3) == 10
    assert factors.lookup(-1, -2, -3) == 11.5
    assert factors.lookup(4, 0, 0) == 2
    assert factors.lookup(-4, 0, 0) == 2
    assert factors.lookup(-1, 2, 3) == 3
    assert factors.F.shape == (9, 5, 7)


def test_text_is_expanded_by_a_space_group_if_one_is_given(tmp_path):
    path = tmp_path / "asu.hkl"
    path.write_text("1 2 3 10\n")
    factors = from_hkl_text(path, cell=CELL, space_group="P 21 21 21")
    assert np.count_nonzero(factors.F) == 8


@pytest.mark.parametrize(
    "bad", ["1 2 3", "1 2 3 4 5", "1 2 x 4", "1.5 2 3 4", "nan 2 3 4", "<html>", "1,2,3,4"]
)
def test_a_malformed_line_is_named_by_its_number(tmp_path, bad):
    path = tmp_path / "bad.hkl"
    path.write_text(f"# comment\n\n1 2 3 4\n{bad}\n1 2 4 4\n")
    with pytest.raises(StructureError, match=r"line 4: expected 'h k l F'"):
        from_hkl_text(path, cell=CELL)


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"", "found none"),
        (b"# nothing\n", "found none"),
        (b"1 2 3 -4\n", "found -4"),
        (b"1 2 3 nan\n", "found nan"),
        (b"999999 999999 999999 4\n", "at most 4e"),
        (b"1e300 0 0 4\n", "at most 4e"),
        (b"inf 0 0 4\n", "at most 4e"),
        (b"\xff\xfe\x00\x01\n", "line 1"),
    ],
)
def test_an_unusable_list_is_rejected(tmp_path, content, complaint):
    path = tmp_path / "bad.hkl"
    path.write_bytes(content)
    with pytest.raises(StructureError, match=complaint) as caught:
        from_hkl_text(path, cell=CELL)
    assert "bad.hkl" in str(caught.value)
