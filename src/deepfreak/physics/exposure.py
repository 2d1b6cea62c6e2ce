"""From a shot to the photons it sends to the detector, and to its image."""

import numpy as np
from numpy.typing import NDArray

from deepfreak.encoding import (
    to_8_bits,
)
from deepfreak.physics.detector import beam_factors
from deepfreak.physics.noise import (
    detect,
)
from deepfreak.physics.scattering.amorphous import amorphous_photons
from deepfreak.physics.scattering.bragg import Lattice, bragg_intensity
from deepfreak.physics.scattering.constants import R_E_SQR_M2
from deepfreak.physics.scattering.disorder import disorder_photons
from deepfreak.physics.scattering.ice import Ice, ice_photons
from deepfreak.physics.shot import Matrix, Shot
from deepfreak.physics.spectrum import bandwidth_rms
from deepfreak.physics.spots import count_spots
from deepfreak.settings import settings

Float = NDArray[np.float32]
Cell = tuple[float, float, float, float, float, float]


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
        lattice = Lattice(
            F=factors.F,
            hkl_min=np.array(factors.hkl_min, dtype=np.int64),
            default_F=factors.default_F,
            real_axes=axes,
            domains=domains,
            cells=cells,
            shape=crystal.xtal_shape,
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
    crystal = experiment.crystal
    total = np.zeros(experiment.detector.image_size, dtype=np.float32)
    if shot.photons == 0:
        return total
    met, rng = shot.surroundings()
    for matter in met:
        if isinstance(matter, Ice):
            total += ice_photons(
                matter,
                beam=experiment.beam,
                detector=experiment.detector,
                photons=shot.photons,
                wavelength_A=shot.wavelength_A,
                rng=rng,
                bandwidth_rms=bandwidth_rms(shot.sources()),
            )
        else:
            total += amorphous_photons(
                matter,
                beam=experiment.beam,
                detector=experiment.detector,
                photons=shot.photons,
                wavelength_A=shot.wavelength_A,
            )
    if shot.crystal_volume_mm3 > 0 and crystal.scatters_beside_spots:
        factors = experiment.structure_factors()
        total += disorder_photons(
            experiment.cell_intensity(),
            cells=shot.cells_in_beam(shot.real_axes(factors)[0][0]),
            beam=experiment.beam,
            detector=experiment.detector,
            photons=shot.photons,
            wavelength_A=shot.wavelength_A,
        )
    return total


def has_ice(shot: Shot) -> bool:
    """Return whether ice was in the beam."""
    return any(isinstance(matter, Ice) for matter in shot.surroundings()[0])


@settings
class Truth:
    """The physics that made an image, for each of its columns in a data set.

    Parameters
    ----------
    orientation, cell
        Of the first crystal: rows of its rotation, None for a dark pulse; a, b, c in A and alpha,
        beta, gamma in degrees, strained as it was, or None without a crystal.
    spots_3sigma, spots_5sigma
        How many spots rise that far above the noise around them; see `spots.count_spots`.
    d_min_A
        Finest spacing of a spot above 5 sigma; None without one.
    lattices, ice
        How many crystals diffracted, and whether ice did (None for a dark pulse).
    water_mm, air_mm, table_mm, ice_mm
        How far the pulse went through each material of the surroundings; None for a dark pulse and
        for a material that the experiment does not have.
    """

    pulse_photons: float
    wavelength_A: float
    orientation: Matrix | None
    cell: Cell | None
    crystal_volume_mm3: float
    bragg_photons: float
    background_photons: float
    spots_3sigma: float
    spots_5sigma: float
    d_min_A: float | None
    lattices: float
    ice: float | None
    water_mm: float | None
    air_mm: float | None
    table_mm: float | None
    ice_mm: float | None


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
        water_mm=shot.path_mm("water"),
        air_mm=shot.path_mm("air"),
        table_mm=shot.path_mm("table"),
        ice_mm=shot.path_mm("ice"),
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
