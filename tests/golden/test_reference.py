"""Our images against those of the original programs, pixel by pixel."""

from pathlib import Path

import numpy as np
import pytest

from deepfreak.beam import Beam
from deepfreak.detector import Detector, beam_factors, sin_theta
from deepfreak.noise import point_spread
from deepfreak.scattering.amorphous import scatter_from_table
from deepfreak.scattering.constants import AVOGADRO, R_E_SQR_M2
from tests.golden.reference import read_bragg_case

TOYS = Path(__file__).parent / "data"

FLAT = Detector.flat(image_size=(512, 512), pixel_size_mm=0.172, distance_mm=80)
BEAM = Beam(wavelength_A=1.5, photons_per_pulse=1e12, size_mm=0.03)


def assert_agrees(ours: np.ndarray, reference: np.ndarray) -> None:
    """Sum within 1e-6; all but max(3, 0.01 %) of the pixels that matter within 1e-5."""
    reference = reference.astype(np.float64)
    assert ours.sum() == pytest.approx(reference.sum(), rel=1e-6)
    matter = np.maximum(ours, reference) > 1e-6 * reference.max()
    off = np.abs(ours - reference)[matter] > 1e-5 * reference[matter]
    assert off.sum() <= max(3, 1e-4 * matter.sum())


@pytest.mark.parametrize("name", ["toy_tophat", "toy_gauss"])
def test_spots_followed_to_the_detector_agree_with_the_reference(name: str) -> None:
    case = read_bragg_case(TOYS, name)
    assert_agrees(case.render(follow_landings=True), case.image)


@pytest.mark.parametrize("name", ["toy_tophat", "toy_gauss", "toy_square"])
def test_definition_agrees_with_the_reference(name: str) -> None:
    case = read_bragg_case(TOYS, name)
    assert_agrees(case.render(follow_landings=False), case.image)


def test_several_sources_agree_with_the_reference() -> None:
    case = read_bragg_case(TOYS, "toy_spectrum_div")
    assert_agrees(case.render(), case.image)


@pytest.mark.parametrize("name", ["psii_0", "psii_1"])
def test_photosystem_at_full_size_agrees_with_the_reference(shared: Path, name: str) -> None:
    case = read_bragg_case(shared / "reference", name)
    assert_agrees(case.render(), case.image)


@pytest.mark.parametrize(
    ("name", "thickness_mm", "density", "molar_mass"),
    [("nonbragg_water", 0.01, 1.0, 18), ("nonbragg_air", 5, 1.2e-3, 28)],
)
def test_amorphous_scattering_agrees_with_the_reference(
    shared: Path, name: str, thickness_mm: float, density: float, molar_mass: float
) -> None:
    with np.load(shared / "reference" / f"{name}.npz") as arrays:
        reference, (stol, F) = arrays["image"], np.ascontiguousarray(arrays["stol"].T)
    molecules = BEAM.area_mm2 * thickness_mm * 1e-3 * density * AVOGADRO / molar_mass
    ours = np.empty((512, 512), dtype=np.float32)
    scatter_from_table(
        ours,
        stol=stol,
        F=F,
        sin_theta=sin_theta(FLAT),
        wavelength=1.5,
        factors=beam_factors(FLAT, BEAM),
        strength=R_E_SQR_M2 * BEAM.fluence(1e12) * molecules,
    )
    np.testing.assert_allclose(ours, reference, rtol=1e-5)


def test_point_spread_agrees_with_the_reference(shared: Path) -> None:
    with np.load(shared / "reference" / "noisify_psfonly.npz") as arrays:
        photons, reference = arrays["input"], arrays["psf"]
    ours = point_spread(photons, fwhm_mm=0.046, pixel_size_mm=0.172)
    # column 0 of the reference is wrong: its convolution wraps there
    np.testing.assert_allclose(ours[:, 1:], reference[:, 1:], rtol=7e-3)
