"""Spots of a crystal against Ewald's condition, reflection by reflection."""

import math
from dataclasses import replace

import numpy as np
import pytest

from deepfreak.datasets.randomised.crystals import (
    CENTRINGS,
    CUBIC,
    HEXAGONAL,
    MONOCLINIC,
    ORTHORHOMBIC,
    TETRAGONAL,
    TRICLINIC,
    Blur,
    Lattice,
    _seen,
    bragg_spots,
    intensities,
)
from deepfreak.datasets.randomised.geometry import Geometry
from deepfreak.datasets.randomised.spots import ONE_BLOB
from deepfreak.physics.crystal import random_orientation, real_axes

GEOMETRY = Geometry(
    wavelength_A=1.1,
    distance_mm=90.0,
    pixel_mm=0.1,
    beam_center_px=(480.0, 530.0),
    polarization=0.0,
)
LATTICE = Lattice(
    cell=(21.0, 27.0, 34.0, 82.0, 95.0, 101.0),
    system=TRICLINIC,
    centring="P",
    seed=7,
    is_centric=False,
    has_solvent=False,
    B_A2=1.0,
    mosaic_rms_deg=0.1,
    domain_A=2000.0,
    bandwidth_rms=1e-3,
    turn_deg=0.0,
    width_px=1.0,
    stretch=(0.0, 0.0),
    blobs=ONE_BLOB,
)
Q_MAX = 0.6


def all_reflections(lattice, orientation):
    """Return indices and vectors (fast, slow, beam) of all reflections to `Q_MAX`."""
    hkl = np.stack(np.meshgrid(*3 * [np.arange(-25, 26)], indexing="ij"), axis=-1).reshape(-1, 3)
    q = hkl @ np.linalg.inv(real_axes(lattice.cell)).T @ orientation.T
    length = np.linalg.norm(q, axis=1)
    near = (length > 0) & (length <= Q_MAX)
    return hkl[near], q[near]


def spread(lattice, q):
    """Return the rms of the excitation error of each reflection."""
    length = np.linalg.norm(q, axis=1)
    cos = np.sqrt(1 - (length * GEOMETRY.wavelength_A / 2) ** 2)
    return np.sqrt(
        (length * cos * math.radians(lattice.mosaic_rms_deg)) ** 2
        + (length**2 * GEOMETRY.wavelength_A * lattice.bandwidth_rms / 2) ** 2
        + (0.4 / lattice.domain_A) ** 2
    )


def test_lit_reflections_are_those_near_the_sphere_and_lie_where_they_point():
    orientation = random_orientation(np.random.default_rng(3))
    spots, hkl = bragg_spots(LATTICE, GEOMETRY, orientation, 0.0, Q_MAX)
    every, q = all_reflections(LATTICE, orientation)
    s1 = q + np.array([0, 0, 1 / GEOMETRY.wavelength_A])
    error = np.linalg.norm(s1, axis=1) - 1 / GEOMETRY.wavelength_A
    lit = (np.abs(error) <= 3 * spread(LATTICE, q)) & (s1[:, 2] > 0)
    assert lit.sum() > 50
    assert {tuple(each) for each in hkl.tolist()} == {tuple(each) for each in every[lit].tolist()}
    found = dict(
        zip(map(tuple, hkl.tolist()), zip(spots.slow, spots.fast, strict=True), strict=True)
    )
    for indices, direction in zip(every[lit].tolist(), s1[lit], strict=True):
        slow = 480 + 900 * direction[1] / direction[2]
        fast = 530 + 900 * direction[0] / direction[2]
        assert np.hypot(*np.subtract(found[tuple(indices)], (slow, fast))) < 4


def test_a_still_sends_the_gaussian_density_of_the_excitation_error():
    orientation = random_orientation(np.random.default_rng(3))
    spots, hkl = bragg_spots(LATTICE, GEOMETRY, orientation, 0.0, Q_MAX)
    q = hkl @ np.linalg.inv(real_axes(LATTICE.cell)).T @ orientation.T
    s1 = q + np.array([0, 0, 1 / GEOMETRY.wavelength_A])
    length = np.linalg.norm(q, axis=1)
    error = np.linalg.norm(s1, axis=1) - 1 / GEOMETRY.wavelength_A
    sigma = spread(LATTICE, q)
    density = np.exp(-0.5 * (error / sigma) ** 2) / sigma / math.sqrt(2 * math.pi)
    F_sqr = intensities(hkl, np.uint64(7), TRICLINIC, False) * np.exp(-(length**2) / 2)
    # unpolarised: (1 + cos^2) / 2; a spot's own angle is a bit off that of s0 + q
    P = (1 + (s1[:, 2] / np.linalg.norm(s1, axis=1)) ** 2) / 2
    assert spots.photons == pytest.approx(F_sqr * density * P, rel=5e-3)


