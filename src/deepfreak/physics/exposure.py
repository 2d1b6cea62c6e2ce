"""From a shot to the photons it sends to the detector, and to its image."""

import numpy as np
from numpy.typing import NDArray

from deepfreak.encoding import to_8_bits
from deepfreak.physics.detector import beam_factors
from deepfreak.physics.noise import detect
from deepfreak.physics.scattering.bragg import bragg_intensity
from deepfreak.physics.scattering.by_pixel import SHAPES, RenderedCrystal
from deepfreak.physics.scattering.constants import R_E_SQR_M2
from deepfreak.physics.scattering.disorder import disorder_photons
from deepfreak.physics.shot import MATERIALS, Cell, Shot, Truth
from deepfreak.physics.spots import count_spots

Float = NDArray[np.float32]


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
