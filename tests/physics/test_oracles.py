"""Integrated quantities that theory gives in closed form."""

import numpy as np
import pytest

from deepfreak.physics.crystal import rotation_about
from deepfreak.physics.detector import Panel
from deepfreak.physics.scattering.bragg import bragg_intensity
from deepfreak.physics.scattering.by_pixel import SHAPES, RenderedCrystal

CELL_A = 40.0


def square_panel(pixels: int, *, distance_mm: float, pixel_mm: float, center: np.ndarray) -> Panel:
    """Return a panel facing the beam whose middle is `center`, (y, z) in mm from the beam."""
    half = pixels * pixel_mm / 2
    return Panel(
        image_size=(pixels, pixels),
        origin_mm=np.array([distance_mm, center[0] + half, center[1] - half]),
        fast_axis=np.array([0.0, 0.0, 1.0]),
        slow_axis=np.array([0.0, -1.0, 0.0]),
        pixel_size_mm=pixel_mm,
    )


def one_reflection(shape: str, *, h: int, F: float, cells: float, tilt: float = 0.0) -> tuple:
    """Return a crystal with reflection (h 0 0) alone, `tilt` past its Bragg angle; its angle."""
    wavelength = 1.0
    theta = np.arcsin(wavelength * h / (2 * CELL_A))
    box = np.zeros((2 * h + 1,) * 3, dtype=np.float32)
    box[2 * h, h, h] = F
    # a along -x sin + z cos: the beam's reflection goes to +z; turned about y by the tilt
    turn = rotation_about(np.array([0.0, 1.0, 0.0]), tilt)
    a = turn @ np.array([-np.sin(theta), 0.0, np.cos(theta)])
    c = turn @ np.array([np.cos(theta), 0.0, np.sin(theta)])
    axes = CELL_A * np.array([a, [0.0, 1.0, 0.0], -c])
    lattice = RenderedCrystal(
        F=box,
        hkl_min=np.array([-h, -h, -h]),
        real_axes=axes[None],
        domains=np.eye(3)[None],
        cells=np.full(3, cells),
        shape=SHAPES[shape],
    )
    return lattice, theta


@pytest.mark.parametrize(
    ("shape", "share", "tolerance"), [("square", 1.0, 0.04), ("tophat", 1.0474, 0.003)]
)
def test_rocking_a_small_crystal_gives_the_kinematic_integral(
    shape: str, share: float, tolerance: float
) -> None:
    # integral of |F F_latt|^2 over solid angle and rocking angle:
    #   F^2 wavelength^3 V_crystal / (V_cell^2 sin 2 theta)    (Darwin; James 1948, ch. II)
    F, cells, h, wavelength = 50.0, 12.0, 6, 1.0
    width = 1.6 / (cells * CELL_A)
    angles = np.linspace(-6, 6, 481) * width / (h / CELL_A)
    total = 0.0
    for tilt in angles:
        lattice, theta = one_reflection(shape, h=h, F=F, cells=cells, tilt=tilt)
        center = np.array([0.0, 100.0 * np.tan(2 * theta)])
        panel = square_panel(180, distance_mm=100.0, pixel_mm=0.025, center=center)
        sources = np.array([[1.0, 0.0, 0.0, wavelength, 1.0]])
        intensity = bragg_intensity(lattice, panel, sources=sources, oversample=1)
        positions = panel.pixel_positions_mm()
        omega = 0.025**2 * 100.0 / np.linalg.norm(positions, axis=-1) ** 3
        total += (intensity * omega).sum() * (angles[1] - angles[0])
    V_cell = CELL_A**3
    kinematic = F**2 * wavelength**3 * cells**3 / (V_cell * np.sin(2 * theta))
    # beyond the panel and the angles lie a few per cent of a square crystal's tails
    assert total == pytest.approx(share * kinematic, rel=tolerance)


def friedel_ratio(*, wavelength: float, h: int, pixels: int = 240) -> float:
    """Return |I(h) - I(-h)| / (I(h) + I(-h)) of a crystal whose (h 0 0) lies across the beam."""
    box = np.ones((2 * h + 1, 1, 1), dtype=np.float32)
    box[h] = 0
    lattice = RenderedCrystal(
        F=box,
        hkl_min=np.array([-h, 0, 0]),
        real_axes=(CELL_A * np.array([[0.0, 0.0, 1.0], [0.0, 1.0, 0.0], [-1.0, 0.0, 0.0]]))[None],
        domains=rotations_about_y(np.radians(np.linspace(-0.5, 0.9, 1000))),
        cells=np.full(3, 200.0),
        shape=SHAPES["tophat"],
    )
    sources = np.array([[1.0, 0.0, 0.0, wavelength, 1.0]])
    distance = 100.0
    radius = distance * np.tan(2 * np.arcsin(wavelength * h / (2 * CELL_A)))
    sums = []
    for side in (1, -1):
        center = np.array([0.0, side * radius])
        pixel = 0.02 * radius / 10
        panel = square_panel(pixels, distance_mm=distance, pixel_mm=pixel, center=center)
        sums.append(bragg_intensity(lattice, panel, sources=sources, oversample=4).sum())
    return abs(sums[0] - sums[1]) / (sums[0] + sums[1])


def rotations_about_y(angles: np.ndarray) -> np.ndarray:
    """Return rotations (n, 3, 3)."""
    return np.array([rotation_about(np.array([0.0, 1.0, 0.0]), angle) for angle in angles])


def test_friedel_mates_are_alike_on_a_flat_ewald_sphere_only() -> None:
    # orientations from -0.5 to 0.9 degree: both mates diffract where the sphere is nearly flat,
    # at +-theta = 0.14 degree; at theta = 0.72 only one of them finds its orientation
    assert friedel_ratio(wavelength=0.1, h=2) < 0.05
    assert friedel_ratio(wavelength=1.0, h=1) == pytest.approx(1, abs=1e-6)
