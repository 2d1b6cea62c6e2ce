"""MOSFLM matrices, read as nanoBragg's `-mat` reads them."""

import json
from pathlib import Path

import numpy as np
import pytest

from deepfreak.errors import StructureError
from deepfreak.physics.crystal import read_mosflm_matrix

# of a cell of 40 x 50 x 60 A at 1.5 A, and the same as MOSFLM's fixed columns print it
ROWS = ((0.0375, 0.0, 0.0), (0.0, 0.03, 0.0), (0.0, 0.0, 0.025))


def written(path: Path, text: str) -> Path:
    """Write `text` and return where."""
    path.write_text(text)
    return path


def test_columns_are_the_reciprocal_axes_times_the_wavelength(tmp_path: Path) -> None:
    path = written(tmp_path / "A.mat", "1e-2 2e-2 3e-2\n-4e-2 5e-2 6e-2\n7e-2 8e-2 15e-2\n")
    found = read_mosflm_matrix(path, 0.5)
    expected = np.array([[0.01, -0.04, 0.07], [0.02, 0.05, 0.08], [0.03, 0.06, 0.15]]) / 0.5
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_what_follows_the_matrix_changes_nothing(tmp_path: Path) -> None:
    matrix = "".join("".join(f"{x:12.8f}" for x in row) + "\n" for row in ROWS)
    rest = "       0.000       0.000       0.000\n" + "   1.0000000   0.0   0.0\n" * 3
    rest += "     40.0000     50.0000     60.0000     90.0000     90.0000     90.0000\n"
    short = read_mosflm_matrix(written(tmp_path / "short.mat", matrix), 1.5)
    long = read_mosflm_matrix(written(tmp_path / "long.mat", matrix + rest), 1.5)
    np.testing.assert_array_equal(short, long)
    np.testing.assert_allclose(short, np.diag([1 / 40, 1 / 50, 1 / 60]), rtol=1e-7)


def test_a_sign_may_touch_the_number_before_it(tmp_path: Path) -> None:
    touching = written(tmp_path / "a.mat", "  0.0100-0.0200 0.0100\n 0.02 0.01-0.01\n0.01 0.0 0.03")
    spaced = written(tmp_path / "b.mat", "0.01 -0.02 0.01\n0.02 0.01 -0.01\n0.01 0.0 0.03\n")
    np.testing.assert_array_equal(read_mosflm_matrix(touching, 1), read_mosflm_matrix(spaced, 1))


def test_it_gives_the_cell_that_nanobragg_used(shared: Path, tmp_path: Path) -> None:
    state = json.loads((shared / "reference/psii_0.json").read_text())["state"]
    reciprocal = np.array([state["a_star"], state["b_star"], state["c_star"]])
    lines = "\n".join(" ".join(f"{x:.17g}" for x in row) for row in 1.5 * reciprocal.T)
    found = read_mosflm_matrix(written(tmp_path / "A.mat", lines), 1.5)
    real_axes_A = 1e10 * np.array([state["a0"], state["b0"], state["c0"]])
    np.testing.assert_allclose(np.linalg.inv(found).T, real_axes_A, rtol=1e-9, atol=1e-6)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "nine numbers"),
        ("0.1 0 0\n0 0.1 0\n0 0", "nine numbers"),
        ("CELL 40 50 60 90 90 90", "nine numbers, found 'CELL 40"),
        ("0.1 0 0\n0 0.1 0\n0 0 nan", "nine numbers"),
        ("0.1 0 0\n0 0.1 0\n0 0 -0.1", "right-handed"),
        ("0.1 0.2 0\n0 0 0\n0 0 0.1", "right-handed"),
        ("0 0 0\n0 0 0\n0 0 0", "right-handed"),
        ("1e999 0 0\n0 1 0\n0 0 1", "right-handed"),
    ],
)
def test_what_is_no_matrix_is_rejected_in_one_line(text: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(StructureError, match=said) as caught:
        read_mosflm_matrix(written(tmp_path / "A.mat", text), 1.5)
    assert "\n" not in str(caught.value)
    assert "A.mat" in str(caught.value)


def test_a_missing_matrix_is_named(tmp_path: Path) -> None:
    with pytest.raises(StructureError, match=r"no\.mat: cannot be read"):
        read_mosflm_matrix(tmp_path / "no.mat", 1.5)
