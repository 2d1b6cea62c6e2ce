"""From a shot to the photons it sends to the detector, to its image and to the truth."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from deepfreak.compiled import njit
from deepfreak.encoding import to_8_bits
from deepfreak.physics.detector import CCD, Detector, beam_factors, sensitivity_map, sin_theta
from deepfreak.physics.noise import detect
from deepfreak.physics.scattering.atoms import R_E_SQR_M2
from deepfreak.physics.scattering.bragg import bragg_intensity
from deepfreak.physics.scattering.by_pixel import SHAPES, RenderedCrystal
from deepfreak.physics.scattering.disorder import disorder_photons
from deepfreak.physics.shot import MATERIALS, Cell, Shot, Truth

Float = NDArray[np.float32]
Array = NDArray[np.float64]

# Less than this is no spot, however dark its surroundings.
MIN_PHOTONS = 1.0


class SpotCounts(NamedTuple):
    """How many spots of a shot exceed 3 and 5 sigma, and the finest spacing in A of the latter."""

    above_3_sigma: int
    above_5_sigma: int
    d_min_A: float | None


def count_spots(
    bragg: Float, background: Float, detector: Detector, wavelength_A: float
) -> SpotCounts:
    """Count the spots in expected photons, both (slow, fast).

    A spot is a local maximum of the Bragg photons that the detector's pixels take in, before the
    point spread. Its signal is their sum over the 3 x 3 pixels around it; sigma is the root of what
    the background and the read-out noise vary by there, and is at least one photon. SpotCounts that
    touch count as one. A spot's spacing is that of its brightest pixel's centre.
    """
    response = detector.response
    readout = response.readout_noise_adu if isinstance(response, CCD) else 0.0
    sensitivity = sensitivity_map(detector)
    strong, clear, sin_largest = _count(
        bragg * sensitivity, background, sensitivity, sin_theta(detector), readout**2
    )
    finest = wavelength_A / (2 * sin_largest) if sin_largest > 0 else None
    return SpotCounts(strong, clear, finest)


@njit(cache=True, nogil=True, error_model="numpy")
def _count(
    light: Float, background: Float, sensitivity: Float, sin_theta: Array, readout_variance: float
) -> tuple[int, int, float]:
    """Return the spots above 3 sigma, those above 5, and the largest sin(theta) of the latter."""
    rows, columns = light.shape
    above_3, above_5, sin_largest = 0, 0, 0.0
    # of 9 pixels the brightest holds a ninth at least: most others are passed over at once,
    # and half of the rest for their neighbour before
    least = max(MIN_PHOTONS, 3 * np.sqrt(max(1.0, 9 * readout_variance))) / 9
    for i in range(rows):
        for j in range(columns):
            if light[i, j] < least or (j > 0 and light[i, j - 1] >= light[i, j]):
                continue
            signal, variance = _spot(light, background, sensitivity, i, j, readout_variance)
            if signal < MIN_PHOTONS:
                continue
            sigma = np.sqrt(max(variance, 1.0))
            if signal >= 3 * sigma:
                above_3 += 1
            if signal >= 5 * sigma:
                above_5 += 1
                sin_largest = max(sin_largest, sin_theta[i, j])
    return above_3, above_5, sin_largest


@njit(cache=True, nogil=True, error_model="numpy")
def _spot(
    light: Float, background: Float, sensitivity: Float, i: int, j: int, readout_variance: float
) -> tuple[float, float]:
    """Return the photons around a local maximum and the variance there, (0, 0) if it is none."""
    rows, columns = light.shape
    here = light[i, j]
    signal, variance = 0.0, 0.0
    for k in range(max(i - 1, 0), min(i + 2, rows)):
        for l in range(max(j - 1, 0), min(j + 2, columns)):
            there = light[k, l]
            # of equal neighbours the first is the maximum
            earlier = k < i or (k == i and l < j)
            if there > here or (earlier and there == here):
                return 0.0, 0.0
            signal += there
            variance += background[k, l] * sensitivity[k, l] + readout_variance
    return signal, variance


def scatter(shot: Shot) -> Float:
    """Return the expected photons of a shot, (slow, fast)."""
    return bragg_photons(shot) + background_photons(shot)


def bragg_photons(shot: Shot) -> Float:
    """Return the expected photons in Bragg spots, (slow, fast).

    Of each crystal a small mosaic one is rendered and scaled by the ratio of volumes (Appendix A).
    """
    experiment = shot.experiment
    crystal, detector = experiment.crystal, experiment.detector
    total = np.zeros(detector.image_size)
    if shot.crystal_volume_mm3 == 0 or shot.photons == 0:
        return total.astype(np.float32)
    factors = experiment.structure_factors()
    sources = shot.sources()
    for one, axes, domains in zip(
        shot.crystals, shot.real_axes(factors), shot.domains(), strict=True
    ):
        cells = crystal.domain_cells(axes[0])
        lattice = RenderedCrystal(
            F=factors.F,
            hkl_min=np.array(factors.hkl_min, dtype=np.int64),
            default_F=factors.default_F,
            real_axes=axes,
            domains=domains,
            cells=cells,
            shape=SHAPES[crystal.xtal_shape],
        )
        domains_in_beam = one.share * shot.cells_in_beam(axes[0]) / cells.prod()
        for panel in detector.resolved_panels():
            total[panel.region] += domains_in_beam * bragg_intensity(
                lattice, panel, sources=sources, oversample=crystal.oversample
            )
    total *= R_E_SQR_M2 * experiment.beam.fluence(shot.photons)
    total *= beam_factors(detector, experiment.beam, oversample=crystal.oversample)
    return total.astype(np.float32)


def background_photons(shot: Shot) -> Float:
    """Return the expected photons from everything but the crystal's spots, (slow, fast)."""
    experiment = shot.experiment
    total = np.zeros(experiment.detector.image_size, dtype=np.float32)
    if shot.photons == 0:
        return total
    pulse, detector = shot.pulse(), experiment.detector
    met, rng = shot.surroundings()
    for matter in met:
        total += matter.photons(pulse, detector, rng)
    if shot.crystal_volume_mm3 > 0 and experiment.crystal.scatters_beside_spots:
        axes = shot.real_axes(experiment.structure_factors())[0][0]
        cells = shot.cells_in_beam(axes)
        total += disorder_photons(
            experiment.cell_intensity(), cells=cells, pulse=pulse, detector=detector
        )
    return total


