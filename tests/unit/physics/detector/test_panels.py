"""Panels, modules and gaps: which pixels there are, and where."""

from typing import Any

import numpy as np
import pytest

from deepfreak.physics.detector import (
    Detector,
    Modules,
    PlacedPanel,
    gaps,
    largest_sin_theta,
    sin_theta,
    solid_angle_and_polarization,
)
from deepfreak.physics.detector.maps import pixels

FLAT: dict[str, Any] = {"image_size": (40, 60), "pixel_size_mm": 0.5, "distance_mm": 50.0}


def halves(*, gap: int = 0) -> Detector:
    """Return the flat detector cut along fast in two panels, moved apart on the canvas only."""
    whole = Detector(**FLAT)
    right = whole.origin_mm + 30 * 0.5 * whole.axes[0]
    return Detector(
        image_size=(40, 60 + gap),
        pixel_size_mm=0.5,
        panels=(
            PlacedPanel(image_size=(40, 30), origin_mm=tuple(whole.origin_mm)),
            PlacedPanel(first=(0, 30 + gap), image_size=(40, 30), origin_mm=tuple(right)),
        ),
    )


def test_a_flat_detector_is_one_panel_over_the_canvas() -> None:
    (panel,) = Detector(**FLAT).resolved_panels()
    assert panel.image_size == (40, 60)
    assert panel.region == (slice(0, 40), slice(0, 60))
    np.testing.assert_allclose(panel.origin_mm, [50, 10, -15])
    np.testing.assert_allclose(panel.normal, [1, 0, 0])
    assert not gaps(Detector(**FLAT)).any()


def test_the_beam_meets_the_given_pixel_at_the_given_distance() -> None:
    detector = Detector(
        **FLAT, beam_center_px=(12.5, 40.5), fast_axis=(0.3, 0.1, 2), slow_axis=(0.2, -4, 0.17)
    )
    np.testing.assert_allclose(detector.pixel_positions_mm()[12, 40], [50, 0, 0], atol=1e-9)


def test_two_halves_see_what_the_whole_sees() -> None:
    whole, cut = Detector(**FLAT), halves(gap=7)
    assert len(cut.resolved_panels()) == 2
    for image_of in (
        sin_theta,
        lambda d: solid_angle_and_polarization(d, 0.9, (0.0, 0.0, 1.0)),
        lambda d: d.pixel_positions_mm(),
    ):
        image, expected = image_of(cut), image_of(whole)
        np.testing.assert_allclose(image[:, :30], expected[:, :30], rtol=1e-12)
        np.testing.assert_allclose(image[:, 37:], expected[:, 30:], rtol=1e-12)
    assert gaps(cut)[:, 30:37].all()
    assert gaps(cut).sum() == 7 * 40
    assert not sin_theta(cut)[:, 30:37].any()
    assert not solid_angle_and_polarization(cut, 0.9, (0.0, 0.0, 1.0))[:, 30:37].any()
    assert np.isnan(cut.pixel_positions_mm()[:, 30:37]).all()


def test_panels_far_apart_have_their_own_tilt_and_distance() -> None:
    detector = Detector(
        image_size=(10, 20),
        pixel_size_mm=1.0,
        panels=(
            PlacedPanel(image_size=(10, 10), origin_mm=(100, 5, -5)),
            # a side panel along the beam, at 90 degrees
            PlacedPanel(
                first=(0, 10),
                image_size=(10, 10),
                origin_mm=(-5, 5, 50),
                fast_axis=(3, 0, 0),
            ),
        ),
    )
    assert sin_theta(detector)[:, :10].max() < 0.04
    at_90_deg = np.sqrt(0.5)
    np.testing.assert_allclose(sin_theta(detector)[:, 10:].mean(), at_90_deg, rtol=1e-3)
    omega = solid_angle_and_polarization(detector, -1.0, (0.0, 0.0, 1.0))
    np.testing.assert_allclose(omega[:, 10:].max(), 1 / 50**2, rtol=0.01)


