"""The experiment: everything that makes an image, the shots drawn from it, and their pictures."""

import math
from functools import lru_cache
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from deepfreak.beam import Beam
from deepfreak.crystal import Crystal, random_domains, random_orientation, real_axes
from deepfreak.detector import Detector, beam_factors
from deepfreak.noise import detect, to_8_bits
from deepfreak.scattering.amorphous import Amorphous, amorphous_photons
from deepfreak.scattering.bragg import Lattice, Panel, bragg_intensity
from deepfreak.scattering.constants import R_E_SQR_M2
from deepfreak.settings import Fraction, NonNegative, settings
from deepfreak.structure_factors import (
    Model,
    Reflections,
    StructureFactors,
    Wilson,
    structure_factors_for,
)

Array = NDArray[np.float64]
Float = NDArray[np.float32]

# Structure factors reach this much further than the detector's corner at the mean wavelength.
WAVELENGTH_SIGMAS = 5.0


@settings
class LitClass:
    """A class of shots that X-rays reached.

    Parameters
    ----------
    name, probability
        Its share of the lit shots.
    crystal_fraction
        Range of the crystalline volume in the beam as a fraction of the whole crystal's, drawn
        log-uniformly; (0, 0) for shots without crystal.
    """

    name: str
    probability: Fraction
    crystal_fraction: tuple[NonNegative, NonNegative] = (0.0, 0.0)

    def __post_init__(self) -> None:
        low, high = self.crystal_fraction
        if high < low or (low == 0) != (high == 0):
            raise ValueError(
                "crystal_fraction is a range (low, high) with 0 < low <= high, or (0, 0), "
                f"found {self.crystal_fraction}"
            )


@settings
class Classes:
    """What a shot can be, decided before it is rendered and never read off its image.

    Parameters
    ----------
    label_version
        Name of this choice of boundaries.
    dark
        Class of the shots whose pulse came out without photons.
    lit
        The others; their probabilities sum to one.
    """

    label_version: str
    dark: str
    lit: Annotated[tuple[LitClass, ...], Field(min_length=1)]

    def __post_init__(self) -> None:
        total = sum(lit.probability for lit in self.lit)
        if abs(total - 1) > 1e-6:
            raise ValueError(f"the probabilities of the lit classes sum to 1, found {total:.6g}")
        if len(set(self.names)) != len(self.names):
            raise ValueError(f"class names are distinct, found {', '.join(self.names)}")

    @property
    def names(self) -> tuple[str, ...]:
        """All class names; a label is an index into them."""
        return (self.dark, *(lit.name for lit in self.lit))


@settings
class Experiment:
    """Beam, crystal, surroundings and detector, and which shots to make of them."""

    name: str = "experiment"
    crystal: Crystal
    beam: Beam
    detector: Detector
    background: tuple[Amorphous, ...] = ()
    classes: Classes

    def draw(self, *, seed: int, index: int) -> "Shot":
        """Return shot `index` of the series that `seed` names."""
        return draw(self, seed=seed, index=index)

    @property
    def d_min_A(self) -> float:
        """Finest spacing that can reach the detector at the shortest wavelength drawn."""
        rows, columns = self.detector.image_size
        corners = self.detector.origin_mm + self.detector.pixel_size_mm * np.array(
            [
                s * self.detector.axes[1] + f * self.detector.axes[0]
                for s in (0, rows)
                for f in (0, columns)
            ]
        )
        cos_2theta = (corners[:, 0] / np.linalg.norm(corners, axis=1)).min()
        shortest = self.beam.wavelength_A * (1 - WAVELENGTH_SIGMAS * self.beam.wavelength_rms)
        # rounded down, so that nearly equal experiments share one cached table
        return math.floor(100 * shortest / (2 * math.sqrt((1 - cos_2theta) / 2))) / 100

    def structure_factors(self) -> StructureFactors:
        """Return the crystal's structure factors to `d_min_A`, from the cache where they are."""
        return _structure_factors(self.crystal.structure, self.d_min_A)


@lru_cache(maxsize=2)
def _structure_factors(source: Model | Reflections | Wilson, d_min_A: float) -> StructureFactors:
    """Keep what the last shots used in memory; shots of one experiment share it."""
    return structure_factors_for(source, d_min_A)


@settings
class Shot:
    """One pulse and what it met. Everything random about the scattering is decided here.

    Parameters
    ----------
    seed, index
        The series and the shot's place in it; noise is drawn from them too.
    label
        Index into the experiment's class names.
    photons, wavelength_A
        Of this pulse.
    crystal_volume_mm3
        Crystalline volume in the beam, 0 without a crystal.
    orientation
        Rows of the rotation from the unturned crystal to the laboratory.
    """

    experiment: Experiment
    seed: int
    index: int
    label: int
    photons: NonNegative
    wavelength_A: float
    crystal_volume_mm3: NonNegative = 0.0
    orientation: tuple[tuple[float, float, float], ...] = ((1, 0, 0), (0, 1, 0), (0, 0, 1))

    @property
    def class_name(self) -> str:
        """Name of its class."""
        return self.experiment.classes.names[self.label]

    def domains(self) -> Array:
        """Return the misorientations of its crystal's domains, (n, 3, 3)."""
        crystal = self.experiment.crystal
        rng = _generator(self.seed, self.index, _DOMAINS)
        return random_domains(crystal.mosaic_domains, crystal.mosaic_spread_deg, rng)

    def noise_generator(self) -> np.random.Generator:
        """Return the generator of this shot's noise, independent of how it was drawn."""
        return _generator(self.seed, self.index, _NOISE)


