"""Pictures with resolution rings."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from deepfreak.physics.detector import Bar, Detector
from deepfreak.physics.detector.panel import Modules
from deepfreak.reports.palette import BEAM_RGB, MISSING_RGB, OBSTACLE_RGB, RING_RGB
from deepfreak.reports.rings import ring_on_panel, ring_resolutions_A, sin_theta_at, write_preview
from tests.unit.formats.made_shots import header_for

TILT = np.radians(25)
FLAT = Detector(image_size=(256, 256), pixel_size_mm=0.344, distance_mm=80)
TILTED = Detector(
    image_size=(256, 256),
    pixel_size_mm=0.344,
    distance_mm=80,
    beam_center_px=(60, 200),
    slow_axis=(float(np.sin(TILT)), float(-np.cos(TILT)), 0.0),
)


def colours(path: Path) -> np.ndarray:
    """Return the picture, (slow, fast, rgb)."""
    with Image.open(path) as picture:
        return np.asarray(picture)


@pytest.mark.parametrize("detector", [FLAT, TILTED])
def test_a_ring_runs_where_its_spacing_scatters_to(detector: Detector) -> None:
    (panel,) = detector.resolved_panels()
    points = ring_on_panel(panel, 3.0, 1.5)
    positions = (
        panel.origin_mm
        + panel.pixel_size_mm * points[:, :1] * panel.slow_axis
        + panel.pixel_size_mm * points[:, 1:] * panel.fast_axis
    )
    # Bragg: 2 d sin(theta) = wavelength
    np.testing.assert_allclose(sin_theta_at(positions), 1.5 / (2 * 3.0), rtol=1e-9)


def test_a_flat_detectors_ring_is_a_circle_around_the_beam() -> None:
    (panel,) = FLAT.resolved_panels()
    radius_px = 80 * np.tan(2 * np.arcsin(1.5 / 6)) / 0.344
    from_beam = ring_on_panel(panel, 3.0, 1.5) - 128
    np.testing.assert_allclose(np.linalg.norm(from_beam, axis=1), radius_px, rtol=1e-9)


def test_a_ring_that_runs_past_a_panel_has_no_points_there() -> None:
    steep = replace(FLAT, slow_axis=(0.9, -np.sqrt(1 - 0.81), 0.0))
    (panel,) = steep.resolved_panels()
    points = ring_on_panel(panel, 1.0, 1.5)
    missed = np.isnan(points).any(axis=1)
    assert 0 < missed.sum() < len(points)


def test_rings_are_in_round_numbers_and_fill_the_image() -> None:
    header = header_for(FLAT)
    found = ring_resolutions_A(header)
    assert found == sorted(found, reverse=True)
    assert all(d == float(f"{d:.2g}") for d in found)
    corner = np.hypot(128, 128) * 0.344
    finest = header.wavelength_A / (2 * np.sin(np.arctan(corner / 80) / 2))
    assert finest < found[-1] < 1.5 * finest


def test_gaps_beamstop_rings_and_beam_have_their_colours(tmp_path: Path) -> None:
    detector = replace(
        FLAT,
        modules=Modules(rows=2, columns=1, module_size=(120, 256), gap=(16, 0)),
        obstacles=(Bar(width_mm=8.0, angle_deg=90.0),),
    )
    header = header_for(detector)
    image = np.full((256, 256), 100, dtype=np.uint16)
    image[header.shaded] = 0
    write_preview(tmp_path / "a.png", image, header, overwrite=False)
    shown = colours(tmp_path / "a.png")
    assert shown.shape == (1024, 1024, 3)
    assert (shown[512 - 30, 100] == MISSING_RGB).all()
    assert (shown[100, 512] == OBSTACLE_RGB).all()
    assert (shown[512, 512] == BEAM_RGB).all()
    assert (shown[100, 100] == shown[100, 100, 0]).all()  # gray
    is_ring = (shown == RING_RGB).all(axis=2)
    radius = np.hypot(*(np.argwhere(is_ring) + 0.5 - 512).T) * 0.344 / 4
    d = header.wavelength_A / (2 * np.sin(np.arctan(radius / 80) / 2))
    nearest = np.abs(d[:, None] / np.array(ring_resolutions_A(header)) - 1).min(axis=1)
    assert is_ring.sum() > 2000
    assert nearest.max() < 0.03


def test_a_lone_bright_pixel_is_not_lost_on_a_large_detector(tmp_path: Path) -> None:
    detector = Detector(image_size=(3000, 2000), pixel_size_mm=0.1, distance_mm=100)
    image = np.zeros((3000, 2000), dtype=np.uint8)
    image[301, 401] = 200
    write_preview(tmp_path / "a.png", image, header_for(detector), overwrite=False)
    shown = colours(tmp_path / "a.png")
    assert shown.shape == (1000, 667, 3)
    assert (shown[100, 133] == 255).all()


def test_expected_photons_can_be_shown(tmp_path: Path) -> None:
    photons = np.full((256, 256), 0.25, dtype=np.float32)
    write_preview(tmp_path / "a.png", photons, header_for(FLAT), overwrite=False)
    assert (tmp_path / "a.png").stat().st_size > 0