def test_modules_leave_gaps_and_change_nothing_else() -> None:
    modules = Modules(rows=3, columns=2, module_size=(12, 25), gap=(2, 10))
    assert modules.image_size == (40, 60)
    detector = Detector(**FLAT, modules=modules)
    gap = gaps(detector)
    assert gap.sum() == 40 * 60 - 6 * 12 * 25
    assert gap[12:14].all()
    assert gap[:, 25:35].all()
    assert not gap[14:26, :25].any()
    for of in (sin_theta, lambda d: solid_angle_and_polarization(d, 0.0, (0.0, 0.0, 1.0))):
        np.testing.assert_array_equal(of(detector), np.where(gap, 0, of(Detector(**FLAT))))
    assert len(detector.resolved_panels()) == 1
    assert len(detector.sensitive_regions()) == 6


def test_a_pilatus_1m_has_the_size_that_its_maker_gives() -> None:
    pilatus = Modules(rows=5, columns=2, module_size=(195, 487), gap=(17, 7))
    assert pilatus.image_size == (1043, 981)


def test_the_largest_angle_is_at_the_furthest_corner() -> None:
    detector = Detector(**FLAT, beam_center_px=(0, 0))
    two_theta = np.arctan(np.hypot(20, 30) / 50)
    assert largest_sin_theta(detector) == pytest.approx(np.sin(two_theta / 2))
    assert largest_sin_theta(halves(gap=3)) == pytest.approx(largest_sin_theta(Detector(**FLAT)))


def test_behind_the_crystal_the_largest_angle_may_be_in_the_middle() -> None:
    panel = PlacedPanel(image_size=(41, 41), origin_mm=(-100, 20.5, -20.5))
    detector = Detector(image_size=(41, 41), pixel_size_mm=1.0, panels=(panel,))
    assert largest_sin_theta(detector) == pytest.approx(1.0)


def test_large_panels_are_worked_through_in_parts_to_the_same_numbers() -> None:
    detector = halves(gap=7)
    few = list(pixels(detector, at_once=100))
    assert len(few) > len(detector.panels)
    parts = np.full((*detector.image_size, 3), np.nan)
    for region, _, positions in few:
        parts[region] = positions
    np.testing.assert_array_equal(parts, detector.pixel_positions_mm())


PANEL = {"image_size": (10, 10), "origin_mm": (50.0, 0.0, 0.0)}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"distance_mm": None}, "distance_mm is missing; a detector has it, or panels"),
        ({"fast_axis": (0, 1, 1)}, "must be perpendicular, found"),
        ({"fast_axis": (1, 0, 0)}, "must not span a plane along the beam"),
        ({"modules": {"module_size": (40, 50)}}, r"cover \(40, 50\) pixels, found image_size"),
        ({"panels": [PANEL]}, "found distance_mm beside them; leave it out"),
        ({"panels": [PANEL], "distance_mm": None, "beam_center_px": (1, 1)}, "beam_center_px"),
        (
            {"panels": [PANEL, {**PANEL, "first": (9, 9)}], "distance_mm": None},
            r"panels.0 and panels.1 overlap",
        ),
        (
            {"panels": [{**PANEL, "first": (31, 0)}], "distance_mm": None},
            r"panels.0 ends at pixel \(41, 10\), outside image_size \(40, 60\)",
        ),
        (
            {"panels": [{**PANEL, "origin_mm": (0, 3, 4)}], "distance_mm": None},
            "must not pass through the crystal",
        ),
        (
            {
                "panels": [PANEL],
                "distance_mm": None,
                "obstacles": [{"kind": "beamstop", "radius_mm": 1}],
            },
            "obstacles.0 needs distance_mm",
        ),
    ],
)
def test_senseless_settings_are_rejected_in_one_line(
    settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        Detector(**(FLAT | settings))


def test_panels_have_no_single_origin() -> None:
    with pytest.raises(ValueError, match="a detector of 2 panels has no single position"):
        _ = halves().origin_mm
