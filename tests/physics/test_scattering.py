"""Oracles that are independent of the reference programs."""

import numpy as np
import pytest

from deepfreak.physics.crystal import random_domains, random_orientation
from deepfreak.physics.detector import Panel
from deepfreak.physics.scattering.bragg import bragg_intensity
from deepfreak.physics.scattering.by_pixel import SHAPES, RenderedCrystal

WAVELENGTH_A = 1.2
BEAM = np.array([[1.0, 0.0, 0.0, WAVELENGTH_A, 1.0]])


def panel(pixels: int = 200, distance_mm: float = 100.0, pixel_mm: float = 0.1) -> Panel:
    """Return a panel facing the beam, which meets its middle."""
    half = pixels * pixel_mm / 2
    return Panel(
        image_size=(pixels, pixels),
        origin_mm=np.array([distance_mm, half, -half]),
        fast_axis=np.array([0.0, 0.0, 1.0]),
        slow_axis=np.array([0.0, -1.0, 0.0]),
        pixel_size_mm=pixel_mm,
    )


def one_reflection(
    hkl: tuple[int, int, int], *, cell_A: float = 50.0, cells: int = 20, F: float = 100.0
) -> RenderedCrystal:
    """Return a cubic crystal with one reflection, turned so that it diffracts in the xz plane."""
    box = np.zeros((15, 15, 15), dtype=np.float32)
    box[tuple(np.array(hkl) + 7)] = F
    d = cell_A / np.linalg.norm(hkl)
    theta = np.arcsin(WAVELENGTH_A / (2 * d))
    # bring hkl onto the bisector between -beam and the diffracted beam
    target = np.array([-np.sin(theta), 0.0, np.cos(theta)])
    start = np.array(hkl) / np.linalg.norm(hkl)
    axis = np.cross(start, target)
    K = np.cross(np.eye(3), axis)
    rotation = np.eye(3) + K + K @ K / (1 + start @ target)
    return RenderedCrystal(
        F=box,
        hkl_min=np.array([-7, -7, -7]),
        real_axes=(cell_A * np.eye(3) @ rotation.T)[None],
        domains=np.eye(3)[None],
        cells=np.full(3, float(cells)),
        shape=SHAPES["tophat"],
    )


@pytest.mark.parametrize("hkl", [(1, 0, 0), (2, 1, 0), (3, -2, 1)])
def test_spot_lies_at_its_bragg_angle(hkl: tuple[int, int, int]) -> None:
    image = bragg_intensity(one_reflection(hkl), panel(), sources=BEAM, oversample=4)
    slow, fast = (
        (image.sum(axis=axis) * (np.arange(200) + 0.5)).sum() / image.sum() for axis in (1, 0)
    )
    d = 50.0 / np.linalg.norm(hkl)
    radius_mm = 100.0 * np.tan(2 * np.arcsin(WAVELENGTH_A / (2 * d)))
    assert slow == pytest.approx(100, abs=0.2)
    assert fast == pytest.approx(100 + radius_mm / 0.1, abs=0.2)


def test_intensity_grows_with_the_square_of_the_amplitude() -> None:
    weak = bragg_intensity(one_reflection((2, 1, 0), F=10), panel(), sources=BEAM, oversample=2)
    strong = bragg_intensity(one_reflection((2, 1, 0), F=30), panel(), sources=BEAM, oversample=2)
    np.testing.assert_allclose(strong, 9 * weak, rtol=1e-6)


def test_peak_grows_with_the_square_of_the_number_of_cells() -> None:
    fine = panel(pixels=600, pixel_mm=0.02)
    few, many = (
        bragg_intensity(one_reflection((2, 1, 0), cells=n), fine, sources=BEAM, oversample=1)
        for n in (10, 20)
    )
    assert many.max() / few.max() == pytest.approx(2.0**6)


