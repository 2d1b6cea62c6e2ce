"""Ice: where its rings are, how much light they have, and that spots make rings."""

import math

import numpy as np
import pydantic
import pytest

from deepfreak.physics.beam import Beam, Pulse
from deepfreak.physics.detector import (
    Detector,
    Modules,
    PlacedPanel,
    beam_factors,
    sin_theta,
)
from deepfreak.physics.scattering.atoms import R_E_SQR_M2, coherent
from deepfreak.physics.scattering.ice import Ice
from deepfreak.physics.scattering.ice.lattice import (
    B_A2,
    STRUCTURES,
    equivalent_sites,
    reflections,
)
from deepfreak.physics.scattering.ice.layer import STEP, ring_profile

WAVELENGTH_A = 1.5
BEAM = Beam(wavelength_A=WAVELENGTH_A, photons_per_pulse=1e12, size_mm=0.03, polarization=0.9)
# d in A, strong rings of hexagonal ice as data-processing programs mask them, and those of cubic
MASKED = {
    "hexagonal": (3.897, 3.669, 3.441, 2.671, 2.249, 2.072, 1.948, 1.918),
    "cubic": (3.67, 2.25, 1.92),
}
MOLECULES = {"hexagonal": 4, "cubic": 8}


def flat(pixels=256, *, pixel_mm=0.344, distance_mm=80.0):
    return Detector.flat(
        image_size=(pixels, pixels), pixel_size_mm=pixel_mm, distance_mm=distance_mm
    )


TILTED = Detector(
    image_size=(300, 200),
    pixel_size_mm=0.4,
    distance_mm=80.0,
    beam_center_px=(160.3, 60.7),
    fast_axis=(-0.4, 0.1, 1.0),
    slow_axis=(0.0, -1.0, 0.1),
)


def render(ice, detector, *, seed=0, bandwidth_rms=0.0):
    pulse = Pulse(beam=BEAM, photons=1e12, wavelength_A=WAVELENGTH_A, bandwidth_rms=bandwidth_rms)
    return ice.photons(pulse, detector, np.random.default_rng(seed)).astype(np.float64)


def powder(form="hexagonal", *, grain_size_mm=2e-5, thickness_mm=0.002):
    return Ice(form=form, thickness_mm=thickness_mm, grain_size_mm=grain_size_mm)


def stol_of(detector):
    return sin_theta(detector) / WAVELENGTH_A


def rings_of(form, stol_max):
    """Return (n,) stol of the rings and the sum of |F|^2 of each."""
    found = reflections(form, stol_max)
    stol, which = np.unique(np.round(found.stol, 7), return_inverse=True)
    return stol, np.bincount(which, weights=found.F_sqr)


@pytest.mark.parametrize("form", ["hexagonal", "cubic"])
def test_the_cell_holds_ice_of_its_known_density(form):
    structure = STRUCTURES[form]
    counts = {"O": 0.0, "H": 0.0}
    for element, occupancy, *position in structure.sites:
        counts[element] += occupancy * len(equivalent_sites(structure.space_group, position))
    assert counts == {"O": MOLECULES[form], "H": 2 * MOLECULES[form]}
    volume = reflections(form, 0.2).cell_A3
    # 0.93 g/cm3 at 100 K
    assert MOLECULES[form] * 18.015 / 6.022e23 / (volume * 1e-24) == pytest.approx(0.932, abs=0.003)


@pytest.mark.parametrize("form", ["hexagonal", "cubic"])
def test_each_oxygen_has_four_oxygens_at_the_length_of_a_hydrogen_bond(form):
    from deepfreak.physics.crystal import real_axes

    structure = STRUCTURES[form]
    axes = real_axes(structure.cell)
    oxygens = equivalent_sites(structure.space_group, list(structure.sites[0][2:]))
    shifts = np.stack(np.meshgrid(*[[-1, 0, 1]] * 3), axis=-1).reshape(-1, 3)
    others = (oxygens[None] + shifts[:, None]).reshape(-1, 3)
    distances = np.sort(np.linalg.norm((others - oxygens[0]) @ axes, axis=1))
    np.testing.assert_allclose(distances[1:5], 2.75, atol=0.015)
    assert distances[5] > 4.4


@pytest.mark.parametrize("form", ["hexagonal", "cubic"])
def test_rings_lie_at_the_tabulated_spacings_and_no_strong_one_elsewhere(form):
    stol, F_sqr = rings_of(form, 0.27)
    strength = F_sqr / stol**2
    strong = 1 / (2 * stol[strength > 0.05 * strength.max()])
    for d in MASKED[form]:
        assert np.abs(strong / d - 1).min() < 3e-3
    extra = [d for d in strong if min(abs(d / known - 1) for known in MASKED[form]) > 3e-3]
    # the ninth of the masked rings is weaker than these
    assert all(d == pytest.approx(1.883, rel=3e-3) for d in extra)


