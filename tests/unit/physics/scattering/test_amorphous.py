"""Water, air and tables: the amount in the beam and what it scatters."""

import numpy as np
import pytest

from deepfreak.errors import RecipeError
from deepfreak.physics.beam import Beam, Pulse
from deepfreak.physics.detector import Detector
from deepfreak.physics.scattering.amorphous import (
    Air,
    TabulatedMatter,
    Water,
)
from deepfreak.physics.scattering.ice import Ice

BEAM = Beam(wavelength_A=1.5, photons_per_pulse=1e12, size_mm=0.03)
DETECTOR = Detector.flat(image_size=(128, 128), pixel_size_mm=0.688, distance_mm=80)
PULSE = Pulse(beam=BEAM, photons=1e12, wavelength_A=1.5)


def photons(matter):
    return matter.photons(PULSE, DETECTOR, np.random.default_rng(0))


def test_means_per_pixel_are_those_of_the_reference():
    """299 and 390 photons in pixels of 0.172 mm (nonBragg at 1e12 photons)."""
    water = photons(Water(thickness_mm=0.01)).mean() / 16
    air = photons(Air(path_mm=5)).mean() / 16
    assert water == pytest.approx(299, rel=0.01)
    assert air == pytest.approx(390, rel=0.02)


def test_a_table_of_waters_curve_scatters_as_water(tmp_path):
    stol, F = Water(thickness_mm=0.01).form_factor()
    path = tmp_path / "water.stol"
    np.savetxt(path, np.column_stack([stol, F]))
    table = TabulatedMatter(
        file=str(path), thickness_mm=0.02, density_g_cm3=0.5, molar_mass_g=18.015
    )
    np.testing.assert_allclose(
        photons(table),
        photons(Water(thickness_mm=0.01)),
        rtol=1e-6,
    )


def test_a_table_without_its_file_is_rejected():
    table = TabulatedMatter(file="nowhere.stol", thickness_mm=1, density_g_cm3=1, molar_mass_g=18)
    with pytest.raises(RecipeError, match="nowhere.stol: cannot be read"):
        photons(table)


def test_compton_light_of_air_is_missing_forwards_and_near_all_electrons_backwards():
    stol, elastic = Air(path_mm=5).form_factor()
    _, total = Air(path_mm=5, compton=True).form_factor()
    recoil = total**2 - elastic**2
    electrons = 2 * (0.79 * 7 + 0.21 * 8)
    assert recoil[0] == pytest.approx(0, abs=1e-9)
    assert np.all(np.diff(recoil) > 0)
    assert recoil[stol == 1.0] == pytest.approx(0.9 * electrons, rel=0.05)


def test_the_reference_curve_of_air_holds_its_compton_light(shared):
    with np.load(shared / "reference" / "nonbragg_air.npz") as arrays:
        stol, F = arrays["stol"].T
    ours, total = Air(path_mm=5, compton=True).form_factor()
    middle = (stol > 0.15) & (stol < 0.45)
    np.testing.assert_allclose(np.interp(stol, ours, total)[middle], F[middle], rtol=0.05)


def test_a_range_stands_for_its_middle_and_is_rejected_backwards():
    np.testing.assert_array_equal(
        photons(Water(thickness_mm=(0.005, 0.015))),
        photons(Water(thickness_mm=0.01)),
    )
    for matter, wrong in (
        (Water, {"thickness_mm": (0.02, 0.01)}),
        (Air, {"path_mm": (6, 4)}),
        (Ice, {"thickness_mm": (0.02, 0.01), "grain_size_mm": 1e-4}),
        (Air, {"path_mm": (0, 4)}),
        (Ice, {"thickness_mm": (0.001, 0.01), "grain_size_mm": 2e-3}),
    ):
        with pytest.raises(ValueError, match=r"low <= high|greater than 0|at most thickness_mm"):
            matter(**wrong)