def test_following_reflections_equals_testing_every_pixel() -> None:
    # a small cell, misoriented domains of unequal sides, a tilted panel, all in one
    rng = np.random.default_rng(5)
    F = rng.uniform(1, 10, (31, 31, 31)).astype(np.float32)
    axes = np.array([[30.0, 0, 0], [4.0, 41.0, 0], [-6.0, 9.0, 52.0]])
    fast = np.array([0.2, 0.1, 1.0])
    fast /= np.linalg.norm(fast)
    slow = np.cross(fast, [1.0, 0.0, 0.0])
    slow /= np.linalg.norm(slow)
    tilted = Panel(
        image_size=(60, 80),
        origin_mm=np.array([70.0, 0.0, 0.0]) - 12 * fast - 8 * slow,
        fast_axis=fast,
        slow_axis=slow,
        pixel_size_mm=0.3,
    )
    for shape in ("tophat", "gauss"):
        lattice = RenderedCrystal(
            F=F,
            hkl_min=np.array([-15, -15, -15]),
            real_axes=(axes @ random_orientation(rng).T)[None],
            domains=random_domains(12, 3.0, rng),
            cells=np.array([9.0, 4.0, 6.0]),
            shape=SHAPES[shape],
        )
        fast_image, slow_image = (
            bragg_intensity(lattice, tilted, sources=BEAM, oversample=2, method=method)
            for method in ("by_reflection", "by_pixel")
        )
        assert slow_image.max() > 0
        np.testing.assert_allclose(fast_image, slow_image, rtol=1e-9, atol=1e-9 * slow_image.max())


def test_a_single_cell_gives_each_pixel_to_its_nearest_reflection() -> None:
    # one cell's spot is wider than the distance between reflections
    rng = np.random.default_rng(6)
    lattice = RenderedCrystal(
        F=rng.uniform(1, 10, (9, 9, 9)).astype(np.float32),
        hkl_min=np.array([-4, -4, -4]),
        real_axes=(20 * np.eye(3) @ random_orientation(rng).T)[None],
        domains=random_domains(3, 1.0, rng),
        cells=np.ones(3),
        shape=SHAPES["tophat"],
    )
    images = [
        bragg_intensity(
            lattice,
            panel(100, 40, 0.4),
            sources=BEAM,
            oversample=1,
            method=method,
        )
        for method in ("by_reflection", "by_pixel")
    ]
    assert images[1].max() > 0
    np.testing.assert_allclose(images[0], images[1], rtol=1e-9)


def test_orientations_are_uniform_on_the_sphere_of_rotations() -> None:
    rng = np.random.default_rng(1)
    rotations = np.array([random_orientation(rng) for _ in range(20_000)])
    np.testing.assert_allclose(
        rotations @ rotations.transpose(0, 2, 1),
        np.broadcast_to(np.eye(3), (20_000, 3, 3)),
        atol=1e-12,
    )
    # each image of an axis is uniform on the sphere: z uniform in (-1, 1)
    for axis in range(3):
        z = rotations[:, 2, axis]
        counts, _ = np.histogram(z, bins=10, range=(-1, 1))
        assert np.abs(counts - 2000).max() < 5 * np.sqrt(2000)
    # the rotation angle has density (1 - cos a) / pi: its mean is pi / 2 + 2 / pi
    angles = np.arccos(np.clip((np.trace(rotations, axis1=1, axis2=2) - 1) / 2, -1, 1))
    assert angles.mean() == pytest.approx(np.pi / 2 + 2 / np.pi, abs=0.02)


def test_domains_keep_within_their_spread() -> None:
    domains = random_domains(5000, 0.5, np.random.default_rng(2))
    # |U - 1| = 2 sqrt(2) sin(angle / 2) is exact where the trace has lost its digits
    angles = 2 * np.arcsin(np.linalg.norm(domains - np.eye(3), axis=(1, 2)) / np.sqrt(8))
    assert angles[0] == 0
    assert np.degrees(angles.max()) <= 0.5 + 1e-9
    assert np.degrees(angles.mean()) == pytest.approx(0.841 * 0.5, rel=0.01)
