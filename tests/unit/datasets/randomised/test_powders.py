"""Rings at the radii of their spacings, and grains on them."""

import math

import numpy as np
import pytest

from deepfreak.datasets.randomised.geometry import Geometry
from deepfreak.datasets.randomised.light import DISC, NO_SHADOWS, Light, Texture
from deepfreak.datasets.randomised.powders import (
    PowderRings,
    add_smooth_rings,
    draw_grains,
    draw_rings,
    material_rings,
    ring_spacings,
)

GEOMETRY = Geometry(
    wavelength_A=0.1839,  # 67.42 keV
    distance_mm=500.0,
    pixel_mm=0.172,
    beam_center_px=(400.0, 380.0),
    polarization=0.0,
)
SHAPE = (800, 760)
CUBIC = sorted(
    {
        h * h + k * k + l * l
        for h in range(9)
        for k in range(9)
        for l in range(9)
        if h % 2 == k % 2 == l % 2
    }
)[1:]


@pytest.mark.parametrize(
    ("material", "spacings"),
    [
        # PDF cards 34-394, 34-427, 27-1402, 46-1212; ice: Murray & Bertram, PCCP 8, 186 (2006)
        ("CeO2", (3.1234, 2.7056, 1.9134, 1.6318, 1.5622, 1.3531)),
        ("LaB6", (4.1569, 2.9394, 2.4000, 2.0785, 1.8590)),
        ("Si", (3.1355, 1.9201, 1.6375, 1.3577, 1.2459)),
        ("Al2O3", (3.480, 2.551, 2.380, 2.085, 1.740, 1.601)),
        ("hexagonal ice", (3.90, 3.66, 3.44, 2.67, 2.25, 2.07)),
        ("cubic ice", (3.67, 2.25, 1.92)),
        ("AgBh", (58.380, 29.190, 19.460)),
    ],
)
def test_spacings_are_the_known_ones(material, spacings):
    d_A, F_sqr = ring_spacings(material)
    strong = d_A[F_sqr > 0.02 * F_sqr.max()]
    for each in spacings:
        assert np.abs(strong / each - 1).min() < 3e-3, each
    assert d_A[0] == pytest.approx(spacings[0], rel=3e-3)


def test_ceria_rings_lie_at_their_radii_on_the_frame():
    light = Light(shape=SHAPE, center_px=GEOMETRY.beam_center_px, level=1.0)
    add_smooth_rings(light, material_rings("CeO2", GEOMETRY), np.random.default_rng(0))
    image = light.paint()
    # 111 and 220 of a = 5.411651 A, right of the beam
    for squares in (3, 8):
        theta = math.asin(0.1839 * math.sqrt(squares) / 2 / 5.411651)
        radius = 500 / 0.172 * math.tan(2 * theta)
        column = 380 + radius
        row = image[400, int(column) - 6 : int(column) + 7]
        assert abs(int(column) - 6 + np.argmax(row) + 0.5 - column) <= 1
        assert row.max() > 5 * image[400, int(column) - 20]


def test_textured_rings_are_brightest_in_their_direction():
    light = Light(shape=(600, 600), center_px=(300.0, 300.0), level=0.0)
    light.add_radial(lambda r: np.exp(-0.5 * ((r - 200) / 5) ** 2), Texture(5.0, math.pi / 2, 2))
    image = light.paint()
    assert image[500, 300] == pytest.approx(image[99, 299], rel=0.01)
    assert image[300, 500] < 1e-3 * image[500, 300]
    one = Light(shape=(600, 600), center_px=(300.0, 300.0), level=0.0)
    one.add_radial(lambda r: np.exp(-0.5 * ((r - 200) / 5) ** 2), Texture(5.0, math.pi / 2, 1))
    assert one.paint()[500, 300] > 1000 * one.paint()[99, 300]


def test_texture_has_mean_one():
    azimuth = (np.arange(3600) + 0.5) * np.pi / 1800
    for texture in (Texture(), Texture(0.3, 1.0, 2), Texture(50.0, 2.0, 1)):
        assert texture.at(azimuth).mean() == pytest.approx(1, rel=1e-3)


def test_grains_lie_on_rings_on_the_canvas():
    rng = np.random.default_rng(1)
    counts = []
    for _ in range(60):
        rings = draw_rings(rng, GEOMETRY, SHAPE)
        grains = draw_grains(rings, rng, SHAPE, NO_SHADOWS)
        counts.append(len(grains))
        if len(grains) == 0:
            continue
        radius = np.hypot(grains.slow - rings.center_px[0], grains.fast - rings.center_px[1])
        off = np.abs(radius[:, None] - rings.radii_px).min(axis=1)
        assert np.quantile(off, 0.9) < 6
        # a bin of angle reaches over the edge at most
        assert grains.inside(SHAPE).mean() > 0.8
    assert sum(count == 0 for count in counts) <= 6
    assert min(count for count in counts if count) >= 10
    assert max(counts) <= 3000
    assert max(counts) > 1000


def test_rings_have_any_centre_off_the_frame_too():
    rng = np.random.default_rng(2)
    centers = np.array([draw_rings(rng, GEOMETRY, SHAPE).center_px for _ in range(200)])
    off = ((centers < 0) | (centers > SHAPE)).any(axis=1)
    assert 0.08 < off.mean() < 0.35
    assert (centers == GEOMETRY.beam_center_px).all(axis=1).mean() > 0.6


def test_grains_lie_outside_shadows_and_do_not_run_together():
    rng = np.random.default_rng(3)
    stop = np.array([(DISC, 400.0, 380.0, 0.0, 0.0, 100.0, 1.0, 0.0)])
    rings = material_rings("CeO2", GEOMETRY)
    hidden = PowderRings(
        name="hidden", center_px=rings.center_px, radii_px=np.array([50.0]), weights=np.ones(1)
    )
    for _ in range(20):
        assert len(draw_grains(hidden, rng, SHAPE, stop)) == 0
        one = draw_grains(hidden, rng, SHAPE, NO_SHADOWS)
        assert 10 <= len(one) <= 2 * math.pi * 50 / 6


def test_lamellar_and_cubic_rings_have_the_ratios_of_their_lattices():
    rng = np.random.default_rng(4)
    seen = set()
    for _ in range(60):
        rings = draw_rings(rng, GEOMETRY, SHAPE)
        if rings.name == "any rings":
            continue
        seen.add(rings.name)
        q = np.array([GEOMETRY.q_at(radius) for radius in rings.radii_px])
        orders = np.arange(1, len(q) + 1) if rings.name == "lamellar" else np.sqrt(CUBIC[: len(q)])
        assert q / q[0] == pytest.approx(orders / orders[0], rel=1e-6)
    assert seen == {"lamellar", "cubic"}
