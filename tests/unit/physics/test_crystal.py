"""How cells, domains and crystals are laid out."""

import json
from pathlib import Path

import gemmi
import numpy as np
import pytest
from pydantic import ValidationError

from deepfreak.physics.crystal import (
    Crystal,
    Orientation,
    Spindle,
    random_strain,
    real_axes,
    rotation_about,
)
from deepfreak.physics.structure_factors import Wilson

WILSON = Wilson(
    cell=(40, 50, 60, 90, 90, 90), space_group="P 1", atoms_per_asu=100, B_A2=20, seed=0
)


@pytest.mark.parametrize(
    "cell", [(40, 50, 60, 80, 95, 105), (79, 79, 38, 90, 90, 120), (30, 40, 50, 90, 100, 90)]
)
def test_axes_have_the_cells_lengths_and_angles(cell: tuple[float, ...]) -> None:
    axes = real_axes(cell)
    found = gemmi.UnitCell(*cell)
    lengths = np.linalg.norm(axes, axis=1)
    np.testing.assert_allclose(lengths, cell[:3])
    cosines = [axes[i] @ axes[j] / lengths[i] / lengths[j] for i, j in ((1, 2), (0, 2), (0, 1))]
    np.testing.assert_allclose(np.degrees(np.arccos(cosines)), cell[3:])
    assert np.linalg.det(axes) == pytest.approx(found.volume)
    # nanoBragg's setting: a* along x, c along z
    np.testing.assert_allclose(np.linalg.inv(axes).T[0, 1:], 0, atol=1e-15)
    np.testing.assert_allclose(axes[2, :2], 0, atol=1e-12)


def test_misset_angles_turn_as_in_the_reference(shared: Path) -> None:
    state = json.loads((shared / "reference/psii_0.json").read_text())["state"]
    unturned = real_axes((133.25, 226.26, 307.09, 90, 90, 90))
    axes = Orientation(misset_deg=(10, 20, 30)).turned_axes(unturned, 1.5)
    np.testing.assert_allclose(
        axes, 1e10 * np.array([state["a0"], state["b0"], state["c0"]]), atol=1e-9
    )


def test_rotations_are_right_handed() -> None:
    quarter = rotation_about(np.array([0, 0, 2.0]), np.pi / 2)
    np.testing.assert_allclose(quarter @ [1, 0, 0], [0, 1, 0], atol=1e-15)


def test_spindle_steps_start_at_its_start() -> None:
    rotations = Spindle(axis=(0, 0, 1), start_deg=10, range_deg=4, steps=4).rotations()
    angles = np.degrees(np.arctan2(rotations[:, 1, 0], rotations[:, 0, 0]))
    np.testing.assert_allclose(angles, [10, 11, 12, 13])


@pytest.mark.parametrize(
    ("space_group", "cell"),
    [
        ("P 43 21 2", (79, 79, 38, 90, 90, 90)),
        ("P 63", (100, 100, 50, 90, 90, 120)),
        ("P 1 21 1", (30, 40, 50, 90, 100, 90)),
        ("F 2 3", (70, 70, 70, 90, 90, 90)),
        ("P 1", (40, 50, 60, 80, 95, 105)),
    ],
)
def test_strain_keeps_what_the_space_group_demands(
    space_group: str, cell: tuple[float, ...]
) -> None:
    axes = real_axes(cell)
    strained = axes @ (np.eye(3) + random_strain(space_group, axes, 0.01, np.random.default_rng(3)))
    lengths = np.linalg.norm(strained, axis=1)
    cosines = [
        strained[i] @ strained[j] / lengths[i] / lengths[j] for i, j in ((1, 2), (0, 2), (0, 1))
    ]
    found = gemmi.UnitCell(*lengths, *np.degrees(np.arccos(cosines)))
    assert found.is_compatible_with_spacegroup(gemmi.SpaceGroup(space_group))
    assert abs(lengths / np.array(cell[:3]) - 1).max() > 1e-4


def test_domains_fill_the_size_given() -> None:
    crystal = Crystal(structure=WILSON, size_mm=0.03, domain_size_mm=1e-4)
    axes = real_axes((133.25, 226.26, 307.09, 90, 90, 90))
    np.testing.assert_array_equal(crystal.domain_cells(axes), [8, 5, 4])
    fixed = Crystal(structure=WILSON, size_mm=0.03, Ncells_abc=(3, 4, 5))
    np.testing.assert_array_equal(fixed.domain_cells(axes), [3, 4, 5])


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"interpolate": True}, "interpolation .* not offered"),
        ({"mosaic_spread_deg": 60}, "at most 45"),
        ({"cell_rms": 0.5}, "at most 0.1"),
        ({"oversample": 0}, "greater than or equal to 1"),
    ],
)
def test_senseless_settings_are_rejected(settings: dict[str, object], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        Crystal(structure=WILSON, size_mm=0.03, **settings)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({}, "one of misset_deg, matrix_file and U"),
        ({"misset_deg": (1, 2, 3), "U": ((1, 0, 0), (0, 1, 0), (0, 0, 1))}, "one of"),
        ({"U": ((1, 0, 0), (0, 1, 0), (0, 0, -1))}, "must be a rotation"),
    ],
)
def test_an_orientation_is_told_once_and_is_a_rotation(
    settings: dict[str, object], said: str
) -> None:
    with pytest.raises(ValidationError, match=said):
        Orientation(**settings)