def test_the_first_three_rings_of_hexagonal_ice_have_their_measured_order():
    """Powder patterns: 100 before 101 and 002, which are about half of it."""
    stol, F_sqr = rings_of("hexagonal", 0.16)
    relative = F_sqr / stol**2
    first, second, third = relative / relative[0]
    assert first == 1
    assert 0.4 < second < 0.65
    assert 0.45 < third < 0.75


def test_absences_of_the_diamond_lattice_are_hydrogens_alone():
    """222 has nothing from oxygen, as 002 in diamond has nothing from carbon."""
    stol, F_sqr = rings_of("cubic", 0.29)
    a = STRUCTURES["cubic"].cell[0]
    weak = F_sqr[np.isclose(stol, np.sqrt(12) / a / 2, atol=1e-6)]
    assert 0 < weak < 0.01 * F_sqr.max()


@pytest.mark.parametrize("form", ["hexagonal", "cubic"])
def test_all_rings_together_have_the_light_of_as_many_free_molecules(form):
    """Averaged over much of reciprocal space, independent atoms do not interfere."""
    stol_max = 1.0
    stol, F_sqr = rings_of(form, stol_max)
    O, H = coherent("O", stol), coherent("H", stol)
    damped = np.exp(-2 * B_A2 * stol**2)
    # each hydrogen is there half the time
    free = MOLECULES[form] * (O**2 + 4 * (H / 2) ** 2) * damped
    multiplicity = np.bincount(
        np.unique(np.round(reflections(form, stol_max).stol, 7), return_inverse=True)[1]
    )
    volume = reflections(form, stol_max).cell_A3
    outer = stol > 0.4
    # all lattice points of the shell, the absent ones too
    points = volume * 4 / 3 * np.pi * ((2 * stol_max) ** 3 - 0.8**3)
    mean_free = np.average(free[outer], weights=multiplicity[outer])
    assert F_sqr[outer].sum() / points == pytest.approx(mean_free, rel=0.2)


def test_a_ring_has_the_kinematic_powder_intensity():
    """One ring caught whole, against lambda^3 m F^2 V / (4 V_cell^2 sin(theta)) (Warren, ch. 4)."""
    detector = flat(400, pixel_mm=0.2, distance_mm=80.0)
    beam = Beam(wavelength_A=WAVELENGTH_A, photons_per_pulse=1e12, size_mm=0.03)
    pulse = Pulse(beam=beam, photons=1e12, wavelength_A=WAVELENGTH_A)
    image = powder("cubic").photons(pulse, detector, np.random.default_rng(0))
    stol, F_sqr = rings_of("cubic", 0.15)
    theta = math.asin(WAVELENGTH_A * stol[0])
    volume_A3 = 0.03**2 * 0.002 * 1e21
    cross_section = (
        R_E_SQR_M2
        * WAVELENGTH_A**3
        * F_sqr[0]
        * volume_A3
        / (4 * reflections("cubic", 0.15).cell_A3 ** 2 * math.sin(theta))
    )
    polarized = (1 + math.cos(2 * theta) ** 2) / 2
    expected = beam.fluence(1e12) * cross_section * polarized
    caught = image[np.abs(stol_of(detector) - stol[0]) < 0.02].sum(dtype=np.float64)
    assert caught == pytest.approx(expected, rel=2e-3)


@pytest.mark.parametrize("detector", [flat(), TILTED])
def test_rings_lie_at_their_angle_in_every_direction_and_at_any_tilt(detector):
    image = render(powder("cubic", grain_size_mm=3e-5), detector)
    positions = detector.pixel_positions_mm()
    azimuth = np.arctan2(positions[..., 1], positions[..., 2])
    stol, ring = stol_of(detector), 1 / (2 * 3.6708)
    near = np.abs(stol - ring) < 0.012
    weight = image / beam_factors(detector, BEAM)
    seen = 0
    for low in np.linspace(-np.pi, np.pi, 13)[:-1]:
        sector = near & (azimuth >= low) & (azimuth < low + np.pi / 6)
        # sectors cut by the detector's edge are ignored
        if weight[sector].sum() > 0.1 * weight[near].sum() / 12 and sector.sum() > 100:
            seen += 1
            area = stol[sector] * beam_factors(detector, BEAM)[sector]
            mean = np.average(stol[sector], weights=(weight[sector] * area))
            assert mean == pytest.approx(ring, rel=4e-3)
    assert seen >= 6


def test_light_grows_with_the_lit_volume():
    thin, thick = (
        render(powder(thickness_mm=thickness), flat(128, pixel_mm=0.7))
        for thickness in (0.002, 0.006)
    )
    np.testing.assert_allclose(thick, 3 * thin, rtol=1e-6)


