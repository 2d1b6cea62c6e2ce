"""Properties of the detector's geometry, independent of the implementation."""

import math

import numpy as np
import pytest

from deepfreak.physics.beam import Beam, Pulse
from deepfreak.physics.detector import (
    Detector,
    Modules,
    PlacedPanel,
    beam_factors,
    gaps,
    largest_sin_theta,
    sin_theta,
)
from deepfreak.physics.scattering.amorphous import Water

BEAM = Beam(wavelength_A=1.5, photons_per_pulse=1e12, size_mm=0.03, polarization=0.0)


def cube(side_mm: float, pixels: int) -> Detector:
    """Return six panels that enclose the crystal."""
    half, size = side_mm / 2, (pixels, pixels)
    faces = (
        ((half, half, -half), (0, 0, 1), (0, -1, 0)),
        ((-half, half, half), (0, 0, -1), (0, -1, 0)),
        ((-half, half, -half), (1, 0, 0), (0, 0, 1)),
        ((-half, -half, half), (1, 0, 0), (0, 0, -1)),
        ((half, half, half), (-1, 0, 0), (0, -1, 0)),
        ((-half, half, -half), (1, 0, 0), (0, -1, 0)),
    )
    return Detector(
        image_size=(pixels, 6 * pixels),
        pixel_size_mm=side_mm / pixels,
        panels=tuple(
            PlacedPanel(
                first=(0, i * pixels),
                image_size=size,
                origin_mm=origin,
                fast_axis=fast,
                slow_axis=slow,
            )
            for i, (origin, fast, slow) in enumerate(faces)
        ),
    )


def test_panels_all_around_catch_every_photon_that_thomson_scattering_sends() -> None:
    for polarization in (0.0, 1.0, -0.4):
        beam = Beam(
            wavelength_A=1.5, photons_per_pulse=1e12, size_mm=0.03, polarization=polarization
        )
        # the integral of the polarization factor over the sphere
        assert beam_factors(cube(100, 60), beam).sum() == pytest.approx(8 * math.pi / 3, rel=1e-3)


def test_all_angles_are_seen_in_their_share_of_the_sphere() -> None:
    box = cube(100, 60)
    assert largest_sin_theta(box) == pytest.approx(1, abs=1e-4)
    omega = beam_factors(box, Beam(wavelength_A=1, photons_per_pulse=1, size_mm=1))
    sines = sin_theta(box)
    # sin^2(theta) = (1 - cos 2 theta) / 2, the mean of which is a half by symmetry
    assert (omega * sines**2).sum() / omega.sum() == pytest.approx(0.5, rel=1e-3)


def test_the_solid_angle_of_a_rectangle_is_the_analytic_one() -> None:
    flat = Detector.flat(image_size=(500, 300), pixel_size_mm=0.2, distance_mm=80)
    a, b, d = 50, 30, 80
    wanted = 4 * math.asin(a * b / math.sqrt((a * a + d * d) * (b * b + d * d)))
    # polarization +1 and -1 average to (1 + cos^2)/2; divide it out pixel by pixel
    cos_2theta = 1 - 2 * sin_theta(flat) ** 2
    omega = beam_factors(flat, BEAM) / ((1 + cos_2theta**2) / 2)
    assert omega.sum() == pytest.approx(wanted, rel=1e-5)


def test_tilting_a_panel_about_the_crystal_tilts_its_angles() -> None:
    flat = Detector.flat(image_size=(64, 64), pixel_size_mm=1, distance_mm=100)
    swing = math.radians(30)
    cos, sin = math.cos(swing), math.sin(swing)
    x, y, z = flat.origin_mm
    turned = PlacedPanel(
        image_size=(64, 64),
        origin_mm=(cos * x - sin * z, y, sin * x + cos * z),
        fast_axis=(-sin, 0, cos),
    )
    detector = Detector(image_size=(64, 64), pixel_size_mm=1, panels=(turned,))
    two_theta = 2 * np.arcsin(sin_theta(detector))
    middle = two_theta[31:33, 31:33].mean()
    assert middle == pytest.approx(swing, abs=1e-3)
    assert detector.resolved_panels()[0].close_distance_mm == pytest.approx(100)


def test_water_on_a_modular_detector_is_that_on_a_plain_one_outside_its_gaps() -> None:
    modules = Modules(rows=2, columns=2, module_size=(60, 60), gap=(8, 4))
    settings = {"image_size": modules.image_size, "pixel_size_mm": 0.5, "distance_mm": 80}
    plain, modular = Detector(**settings), Detector(**settings, modules=modules)
    light = [
        Water(thickness_mm=0.01).photons(
            Pulse(beam=BEAM, photons=1e12, wavelength_A=1.5), d, np.random.default_rng(0)
        )
        for d in (plain, modular)
    ]
    assert light[0].min() > 0
    np.testing.assert_array_equal(light[1], np.where(gaps(modular), 0, light[0]))