def has_ice(shot: Shot) -> bool:
    """Return whether ice was in the beam."""
    return shot.meets("ice")


def expose(shot: Shot) -> tuple[Float, Truth]:
    """Return the expected photons of a shot, (slow, fast), and the truth about it."""
    bragg = bragg_photons(shot)
    background = background_photons(shot)
    return bragg + background, truth_of(shot, bragg=bragg, background=background)


def truth_of(shot: Shot, *, bragg: Float, background: Float) -> Truth:
    """Return the truth about a shot, whose expected photons are given in two parts."""
    spots = count_spots(bragg, background, shot.experiment.detector, shot.wavelength_A)
    return Truth(
        pulse_photons=shot.photons,
        wavelength_A=shot.wavelength_A,
        orientation=shot.orientation if shot.photons > 0 else None,
        cell=_cell(shot),
        crystal_volume_mm3=shot.crystal_volume_mm3,
        bragg_photons=float(bragg.sum(dtype=np.float64)),
        background_photons=float(background.sum(dtype=np.float64)),
        spots_3sigma=spots.above_3_sigma,
        spots_5sigma=spots.above_5_sigma,
        d_min_A=spots.d_min_A,
        lattices=len(shot.crystals) if shot.crystal_volume_mm3 > 0 else 0,
        ice=has_ice(shot) if shot.photons > 0 else None,
        **{f"{material}_mm": shot.path_mm(material) for material in MATERIALS},
    )


def _cell(shot: Shot) -> Cell | None:
    """Return lengths in A and angles in degrees of the first crystal's cell."""
    if shot.crystal_volume_mm3 == 0:
        return None
    axes = shot.real_axes(shot.experiment.structure_factors())[0][0]
    a, b, c = (float(length) for length in np.linalg.norm(axes, axis=1))
    cosines = axes @ axes.T / np.outer([a, b, c], [a, b, c])
    alpha, beta, gamma = np.degrees(np.arccos(cosines[[1, 0, 0], [2, 2, 1]])).tolist()
    return (a, b, c, alpha, beta, gamma)


def simulate(shot: Shot) -> tuple[NDArray[np.uint8], Truth]:
    """Return the 8-bit image of a shot, (slow, fast), and the truth about it."""
    expected, truth = expose(shot)
    counts = detect(expected, shot.experiment.detector, shot.noise_generator())
    return to_8_bits(counts), truth