@pytest.mark.parametrize("detector", [flat(), flat(64, pixel_mm=1.376), TILTED])
def test_light_does_not_depend_on_the_rings_width(detector):
    """From rings far narrower than a pixel to rings of some pixels."""
    sharp = render(powder("cubic", grain_size_mm=2e-3), detector)
    assert (sharp > 0).mean() < 0.35
    ring = np.abs(stol_of(detector) - 1 / (2 * 3.6708)) < 0.025
    for grain_size_mm, bandwidth_rms in ((1e-4, 0.0), (2e-5, 0.0), (1e-3, 0.01), (2e-5, 0.01)):
        wide = render(
            powder("cubic", grain_size_mm=grain_size_mm), detector, bandwidth_rms=bandwidth_rms
        )
        assert wide[ring].sum() == pytest.approx(sharp[ring].sum(), rel=4e-3)
        assert wide.max() < sharp.max()


def test_rings_are_as_wide_as_scherrer_and_the_spectrum_say():
    """Width at half maximum in sin(theta)/lambda: 0.94 / (2 size), and the spectrum's share."""
    size_A, bandwidth = 200.0, 0.01
    for shape, spectrum in ((1.0, 0.0), (0.0, 1.0), (1.0, 1.0)):
        sigma = shape * 0.9394 / size_A / 2.3548
        profile = ring_profile("cubic", max(sigma, 1e-9), spectrum * bandwidth, 0.15)
        above = np.flatnonzero(profile > profile.max() / 2)
        fwhm = STEP * (above[-1] - above[0] + 1)
        ring = 1 / (2 * 3.6708)
        expected = math.hypot(shape * 0.9394 / size_A / 2, spectrum * 2.3548 * bandwidth * ring)
        assert fwhm == pytest.approx(expected, rel=0.01)


def test_a_pixel_has_the_mean_of_many_points_within_it():
    """A sharp ring, against the same ring on a detector of 8 x 8 times as many pixels."""
    ice = powder("hexagonal", grain_size_mm=5e-5)
    coarse = render(ice, flat(48, pixel_mm=0.8, distance_mm=60.0))
    fine = render(ice, flat(384, pixel_mm=0.1, distance_mm=60.0))
    summed = fine.reshape(48, 8, 48, 8).sum(axis=(1, 3))
    bright = summed > 0.02 * summed.max()
    # within a coarse pixel rings curve, which its trapezoid does not
    assert np.abs(coarse - summed)[bright].mean() < 0.02 * summed[bright].mean()
    assert coarse.sum() == pytest.approx(summed.sum(), rel=6e-3)


SPOTS = {"grains": "spots", "thickness_mm": 0.002, "grain_size_mm": 4e-4}


@pytest.mark.parametrize(
    ("form", "mosaic_rms_deg", "bandwidth_rms"),
    [("hexagonal", 0.05, 0.0), ("hexagonal", 0.3, 0.01), ("cubic", 0.0, 0.005)],
)
def test_the_mean_of_many_shots_of_spots_is_the_powder(form, mosaic_rms_deg, bandwidth_rms):
    ice = Ice(form=form, mosaic_rms_deg=mosaic_rms_deg, **SPOTS | {"grain_size_mm": 6e-4})
    shots, detector = 20, TILTED
    images = [render(ice, detector, seed=i, bandwidth_rms=bandwidth_rms) for i in range(shots)]
    rings = render(
        powder(form, grain_size_mm=ice.grain_size_mm), detector, bandwidth_rms=bandwidth_rms
    )
    mean = np.mean(images, axis=0)
    stol = stol_of(detector)
    strongest, _ = rings_of(form, 0.14)
    regions = [np.abs(stol - ring) < 0.006 for ring in strongest]
    regions.append(stol > 0)
    middle = detector.image_size[1] // 2
    halves = np.zeros(detector.image_size, dtype=bool)
    halves[:, :middle] = True
    regions += [halves, ~halves]
    for region in regions:
        light = [image[region].sum() for image in images]
        sigma = np.std(light, ddof=1) / np.sqrt(shots)
        assert 0 < sigma < 0.1 * mean[region].sum()
        assert abs(mean[region].sum() - rings[region].sum()) < 4 * sigma
    # and as far from the beam
    for region in regions[: len(strongest)]:
        places = [np.average(stol[region], weights=i[region]) for i in (mean, rings)]
        assert places[0] == pytest.approx(places[1], abs=2e-4)


