"""Light without a crystal, drawn as described, with shadows over it."""

import math

import numpy as np
import pytest

from deepfreak.datasets.randomised import stray_light
from deepfreak.datasets.randomised.light import (
    APERTURE,
    ARM,
    DISC,
    WEDGE,
    Light,
    darken,
    draw_shadows,
    transmission,
)
from deepfreak.datasets.randomised.stray_light import _add_layer_lines, _add_streak


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
    stray_light.level(made, np.random.default_rng(seed))
    assert 1 < np.median(made.paint()) < 9


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(
    "add",
    [
        stray_light.solvent,
        stray_light.halo,
        stray_light.streak,
        stray_light.tube,
        stray_light.layer_lines,
        stray_light.shading,
        stray_light.moire,
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


@pytest.mark.parametrize("angle", [0.0, 0.4, math.pi / 2, 2.5])
def test_a_streak_is_the_formula_at_every_pixel(angle):
    image = np.ones((203, 317), np.float32)
    length, narrowest, wider, peak = 40.0, 1.5, 0.02, 80.0
    _add_streak(image, np.array([90.0, 160.0, angle, length, narrowest, wider, peak]))
    slow, fast = np.indices(image.shape) + 0.5 - np.array([90, 160])[:, None, None]
    along = np.abs(slow * math.sin(angle) + fast * math.cos(angle))
    across = slow * math.cos(angle) - fast * math.sin(angle)
    bell = np.exp(-0.5 * (across / (narrowest + wider * along)) ** 2)
    assert image == pytest.approx(1 + peak * np.exp(-along / length) * bell, abs=0.03)


def test_layer_lines_lie_at_multiples_of_their_distance():
    image = np.zeros((203, 317), np.float32)
    lines = np.array([np.full(200, 5.0), np.zeros(200), np.full(200, 3.0)], np.float32)
    _add_layer_lines(image, 90.0, 160.0, 1.0, 0.0, 30.0, 2.0, lines)  # along slow
    along = np.abs(np.arange(203) + 0.5 - 90)
    expected = 5 * np.exp(-0.5 * (along / 2) ** 2) + 3 * np.exp(-0.5 * ((along - 60) / 2) ** 2)
    assert image == pytest.approx(np.tile(expected[:, None], (1, 317)), abs=0.01)
    turned = np.zeros((317, 203), np.float32)
    _add_layer_lines(turned, 160.0, 90.0, 0.0, 1.0, 30.0, 2.0, lines)
    assert np.array_equal(turned, image.T)


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