def test_a_turn_sends_what_many_small_steps_of_it_send():
    orientation = random_orientation(np.random.default_rng(5))
    turned = replace(LATTICE, turn_deg=0.6, bandwidth_rms=0.0)
    axis_angle, steps = 0.4, 241
    spots, hkl = bragg_spots(turned, GEOMETRY, orientation, axis_angle, Q_MAX)
    found = dict(zip(map(tuple, hkl.tolist()), spots.photons, strict=True))
    axis = np.array([math.cos(axis_angle), math.sin(axis_angle), 0.0])
    total: dict[tuple[int, ...], float] = {}
    for angle in np.radians((np.arange(steps) + 0.5) / steps - 0.5) * 0.6:
        cross = np.cross(np.eye(3), axis)  # (x cross axis) for each unit vector x
        rotation = np.eye(3) - math.sin(angle) * cross.T + (1 - math.cos(angle)) * cross @ cross
        still, indices = bragg_spots(
            replace(turned, turn_deg=0.0), GEOMETRY, rotation @ orientation, 0.0, Q_MAX
        )
        for key, photons in zip(map(tuple, indices.tolist()), still.photons, strict=True):
            total[key] = total.get(key, 0.0) + photons / steps
    strong = [key for key, value in found.items() if value > 0.05 * max(found.values())]
    assert len(strong) > 20
    ratio = np.array([total.get(key, 0.0) / found[key] for key in strong])
    assert np.median(np.abs(ratio - 1)) < 0.03
    assert np.quantile(np.abs(ratio - 1), 0.9) < 0.15


def test_bandwidth_draws_spots_out_along_the_radius_and_mosaic_spread_along_the_ring():
    def elongation(lattice):
        orientation = random_orientation(np.random.default_rng(3))
        spots, _ = bragg_spots(lattice, GEOMETRY, orientation, 0.0, Q_MAX)
        angle = np.arctan2(spots.slow - 480, spots.fast - 530)
        sin, cos = np.sin(angle), np.cos(angle)
        ss, ff, sf = spots.covariance.T
        radial = ss * sin**2 + ff * cos**2 + 2 * sf * sin * cos
        return np.median(radial), np.median(ss + ff - radial)

    radial, around = elongation(replace(LATTICE, mosaic_rms_deg=0.5, bandwidth_rms=0.0))
    assert around > 5 * radial
    wide = elongation(replace(LATTICE, mosaic_rms_deg=0.5, bandwidth_rms=0.02))
    assert wide[0] > 3 * radial
    assert wide[1] == pytest.approx(around, rel=0.3)


@pytest.mark.parametrize("centring", CENTRINGS)
def test_centring_leaves_out_what_is_absent(centring):
    lattice = replace(LATTICE, centring=centring, mosaic_rms_deg=0.5)
    orientation = random_orientation(np.random.default_rng(1))
    _, hkl = bragg_spots(lattice, GEOMETRY, orientation, 0.0, Q_MAX)
    h, k, l = hkl.T
    present = {
        "P": h == h,  # noqa: PLR0124 -- all
        "C": (h + k) % 2 == 0,
        "I": (h + k + l) % 2 == 0,
        "F": ((h + k) % 2 == 0) & ((h + l) % 2 == 0),
    }[centring]
    assert present.all()
    _, all_hkl = bragg_spots(replace(lattice, centring="P"), GEOMETRY, orientation, 0.0, Q_MAX)
    share = {"P": 1, "C": 1 / 2, "I": 1 / 2, "F": 1 / 4}[centring]
    assert len(hkl) / len(all_hkl) == pytest.approx(share, rel=0.3)


