"""Our images against those of the original programs, pixel by pixel.

The toy cases are part of the project. All others are read from ../shared/reference, or from the
folder that the environment variable DEEPFREAK_REFERENCE names.
"""

import os
from pathlib import Path

import numpy as np
import pytest

from deepfreak.physics.detector import CCD
from deepfreak.physics.noise import point_spread, read_out
from tests.conftest import SHARED
from tests.golden.reference import AmorphousCase, BraggCase, NoiseCase, find_cases, read_case

TOYS = Path(__file__).parent / "data"
KEPT = SHARED / "reference"
FOLDER = Path(os.environ.get("DEEPFREAK_REFERENCE", KEPT))
CASES = [(TOYS, name) for name in find_cases(TOYS)]
CASES += [(FOLDER, name) for name in find_cases(FOLDER) if not (TOYS / f"{name}.json").exists()]


@pytest.fixture(params=CASES, ids=[name for _, name in CASES])
def case(request: pytest.FixtureRequest) -> BraggCase | AmorphousCase | NoiseCase:
    """Return each case in turn."""
    folder, name = request.param
    return read_case(folder, name, octant_folder=KEPT)


def assert_agrees(ours: np.ndarray, reference: np.ndarray) -> None:
    """Sum within 1e-6; all but max(3, 0.01 %) of the relevant pixels within 1e-5."""
    reference = reference.astype(np.float64)
    assert ours.sum() == pytest.approx(reference.sum(), rel=1e-6)
    matter = np.maximum(ours, reference) > 1e-6 * reference.max()
    off = np.abs(ours - reference)[matter] > 1e-5 * reference[matter]
    assert off.sum() <= max(3, 1e-4 * matter.sum())


def test_reference_is_met(case: BraggCase | AmorphousCase | NoiseCase) -> None:
    if isinstance(case, BraggCase):
        assert_agrees(case.render(), case.image)
    elif isinstance(case, AmorphousCase):
        np.testing.assert_allclose(case.render(), case.image, rtol=1e-5)
    else:
        check_noise(case)


def check_noise(case: NoiseCase) -> None:
    """Compare the stored stages: the point spread by pixel, the others statistically."""
    stages = {name: stage.astype(np.float64) for name, stage in case.stages.items()}
    before_spread = stages.get("photons", stages.get("input"))
    checked = 0
    if "photons" in stages and "input" in stages:
        lit = stages["input"] > 10
        expected = stages["input"][lit]
        variance = expected + (case.calibration * expected) ** 2
        z = (stages["photons"][lit] - expected) / np.sqrt(variance)
        assert abs(z.mean()) < 5 / np.sqrt(z.size)
        assert z.var() == pytest.approx(1, abs=8 / np.sqrt(z.size) + 0.01)
        checked += 1
    if "psf" in stages and before_spread is not None:
        ours = point_spread(
            before_spread.astype(np.float32),
            fwhm_mm=case.psf_fwhm_mm,
            pixel_size_mm=case.pixel_size_mm,
        )
        # column 0 of the reference is wrong: its convolution wraps there
        np.testing.assert_allclose(ours[:, 1:], stages["psf"][:, 1:], rtol=7e-3, atol=0.05)
        checked += 1
    if "image" in stages and "psf" in stages:
        spread = case.stages["psf"].astype(np.float32)
        response = CCD(
            readout_noise_adu=case.readout, adc_offset_adu=case.offset, saturation_value=65025
        )
        ours = read_out(spread, response, np.random.default_rng(0)).astype(np.float64)
        # where negative values cannot have been clipped (ours) or wrapped to white (theirs)
        inside = (spread + case.offset > 6 * case.readout) & (spread < 60000)
        for image in (ours, stages["image"]):
            noise = (image - spread)[inside]
            # whole counts are truncated: half a count less, and a twelfth more variance
            assert noise.mean() == pytest.approx(
                case.offset - 0.5, abs=5 * case.readout / np.sqrt(noise.size) + 0.02
            )
            assert noise.std() == pytest.approx(np.hypot(case.readout, np.sqrt(1 / 12)), rel=0.02)
        checked += 1
    assert checked, "a noise case needs two neighbouring stages of input, photons, psf, image"


@pytest.mark.parametrize("name", ["toy_tophat", "toy_gauss", "toy_square"])
def test_definition_meets_the_reference(name: str) -> None:
    case = read_case(TOYS, name)
    assert isinstance(case, BraggCase)
    assert_agrees(case.render(method="by_pixel"), case.image)
