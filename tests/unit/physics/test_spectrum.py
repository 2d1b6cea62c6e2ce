"""Spectra and directions of the beam."""

from pathlib import Path

import numpy as np
import pytest

from deepfreak.errors import RecipeError
from deepfreak.physics.beam import SASE, Beam, Divergence, Lines, SpectrumFile
from tests.golden.reference import BraggCase, read_case

TOYS = Path(__file__).parents[2] / "golden/data"


def beam(**settings: object) -> Beam:
    """Return a beam of 1.5 A with the given settings."""
    return Beam(wavelength_A=1.5, photons_per_pulse=1e12, size_mm=0.03, **settings)


def rng(seed: int = 0) -> np.random.Generator:
    """Return a generator."""
    return np.random.default_rng(seed)


def test_a_plain_beam_is_one_plane_wave() -> None:
    np.testing.assert_array_equal(beam().sources(1.4, rng()), [[1, 0, 0, 1.4, 1]])


def test_lines_and_directions_are_those_of_the_reference() -> None:
    case = read_case(TOYS, "toy_spectrum_div")
    assert isinstance(case, BraggCase)
    ours = beam(
        spectrum=Lines(bandwidth=0.015, steps=3),
        divergence=Divergence(
            horizontal_mrad=2, vertical_mrad=1, horizontal_steps=3, vertical_steps=3
        ),
    ).sources(1.5, rng())
    assert len(ours) == len(case.sources)
    order, theirs = (np.lexsort(s[:, :4].round(7).T) for s in (ours, case.sources))
    np.testing.assert_allclose(ours[order, :4], case.sources[theirs, :4], atol=1e-9)
    np.testing.assert_allclose(ours[:, 4], 1 / 15)


def test_a_square_grid_keeps_its_corners() -> None:
    grid = Divergence(
        horizontal_mrad=1, vertical_mrad=1, horizontal_steps=3, vertical_steps=3, rounded=False
    )
    assert len(grid.directions()) == 9
    np.testing.assert_allclose(np.linalg.norm(grid.directions(), axis=1), 1)


def test_sase_spectra_have_their_mean_width_and_are_chaotic() -> None:
    sase = SASE(bandwidth=0.005, spike_width=0.0005, steps=200)
    spectra = np.array([sase.lines(1.5, rng(seed))[:, 1] for seed in range(3000)])
    wavelengths = sase.lines(1.5, rng())[:, 0]
    mean = spectra.mean(axis=0)
    above = wavelengths[mean > mean.max() / 2]
    assert (above[-1] - above[0]) / 1.5 == pytest.approx(0.005, rel=0.1)
    # chaotic light: at one wavelength the intensity is exponential, its RMS equal to its mean
    middle = spectra[:, 100]
    assert middle.std() / middle.mean() == pytest.approx(1, abs=0.06)
    # and correlated over the width of a spike
    step = (wavelengths[1] - wavelengths[0]) / 1.5
    correlation = np.array([np.corrcoef(middle, spectra[:, 100 + n])[0, 1] for n in range(30)])
    half = np.argmax(correlation < 0.5) - 0.5
    assert 2 * half * step == pytest.approx(0.0005 * np.sqrt(2), rel=0.45)


def test_each_pulse_has_its_own_sase_spectrum() -> None:
    sase = SASE(bandwidth=0.005, spike_width=0.0005)
    assert (sase.lines(1.5, rng(1)) != sase.lines(1.5, rng(2))).any()
    np.testing.assert_array_equal(sase.lines(1.5, rng(1)), sase.lines(1.5, rng(1)))


def test_a_measured_spectrum_moves_with_the_pulses_mean(tmp_path: Path) -> None:
    path = tmp_path / "spectrum.txt"
    path.write_text("# wavelength weight\n1.49 1\n1.50 2\n1.51 1\n")
    measured = beam(spectrum=SpectrumFile(file=str(path)))
    np.testing.assert_allclose(measured.sources(1.5, rng())[:, 3], [1.49, 1.50, 1.51])
    np.testing.assert_allclose(measured.sources(1.5, rng())[:, 4], [0.25, 0.5, 0.25])
    np.testing.assert_allclose(measured.sources(3.0, rng())[:, 3], [2.98, 3.00, 3.02])
    equal = beam(spectrum=SpectrumFile(file=str(path)), equal_weights=True)
    np.testing.assert_allclose(equal.sources(1.5, rng())[:, 4], 1 / 3)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "found a table|no data"),
        ("1.5\n", "1 x 1"),
        ("1.5 a\n", "two columns of numbers"),
        ("-1.5 1\n", "positive wavelengths"),
        ("1.5 0\n", "not all 0"),
        ("nan 1\n", "positive wavelengths"),
    ],
)
@pytest.mark.filterwarnings("ignore:loadtxt. input contained no data")
def test_a_bad_spectrum_file_is_rejected(tmp_path: Path, content: str, said: str) -> None:
    path = tmp_path / "bad.txt"
    path.write_text(content)
    with pytest.raises(RecipeError, match=said):
        SpectrumFile(file=str(path)).lines(1.5, rng())


def test_a_missing_spectrum_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="cannot be read"):
        SpectrumFile(file=str(tmp_path / "none.txt")).lines(1.5, rng())


def test_gamma_pulses_are_never_dark_and_have_their_spread() -> None:
    sase = beam(pulse_energy_rms=0.3, pulse_energy_law="gamma")
    generator = rng()
    energies = np.array([sase.draw_energy(generator) for _ in range(20_000)])
    assert energies.min() > 0
    assert energies.mean() == pytest.approx(1, abs=0.01)
    assert energies.std() == pytest.approx(0.3, rel=0.03)
