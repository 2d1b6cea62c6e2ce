"""Shadows: the share of light that reaches each pixel."""

from typing import Any

import numpy as np
import pytest

from deepfreak.physics.detector import (
    Bar,
    Beamstop,
    Detector,
    HalfPlane,
    Modules,
    Shadow,
    gaps,
    transmission_map,
)


def detector(*obstacles: Any, **settings: Any) -> Detector:
    """Return 100 x 120 pixels of 0.5 mm, 50 mm away, the beam in their middle."""
    size: dict[str, Any] = {"image_size": (100, 120), "pixel_size_mm": 0.5, "distance_mm": 50.0}
    return Detector(**(size | settings), obstacles=obstacles)


def from_beam() -> tuple[np.ndarray, np.ndarray]:
    """Return each pixel's mm (down, right) of the beam."""
    down, right = np.indices((100, 120))
    return (down + 0.5 - 50) * 0.5, (right + 0.5 - 60) * 0.5


def test_nothing_in_the_way_lets_all_light_pass() -> None:
    passing = transmission_map(detector())
    assert passing.dtype == np.float32
    assert (passing == 1).all()


def test_a_beamstop_is_a_disc_about_the_beam() -> None:
    down, right = from_beam()
    np.testing.assert_array_equal(
        transmission_map(detector(Beamstop(radius_mm=6))), np.hypot(down, right) > 6
    )
    moved = Beamstop(radius_mm=6, offset_mm=(5, -8), transmission=0.25)
    np.testing.assert_array_equal(
        transmission_map(detector(moved)), np.where(np.hypot(down - 5, right + 8) > 6, 1, 0.25)
    )


def test_nearer_to_the_crystal_its_shadow_is_larger() -> None:
    near = Beamstop(radius_mm=2, distance_mm=20)
    np.testing.assert_array_equal(
        transmission_map(detector(near)), transmission_map(detector(Beamstop(radius_mm=5)))
    )


def test_a_bar_crosses_the_whole_image_through_the_beam() -> None:
    down, right = from_beam()
    np.testing.assert_array_equal(transmission_map(detector(Bar(width_mm=3))), np.abs(down) > 1.5)
    np.testing.assert_array_equal(
        transmission_map(detector(Bar(width_mm=3, angle_deg=90))), np.abs(right) > 1.5
    )


@pytest.mark.parametrize(
    ("angle_deg", "side"), [(0, (0, 1)), (90, (1, 0)), (180, (0, -1)), (270, (-1, 0))]
)
def test_an_arm_extends_from_the_beam_in_its_direction(
    angle_deg: float, side: tuple[int, int]
) -> None:
    down, right = from_beam()
    dark = transmission_map(detector(Bar(width_mm=4, angle_deg=angle_deg, arm=True))) == 0
    along = down * side[0] + right * side[1]
    across = down * side[1] + right * side[0]
    np.testing.assert_array_equal(dark, (along > 0) & (np.abs(across) < 2))


def test_a_half_plane_takes_all_beyond_its_edge() -> None:
    down, right = from_beam()
    np.testing.assert_array_equal(transmission_map(detector(HalfPlane(beyond_mm=10))), right < 10)
    np.testing.assert_array_equal(
        transmission_map(detector(HalfPlane(beyond_mm=-3, angle_deg=90))), down < -3
    )


def test_a_polygon_equals_the_shapes_it_can_draw() -> None:
    down, right = from_beam()
    box = Shadow(corners_mm=((-4, -7), (-4, 9), (8, 9), (8, -7)))
    np.testing.assert_array_equal(
        transmission_map(detector(box)) == 0,
        (down > -4) & (down < 8) & (right > -7) & (right < 9),
    )
    round_ = [(6 * np.cos(a), 6 * np.sin(a)) for a in np.linspace(0, 2 * np.pi, 500)[1:]]
    difference = transmission_map(detector(Shadow(corners_mm=round_))) != transmission_map(
        detector(Beamstop(radius_mm=6))
    )
    assert difference.sum() <= 2


@pytest.mark.parametrize(
    "obstacle",
    [
        Beamstop(radius_mm=8, edge_mm=3),
        Bar(width_mm=8, edge_mm=3, angle_deg=30),
        HalfPlane(beyond_mm=2, edge_mm=3, angle_deg=200),
        Shadow(corners_mm=((-8, -8), (-8, 9), (9, 0)), edge_mm=3),
    ],
)
def test_a_soft_edge_is_half_as_bright_at_the_edge_and_fades_within_its_width(
    obstacle: Any,
) -> None:
    down, right = from_beam()
    outside = obstacle.outside_mm(down, right)
    passing = transmission_map(detector(obstacle))
    assert (passing[outside > 1.5] == 1).all()
    assert (passing[outside < -1.5] == 0).all()
    near = np.abs(outside) < 0.3
    assert passing[near].mean() == pytest.approx(0.5, abs=0.05)
    steepest = np.hypot(*np.gradient(passing.astype(float), 0.5)).max()
    assert steepest == pytest.approx(1 / 3, rel=0.05)


def test_shadows_multiply_and_gaps_see_nothing() -> None:
    modules = Modules(columns=2, module_size=(100, 59), gap=(0, 2))
    both = detector(
        Bar(width_mm=2, transmission=0.5),
        Bar(width_mm=2, angle_deg=90, transmission=0.5),
        modules=modules,
    )
    passing = transmission_map(both)
    assert set(np.unique(passing)) == {0, 0.25, 0.5, 1}
    np.testing.assert_array_equal(passing == 0, gaps(both))


def test_panels_see_the_shadow_where_the_whole_would_see_it() -> None:
    stop = Beamstop(radius_mm=6, distance_mm=40, edge_mm=1)
    flat = detector(stop)
    cut = Detector(
        image_size=(100, 120),
        pixel_size_mm=0.5,
        panels=[
            {"image_size": (100, 50), "origin_mm": (50, 25, -30)},
            # further away, in line with what is left
            {"first": (0, 50), "image_size": (100, 70), "origin_mm": (50, 25, -5)},
        ],
        obstacles=(stop,),
    )
    np.testing.assert_allclose(transmission_map(cut), transmission_map(flat), atol=1e-6)


def test_light_that_goes_backwards_misses_the_beamstop() -> None:
    back = Detector(
        image_size=(40, 40),
        pixel_size_mm=0.5,
        panels=[{"image_size": (40, 40), "origin_mm": (-50, 10, -10)}],
        obstacles=(Beamstop(radius_mm=5, distance_mm=50),),
    )
    assert (transmission_map(back) == 1).all()


def test_two_corners_are_no_polygon() -> None:
    with pytest.raises(ValueError, match="at least 3"):
        Shadow(corners_mm=((0, 0), (1, 1)))
