"""Light without a crystal, painted as it was described; shadows over it."""

import math

import numpy as np
import pytest

from deepfreak.varied import stray
from deepfreak.varied.shadows import APERTURE, ARM, DISC, WEDGE, darken, draw_shadows, transmission
from deepfreak.varied.stray import Light


def light(level=0.0, shape=(203, 317), center=(90.0, 160.0)):
    return Light(shape=shape, center_px=center, level=level)


def radii(shape=(203, 317), center=(90.0, 160.0)):
    slow, fast = np.indices(shape) + 0.5
    return np.hypot(slow - center[0], fast - center[1])


@pytest.mark.parametrize("center", [(90.0, 160.0), (-150.0, 500.0), (90.5, 160.5)])
@pytest.mark.parametrize("inner", [0.0, 60.0])
def test_radial_light_is_a_function_of_the_radius(center, inner):
    made = light(center=center)
    made.add_radial(lambda r: np.where(r < inner, 0, 100 / (10 + r)))
    r = radii(center=center)
    expected = np.where(r < inner, 0, 100 / (10 + r))
    away = np.abs(r - inner) > 1
    assert made.paint()[away] == pytest.approx(expected[away], rel=2e-3)


def test_smooth_light_is_linear_between_the_points_of_its_grid():
    made = light()
    slow, fast = made.grid()
    made.add_smooth(5 + 0.01 * slow + 0.02 * fast)
    slow, fast = np.indices((203, 317)) + 0.5
    assert made.paint() == pytest.approx(5 + 0.01 * (slow - 90) + 0.02 * (fast - 160), rel=1e-5)
    made.multiply(np.full((27, 41), 2.0))
    assert made.paint().mean() == pytest.approx(2 * (5 + 0.01 * 11.5 - 0.02 * 1.5), rel=1e-4)


@pytest.mark.parametrize("seed", range(6))
def test_the_level_is_about_what_was_asked_for(seed):
    made = light(level=3.0)
    stray.level(made, np.random.default_rng(seed))
    assert 1 < np.median(made.paint()) < 9


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(
    "add",
    [
        stray.solvent,
        stray.halo,
        stray.streak,
        stray.tube,
        stray.layer_lines,
        stray.shading,
        stray.moire,
    ],
)
def test_every_kind_adds_or_changes_light_and_leaves_it_finite(add, seed):
    plain, made = light(level=2.0), light(level=2.0)
    plain.add_smooth(2.0)
    made.add_smooth(2.0)
    add(made, np.random.default_rng(seed))
    image = made.paint()
    assert np.isfinite(image).all()
    assert image.min() >= 0
    assert np.abs(image - plain.paint()).max() > 0.02


def test_a_streak_is_the_formula_at_every_pixel():
    made = light()
    stray.streak(made, np.random.default_rng(4))
    image = made.paint()
    slow, fast = np.indices(image.shape) + 0.5
    mirrored = 2 * np.array([90.0, 160.0]) - 0.5
    inside = (mirrored[0] - slow >= 0) & (mirrored[0] - slow < 203)
    inside &= (mirrored[1] - fast >= 0) & (mirrored[1] - fast < 317)
    rows, columns = (mirrored[0] - slow)[inside], (mirrored[1] - fast)[inside]
    # a streak through the beam is the same on both sides of it
    opposite = image[rows.astype(int), columns.astype(int)]
    assert image[inside] == pytest.approx(opposite, rel=1e-3, abs=1e-3)
    assert image.max() > 10 * np.median(image)


SHADOWS = np.array(
    [
        (DISC, 90.0, 160.0, 0.0, 0.0, 20.0, 3.0, 0.1),
        (ARM, 90.0, 160.0, 0.7, 0.0, 6.0, 2.0, 0.5),
        (ARM, 90.0, 160.0, 0.0, 0.0, 6.0, 2.0, 0.5),
        (WEDGE, 150.0, 250.0, 2.0, 3.1, 0.0, 8.0, 0.3),
        (APERTURE, 100.0, 150.0, 0.0, 0.0, 130.0, 5.0, 0.2),
    ]
)


@pytest.mark.parametrize("rows", [slice(k, k + 1) for k in range(5)] + [slice(None)])
def test_a_canvas_is_darkened_as_each_of_its_places(rows):
    image = np.ones((203, 317), np.float32)
    darken(image, SHADOWS[rows])
    slow, fast = np.indices(image.shape) + 0.5
    expected = transmission(SHADOWS[rows], slow.ravel(), fast.ravel()).reshape(image.shape)
    assert image == pytest.approx(expected, rel=1e-5)
    assert image.min() < 0.6
    assert image.max() == 1


def test_a_beamstops_arm_points_one_way():
    places = np.array([50.0, -50.0])
    found = transmission(SHADOWS[1:2], 90 + places * math.sin(0.7), 160 + places * math.cos(0.7))
    assert found == pytest.approx([0.5, 1.0])


def test_half_of_the_setups_have_a_beamstop_near_the_beam():
    rng = np.random.default_rng(0)
    drawn = [draw_shadows(rng, (500, 400), (240.0, 210.0)) for _ in range(300)]
    stops = [table for table in drawn if len(table) and table[0, 0] == DISC]
    assert 0.4 < len(stops) / 300 < 0.6
    assert all(np.hypot(*(table[0, 1:3] - (240, 210))) < table[0, 5] for table in stops)
    assert all(
        (table[:, 7] >= 0).all() and (table[:, 7] <= 1).all() for table in drawn if len(table)
    )
