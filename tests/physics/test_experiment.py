"""Statistics of shots of the diffranet recipe."""

from dataclasses import fields, replace

import numpy as np
import pytest

from deepfreak.physics.experiment import Experiment
from deepfreak.physics.exposure import background_photons, bragg_photons, simulate
from deepfreak.physics.recipe import experiment_from, load_recipe, settings_of
from deepfreak.physics.shot import MATERIALS, Truth


@pytest.fixture(scope="module")
def small() -> Experiment:
    """Return the diffranet recipe with a small cell and detector."""
    table = settings_of(load_recipe("diffranet"))
    table["crystal"]["structure"] |= {"cell": [40, 50, 60, 90, 90, 90], "atoms_per_asu": 1000}
    table["crystal"]["mosaic_domains"] = 10
    table["detector"] |= {"image_size": [64, 64], "pixel_size_mm": 1.0}
    return experiment_from(table)


def test_share_of_dark_pulses_and_of_classes_is_the_papers() -> None:
    experiment = load_recipe("diffranet")
    labels = np.array([experiment.draw(seed=7, index=i).label for i in range(6000)])
    shares = np.bincount(labels, minlength=5) / len(labels)
    lit = 1 - 0.1587
    wanted = np.array([0.1587, 0.310 * lit, 0.318 * lit, 0.232 * lit, 0.140 * lit])
    sigma = np.sqrt(wanted * (1 - wanted) / len(labels))
    assert (np.abs(shares - wanted) < 4 * sigma).all()


def test_wavelength_and_pulse_energy_vary_as_given() -> None:
    experiment = load_recipe("diffranet")
    shots = [experiment.draw(seed=1, index=i) for i in range(4000)]
    wavelengths = np.array([shot.wavelength_A for shot in shots])
    assert wavelengths.mean() == pytest.approx(1.5, abs=5e-4)
    assert wavelengths.std() == pytest.approx(0.0075, rel=0.05)
    photons = np.array([shot.photons for shot in shots])
    # the mean of max(0, N(1, 1)) is Phi(1) + phi(1) = 1.0833
    assert photons.mean() == pytest.approx(1.0833e12, rel=0.04)


def test_crystal_volume_lies_in_the_range_of_its_class() -> None:
    experiment = load_recipe("diffranet")
    for index in range(300):
        shot = experiment.draw(seed=2, index=index)
        fraction = shot.crystal_volume_mm3 / experiment.crystal.volume_mm3
        if shot.label == 0:
            assert shot.photons == 0
        else:
            low, high = experiment.classes.lit[shot.label - 1].crystal_fraction
            assert low <= fraction * (1 + 1e-12)
            assert fraction <= high * (1 + 1e-12)


def test_scattering_is_proportional_to_pulse_and_crystal(small: Experiment) -> None:
    shot = replace(small.draw(seed=0, index=0), label=2, photons=1e12, crystal_volume_mm3=1e-6)
    spots, background = bragg_photons(shot), background_photons(shot)
    assert spots.max() > 0
    double = replace(shot, photons=2e12)
    np.testing.assert_allclose(bragg_photons(double), 2 * spots, rtol=1e-6)
    np.testing.assert_allclose(background_photons(double), 2 * background, rtol=1e-6)
    larger, none = (replace(shot, crystal_volume_mm3=volume) for volume in (3e-6, 0.0))
    np.testing.assert_allclose(bragg_photons(larger), 3 * spots, rtol=1e-6)
    surroundings = background_photons(none)
    crystals = background - surroundings
    assert crystals.min() > 0
    np.testing.assert_allclose(
        background_photons(larger) - surroundings, 3 * crystals, rtol=1e-3, atol=1e-3
    )


def test_total_bragg_light_hardly_depends_on_how_large_a_domain_is_rendered(
    small: Experiment,
) -> None:
    # the short cut of Appendix A: a small crystal, scaled by the true ratio of volumes
    totals = []
    for domain_size_mm in (1e-4, 1.5e-4):
        crystal = replace(
            small.crystal, domain_size_mm=domain_size_mm, mosaic_domains=200, oversample=8
        )
        experiment = replace(small, crystal=crystal)
        shots = [
            replace(
                experiment.draw(seed=3, index=i), label=2, photons=1e12, crystal_volume_mm3=1e-6
            )
            for i in range(12)
        ]
        totals.append(sum(float(bragg_photons(shot).sum()) for shot in shots))
    assert totals[0] == pytest.approx(totals[1], rel=0.1)


def test_image_depends_on_seed_and_index_only(small: Experiment) -> None:
    image, truth = simulate(small.draw(seed=5, index=9))
    simulate(small.draw(seed=5, index=3))
    again, same_truth = simulate(small.draw(seed=5, index=9))
    np.testing.assert_array_equal(image, again)
    assert truth == same_truth
    other, _ = simulate(small.draw(seed=6, index=9))
    assert (image != other).any()


def test_background_means_are_those_of_the_reference() -> None:
    # the reference's images have means of 299 (water) and 390 (air, elastic) photons at 1e12
    lengths = ("background.0.thickness_mm=0.01", "background.1.path_mm=5")
    for change, expected in (("background.1.compton=false", 390), ("name=as-it-is", 400)):
        experiment = load_recipe("diffranet", changes=(*lengths, change))
        shot = replace(
            experiment.draw(seed=0, index=0), photons=1e12, wavelength_A=1.5, crystal_volume_mm3=0
        )
        assert background_photons(shot).mean() == pytest.approx(299 + expected, rel=0.01)


def test_the_background_of_shots_without_crystal_varies() -> None:
    experiment = load_recipe("diffranet")
    shots = [experiment.draw(seed=8, index=i) for i in range(200)]
    empty = [shot for shot in shots if shot.class_name == "no-crystal"]
    per_photon = np.array([background_photons(shot).mean() / shot.photons for shot in empty])
    assert 0.1 < per_photon.std() / per_photon.mean() < 0.3
    # it follows from the lengths that were drawn, which are the truth
    water = np.array([shot.path_mm("water") for shot in empty])
    assert {shot.path_mm("air") for shot in empty} == {5.0}
    np.testing.assert_allclose(per_photon, (299 * water / 0.01 + 400) / 1e12, rtol=0.03)
    assert 0.005 < water.min() < water.max() < 0.015
    assert water.mean() == pytest.approx(0.01, rel=0.15)


def test_a_blank_shot_has_no_truth_of_what_was_not_drawn() -> None:
    experiment = load_recipe("diffranet")
    shots = (experiment.draw(seed=8, index=i) for i in range(100))
    _, truth = simulate(next(shot for shot in shots if shot.class_name == "blank"))
    unknown = ("orientation", "cell", "d_min_A", "ice", "water_mm", "air_mm", "table_mm", "ice_mm")
    assert {name for name in unknown if getattr(truth, name) is not None} == set()
    assert truth.pulse_photons == truth.background_photons == truth.lattices == 0


def test_the_truth_has_the_path_through_every_material() -> None:
    assert {f"{material}_mm" for material in MATERIALS} == {
        field.name for field in fields(Truth) if field.name.endswith("_mm")
    }