def test_fewer_and_larger_grains_make_a_spottier_pattern_of_as_much_light():
    detector = flat(128, pixel_mm=0.7)
    contrast = []
    for grain_size_mm in (2.5e-4, 5e-4, 1e-3):
        image = render(Ice(**SPOTS | {"grain_size_mm": grain_size_mm}), detector)
        contrast.append(image.std() / image.mean())
    assert contrast[0] < contrast[1] / 1.5 < contrast[2] / 2.25


def test_so_many_grains_that_no_spot_stands_out_are_a_powder():
    detector = flat(64, pixel_mm=1.4)
    ice = Ice(**SPOTS | {"grain_size_mm": 1e-4})
    np.testing.assert_array_equal(
        render(ice, detector, seed=1), render(powder(grain_size_mm=1e-4), detector, seed=2)
    )


def test_spots_are_the_generators_and_nothing_elses():
    detector, ice = flat(64, pixel_mm=1.4), Ice(**SPOTS)
    first, again, other = (render(ice, detector, seed=seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).max() > 0


def test_a_grain_as_wide_as_the_beam_is_lit_only_as_far_as_the_beam_goes():
    """The mean light does not depend on the grains, however few there are."""
    beam = Beam(wavelength_A=WAVELENGTH_A, photons_per_pulse=1e12, size_mm=0.002)
    pulse = Pulse(beam=beam, photons=1e12, wavelength_A=WAVELENGTH_A)
    detector = flat(64, pixel_mm=1.4)
    ice = Ice(grains="spots", thickness_mm=0.05, grain_size_mm=0.01, mosaic_rms_deg=1.0)
    rng = np.random.default_rng(3)
    images = [ice.photons(pulse, detector, rng).sum(dtype=np.float64) for _ in range(400)]
    rings = powder(thickness_mm=0.05, grain_size_mm=0.01).photons(pulse, detector, rng)
    rings = rings.sum(dtype=np.float64)
    sigma = np.std(images) / np.sqrt(len(images))
    assert abs(np.mean(images) - rings) < 4 * sigma < 0.4 * rings


def test_gaps_between_modules_see_nothing_and_modules_what_they_saw_without():
    whole = flat(100, pixel_mm=0.9)
    modules = Modules(rows=2, columns=3, module_size=(46, 28), gap=(8, 8))
    divided = Detector(image_size=(100, 100), pixel_size_mm=0.9, distance_mm=80.0, modules=modules)
    seen = np.zeros((100, 100), dtype=bool)
    for region in modules.regions:
        seen[region] = True
    for ice in (powder(), Ice(**SPOTS)):
        with_gaps, without = render(ice, divided), render(ice, whole)
        np.testing.assert_array_equal(with_gaps[seen], without[seen])
        assert without[~seen].any()
        assert not with_gaps[~seen].any()


def test_two_panels_in_one_plane_see_what_one_does():
    whole = flat(100, pixel_mm=0.9)
    half = {"image_size": (50, 100), "fast_axis": (0, 0, 1), "slow_axis": (0, -1, 0)}
    panels = (
        PlacedPanel(origin_mm=(80.0, 45.0, -45.0), **half),
        PlacedPanel(first=(50, 0), origin_mm=(80.0, 0.0, -45.0), **half),
    )
    split = Detector(image_size=(100, 100), pixel_size_mm=0.9, panels=panels)
    for ice in (powder(), Ice(**SPOTS)):
        one, two = render(ice, whole), render(ice, split)
        np.testing.assert_allclose(two, one, rtol=1e-4, atol=1e-5 * one.max())


def test_spots_whose_light_grazes_a_panels_plane_do_not_flood_it():
    """They would be projected far off, with unbounded widths."""
    steep = Detector(
        image_size=(100, 100), pixel_size_mm=0.9, distance_mm=60.0, fast_axis=(-2.0, 0.0, 1.0)
    )
    ice = Ice(**SPOTS | {"grain_size_mm": 6e-4, "mosaic_rms_deg": 0.3})
    spots = np.mean([render(ice, steep, seed=seed) for seed in range(12)], axis=0)
    rings = render(powder(grain_size_mm=6e-4), steep)
    assert spots.sum() == pytest.approx(rings.sum(), rel=0.1)
    assert np.median(spots) <= np.median(rings) + 1e-3 * rings.max()


@pytest.mark.parametrize(
    "wrong",
    [
        {"form": "amorphous"},
        {"grains": "dust"},
        {"thickness_mm": 0},
        {"grain_size_mm": 1e-6},
        {"grain_size_mm": 0.01},
        {"mosaic_rms_deg": 10},
        {"probability": 1.5},
        {"bandwith": 0.1},
    ],
)
def test_a_senseless_setting_is_rejected(wrong):
    with pytest.raises(pydantic.ValidationError):
        Ice(**{"thickness_mm": 0.002, "grain_size_mm": 1e-4} | wrong)