def test_amplitudes_follow_wilson():
    hkl = np.random.default_rng(0).integers(-60, 60, (40_000, 3))
    acentric = intensities(hkl, np.uint64(1), TRICLINIC, False)
    centric = intensities(hkl, np.uint64(1), TRICLINIC, True)
    assert acentric.mean() == pytest.approx(1, abs=0.03)
    assert acentric.var() == pytest.approx(1, abs=0.1)
    assert centric.mean() == pytest.approx(1, abs=0.03)
    assert centric.var() == pytest.approx(2, abs=0.2)
    assert not np.array_equal(acentric, intensities(hkl, np.uint64(2), TRICLINIC, False))


@pytest.mark.parametrize(
    ("system", "same", "other"),
    [
        (TRICLINIC, (-1, -2, -3), (-1, 2, 3)),
        (MONOCLINIC, (1, -2, 3), (-1, 2, 3)),
        (ORTHORHOMBIC, (-1, 2, -3), (2, 1, 3)),
        (TETRAGONAL, (-2, 1, -3), (3, 2, 1)),
        (HEXAGONAL, (2, -3, 3), (-1, 2, 3)),
        (CUBIC, (3, -1, 2), (1, 2, 4)),
    ],
)
def test_equivalent_reflections_are_equal_and_others_are_not(system, same, other):
    first, second, third = intensities(
        np.array([(1, 2, 3), same, other]), np.uint64(3), system, False
    )
    assert first == second
    assert first != third


def test_polarised_light_leaves_no_spot_along_the_field_at_right_angles():
    right = np.array([math.pi / 2])
    polarized = replace(GEOMETRY, polarization=1.0)
    assert polarized.polarization_factor(right, np.zeros(1)) == pytest.approx(0)
    assert polarized.polarization_factor(right, right) == pytest.approx(1)
    assert GEOMETRY.polarization_factor(right, right) == pytest.approx(0.5)


def test_expected_number_is_about_what_is_found():
    rng = np.random.default_rng(2)
    wide = replace(LATTICE, mosaic_rms_deg=0.02, bandwidth_rms=0.01)
    for lattice, ratio in (
        (LATTICE, 1.5),  # found reach to 3 sigma, not 2
        (replace(LATTICE, mosaic_rms_deg=0.4), 1.5),
        (wide, 1.5),
        (replace(LATTICE, turn_deg=4.0), 1.07),
    ):
        found = []
        for _ in range(40):
            spots, _ = bragg_spots(lattice, GEOMETRY, random_orientation(rng), 0.3, Q_MAX)
            found.append(len(spots))
        expected = lattice.expected_number(Q_MAX, GEOMETRY.wavelength_A)
        assert np.mean(found) == pytest.approx(ratio * expected, rel=0.12)


@pytest.mark.parametrize("error_sigmas", [-1.2, 0.0, 1.5])
@pytest.mark.parametrize("bandwidth", [1e-6, 3e-3, 2e-2])
def test_a_spots_angle_is_that_of_all_domains_and_wavelengths_that_diffract(
    error_sigmas, bandwidth
):
    """Exactly: each wavelength is diffracted by the domains that are turned to its Bragg angle."""
    wavelength_A, q, mosaic = 1.1, 0.35, 2e-3
    theta = math.asin(wavelength_A * q / 2)
    sigma = math.hypot(q * math.cos(theta) * mosaic, q**2 * wavelength_A * bandwidth / 2)
    # d error / d (angle of q to the beam, beyond 90 degrees) is -|q| cos(theta)
    tilt = theta - error_sigmas * sigma / (q * math.cos(theta))
    y, z = q * math.cos(tilt), -q * math.sin(tilt)
    _, _, _, two_theta, rms = _seen(
        0.0, y, z, Blur(wavelength_A, mosaic, bandwidth, 1e-9, 0.0, 0.0)
    )
    deviations = np.linspace(-6, 6, 20_001) * bandwidth
    angles = np.arcsin(wavelength_A * (1 + deviations) * q / 2)
    weight = np.exp(-0.5 * (deviations / bandwidth) ** 2 - 0.5 * ((angles - tilt) / mosaic) ** 2)
    mean = np.average(2 * angles, weights=weight)
    exact = math.sqrt(np.average((2 * angles - mean) ** 2, weights=weight))
    assert two_theta == pytest.approx(mean, abs=0.05 * mosaic)
    assert rms == pytest.approx(exact, rel=0.05, abs=1e-7)
