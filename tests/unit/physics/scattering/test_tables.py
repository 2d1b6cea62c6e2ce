"""Tables over sin(theta)/lambda: reading them, and the image they make."""

import numpy as np
import pytest
from numpy.polynomial import Polynomial

from deepfreak.errors import RecipeError
from deepfreak.physics.scattering.amorphous import (
    interpolate,
    read_stol,
    scatter_from_table,
)

STOL = np.linspace(0, 0.5, 51)
WIGGLE = 5 + np.sin(40 * STOL) + 3 * np.exp(-(((STOL - 0.16) / 0.03) ** 2))


def write(folder, text):
    path = folder / "ice.stol"
    path.write_text(text)
    return path


def test_two_columns_are_read_and_comments_skipped(tmp_path):
    path = write(tmp_path, "# stol F\n\n0 2.57\n 0.01\t2.6 # water\n0.02 2.7e0\n")
    stol, F = read_stol(path)
    np.testing.assert_array_equal(stol, [0, 0.01, 0.02])
    np.testing.assert_array_equal(F, [2.57, 2.6, 2.7])


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("0 1\n0.2 1\n0.1 1\n", "line 3: .* sort the table"),
        ("0 1\n0.1 1\n0.1 2\n", "line 3: .* sort the table"),
        ("-0.1 1\n0.1 1\n0.2 2\n", "line 1: .* from 0 upwards"),
        ("0 1\n# fine\n0.1 one\n", "line 3: expected .* found '0.1 one'"),
        ("0 1 2\n", "line 1"),
        ("0 nan\n", "line 1"),
        ("0 1\n0.1 1\n", "at least 3 rows"),
        ("", "at least 3 rows, found 0|found 0"),
    ],
)
def test_a_table_that_cannot_be_used_is_rejected_in_one_line(tmp_path, text, complaint):
    with pytest.raises(RecipeError, match=complaint) as refused:
        read_stol(write(tmp_path, text))
    assert "\n" not in str(refused.value)


def test_a_missing_or_binary_file_is_rejected_in_one_line(tmp_path):
    with pytest.raises(RecipeError, match="cannot be read"):
        read_stol(tmp_path / "nothing.stol")
    path = tmp_path / "a.stol"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(RecipeError, match="binary"):
        read_stol(path)


def test_interpolation_is_the_polynomial_through_the_neighbours():
    rng = np.random.default_rng(1)
    x = np.sort(rng.uniform(STOL[1], STOL[-2], 200))
    found = interpolate(x, STOL, WIGGLE)
    for value, at in zip(found, x, strict=True):
        i = int(np.searchsorted(STOL, at, side="right")) - 1
        near = slice(i - 1, i + 3)
        cubic = Polynomial.fit(STOL[near], WIGGLE[near], 3)
        assert value == pytest.approx(cubic(at), rel=1e-10)


def test_end_values_repeat_beyond_the_table():
    found = interpolate(np.array([0.0, 0.05, 0.1, 0.4, 9.0]), STOL[10:40], WIGGLE[10:40])
    np.testing.assert_array_equal(found[:3], WIGGLE[10])
    np.testing.assert_array_equal(found[3:], WIGGLE[39])


@pytest.mark.parametrize("wavelength", [0.3, 1.0, 1.5])
def test_the_image_is_the_table_interpolated_at_every_pixel(wavelength):
    rng = np.random.default_rng(2)
    sines = rng.uniform(0, 0.6, (70, 90))
    factors = rng.uniform(1e-6, 2e-6, (70, 90))
    image = np.empty((70, 90), dtype=np.float32)
    scatter_from_table(
        image,
        stol=STOL,
        F=WIGGLE,
        sin_theta=sines,
        wavelength=wavelength,
        factors=factors,
        strength=3e7,
    )
    F = interpolate((sines / wavelength).ravel(), STOL, WIGGLE).reshape(sines.shape)
    np.testing.assert_allclose(image, 3e7 * F**2 * factors, rtol=1e-6)