# Independent streams of a shot: a change in how one is used leaves the others as they are.
_DRAW, _DOMAINS, _NOISE = range(3)


def _generator(seed: int, index: int, stream: int) -> np.random.Generator:
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(index, stream)))


def draw(experiment: Experiment, *, seed: int, index: int) -> Shot:
    """Return shot `index` of a series: a pure function of (experiment, seed, index).

    A Gaussian pulse energy below zero is a dark pulse; of the others the class is drawn by its
    probability, then the crystalline volume log-uniformly in the class's range, the wavelength,
    and an orientation uniform on SO(3) (Appendix A).
    """
    beam, classes = experiment.beam, experiment.classes
    rng = _generator(seed, index, _DRAW)
    energy = 1 + beam.pulse_energy_rms * rng.standard_normal()
    wavelength_A = beam.wavelength_A * (1 + beam.wavelength_rms * rng.standard_normal())
    chosen = rng.uniform() * sum(lit.probability for lit in classes.lit)
    depth = rng.uniform()
    orientation = random_orientation(rng)
    if energy <= 0:
        return Shot(
            experiment=experiment,
            seed=seed,
            index=index,
            label=0,
            photons=0.0,
            wavelength_A=wavelength_A,
        )
    bounds = np.cumsum([lit.probability for lit in classes.lit])
    which = min(int(np.searchsorted(bounds, chosen, side="right")), len(classes.lit) - 1)
    low, high = classes.lit[which].crystal_fraction
    fraction = low * (high / low) ** depth if low > 0 else 0.0
    return Shot(
        experiment=experiment,
        seed=seed,
        index=index,
        label=1 + which,
        photons=energy * beam.photons_per_pulse,
        wavelength_A=wavelength_A,
        crystal_volume_mm3=fraction * experiment.crystal.volume_mm3,
        orientation=tuple(tuple(row) for row in orientation.tolist()),
    )


def bragg_photons(shot: Shot) -> Float:
    """Return the expected photons in Bragg spots, (slow, fast).

    One small mosaic crystal is rendered and scaled by the ratio of volumes (Appendix A).
    """
    experiment = shot.experiment
    crystal, detector = experiment.crystal, experiment.detector
    if shot.crystal_volume_mm3 == 0 or shot.photons == 0:
        return np.zeros(detector.image_size, dtype=np.float32)
    factors = experiment.structure_factors()
    unturned = real_axes(factors.cell)
    cells = crystal.domain_cells(unturned)
    fast, slow = detector.axes
    intensity = bragg_intensity(
        Lattice(
            F=factors.F,
            hkl_min=np.array(factors.hkl_min, dtype=np.int64),
            default_F=factors.default_F,
            real_axes=np.ascontiguousarray((unturned @ np.array(shot.orientation).T)[None]),
            domains=shot.domains(),
            cells=cells,
            shape=crystal.xtal_shape,
        ),
        Panel(
            image_size=detector.image_size,
            origin_mm=detector.origin_mm,
            fast_axis=fast,
            slow_axis=slow,
            pixel_size_mm=detector.pixel_size_mm,
        ),
        sources=np.array([[*experiment.beam.direction, shot.wavelength_A, 1.0]]),
        oversample=crystal.oversample,
    )
    domain_mm3 = cells.prod() * abs(np.linalg.det(unturned)) * 1e-21
    fluence = experiment.beam.fluence(shot.photons)
    intensity *= R_E_SQR_M2 * fluence * shot.crystal_volume_mm3 / domain_mm3
    intensity *= beam_factors(detector, experiment.beam, oversample=crystal.oversample)
    return intensity.astype(np.float32)


def background_photons(shot: Shot) -> Float:
    """Return the expected photons from everything but the crystal's spots, (slow, fast)."""
    experiment = shot.experiment
    total = np.zeros(experiment.detector.image_size, dtype=np.float32)
    if shot.photons > 0:
        for matter in experiment.background:
            total += amorphous_photons(
                matter,
                beam=experiment.beam,
                detector=experiment.detector,
                photons=shot.photons,
                wavelength_A=shot.wavelength_A,
            )
    return total


def scatter(shot: Shot) -> Float:
    """Return the expected photons of a shot, (slow, fast)."""
    return bragg_photons(shot) + background_photons(shot)


@settings
class Truth:
    """The physics that made an image, for each of its columns in a data set."""

    pulse_photons: float
    wavelength_A: float
    orientation: tuple[tuple[float, float, float], ...]
    crystal_volume_mm3: float
    bragg_photons: float
    background_photons: float


def simulate(shot: Shot) -> tuple[NDArray[np.uint8], Truth]:
    """Return the 8-bit image of a shot, (slow, fast), and the truth about it."""
    bragg = bragg_photons(shot)
    background = background_photons(shot)
    truth = Truth(
        pulse_photons=shot.photons,
        wavelength_A=shot.wavelength_A,
        orientation=shot.orientation,
        crystal_volume_mm3=shot.crystal_volume_mm3,
        bragg_photons=float(bragg.sum(dtype=np.float64)),
        background_photons=float(background.sum(dtype=np.float64)),
    )
    counts = detect(bragg + background, shot.experiment.detector, shot.noise_generator())
    return to_8_bits(counts), truth
