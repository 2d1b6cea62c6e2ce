"""One shot: all that is random about a pulse and what it met."""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from deepfreak.physics.crystal import (
    random_domains,
    random_orientation,
    random_strain,
    real_axes,
)
from deepfreak.physics.experiment import Experiment, Matter
from deepfreak.physics.scattering.amorphous import Air
from deepfreak.physics.scattering.ice import Ice
from deepfreak.physics.structure_factors import StructureFactors
from deepfreak.settings import NonNegative, middle, settings

Array = NDArray[np.float64]
Matrix = tuple[tuple[float, float, float], tuple[float, float, float], tuple[float, float, float]]

IDENTITY: Matrix = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0))

# Independent streams of a shot: a change in how one is used leaves the others as they are.
_DRAW, _DOMAINS, _NOISE, _LATTICES, _SPECTRUM, _SURROUNDINGS = range(6)


@settings
class CrystalInBeam:
    """One of the crystals that a pulse met: its share of their volume, and how it lay."""

    share: NonNegative = 1.0
    orientation: Matrix = IDENTITY


@settings
class Shot:
    """One pulse and what it met.

    Parameters
    ----------
    seed, index
        The series and the shot's place in it; everything random follows from them.
    label
        Index into the experiment's class names.
    photons, wavelength_A
        Of this pulse; the wavelength is its mean.
    crystal_volume_mm3
        Crystalline volume in the beam, 0 without a crystal.
    crystals
        Which crystals it belongs to, the first one first.
    """

    experiment: Experiment
    seed: int
    index: int
    label: int
    photons: NonNegative
    wavelength_A: float
    crystal_volume_mm3: NonNegative = 0.0
    crystals: tuple[CrystalInBeam, ...] = (CrystalInBeam(),)

    @property
    def class_name(self) -> str:
        """Name of its class."""
        return self.experiment.classes.names[self.label]

    @property
    def orientation(self) -> Matrix:
        """Rows of the rotation that turned the first crystal, from its unturned setting."""
        return self.crystals[0].orientation

    def real_axes(self, factors: StructureFactors) -> list[Array]:
        """Return rows a, b, c in A of each crystal, (steps, 3, 3): strained, turned, rotated."""
        crystal = self.experiment.crystal
        rng = _generator(self.seed, self.index, _LATTICES)
        all_axes = []
        for one in self.crystals:
            axes = real_axes(factors.cell)
            if crystal.cell_rms:
                strain = random_strain(factors.space_group, axes, crystal.cell_rms, rng)
                axes = axes @ (np.eye(3) + strain)
            if crystal.orientation == "random":
                axes = axes @ np.array(one.orientation).T
            else:
                axes = crystal.orientation.turned_axes(axes, self.experiment.beam.wavelength_A)
            rotations = crystal.spindle.rotations()
            all_axes.append(np.ascontiguousarray(axes @ rotations.transpose(0, 2, 1)))
        return all_axes

    def cells_in_beam(self, real_axes: Array) -> float:
        """Return how many unit cells of the given axes, (3, 3) in A, the beam meets."""
        cell_mm3 = abs(np.linalg.det(real_axes)) * 1e-21
        return float(self.crystal_volume_mm3 / cell_mm3)

    def domains(self) -> list[Array]:
        """Return the misorientations of each crystal's domains, (n, 3, 3)."""
        crystal = self.experiment.crystal
        rng = _generator(self.seed, self.index, _DOMAINS)
        count, spread_deg = crystal.mosaic_domains, crystal.mosaic_spread_deg
        return [random_domains(count, spread_deg, rng) for _ in self.crystals]

    def sources(self) -> Array:
        """Return the plane waves of the pulse, (n, 5); see `Beam.sources`."""
        rng = _generator(self.seed, self.index, _SPECTRUM)
        return self.experiment.beam.sources(self.wavelength_A, rng)

    def surroundings(self) -> tuple[tuple[Matter, ...], np.random.Generator]:
        """Return what of the background this pulse met, each with a length in place of a range.

        And the generator, one of their own, of what is random about how it scatters. Nothing is
        drawn for a dark pulse, which meets nothing.
        """
        rng = _generator(self.seed, self.index, _SURROUNDINGS)
        if self.photons == 0:
            return (), rng
        found = [_of_one_length(matter, rng) for matter in self.experiment.background]
        met = [m for m in found if not isinstance(m, Ice) or rng.uniform() < m.probability]
        return tuple(met), rng

    def path_mm(self, material: str) -> float | None:
        """Return how far the pulse went through a material; None if there is none to go through."""
        kinds = {matter.material for matter in self.experiment.background}
        if self.photons == 0 or material not in kinds:
            return None
        return sum(middle(m.path_mm) for m in self.surroundings()[0] if m.material == material)

    def noise_generator(self) -> np.random.Generator:
        """Return the generator of this shot's noise, independent of how it was drawn."""
        return _generator(self.seed, self.index, _NOISE)


def _of_one_length(matter: Matter, rng: np.random.Generator) -> Matter:
    """Return `matter` with a length drawn from its range, if it has one."""
    if not isinstance(matter.path_mm, tuple):
        return matter
    drawn = float(rng.uniform(*matter.path_mm))
    if isinstance(matter, Air):
        return replace(matter, path_mm=drawn)
    return replace(matter, thickness_mm=drawn)


def _generator(seed: int, index: int, stream: int) -> np.random.Generator:
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(index, stream)))


def draw(experiment: Experiment, *, seed: int, index: int) -> Shot:
    """Return shot `index` of a series: a pure function of (experiment, seed, index).

    A pulse without energy is dark; of the others the class is drawn by its probability, then the
    crystalline volume log-uniformly in the class's range, the wavelength, and the crystals, each
    oriented uniformly on SO(3) (Appendix A).
    """
    beam, classes = experiment.beam, experiment.classes
    rng = _generator(seed, index, _DRAW)
    energy = beam.draw_energy(rng)
    wavelength_A = beam.wavelength_A * (1 + beam.wavelength_rms * rng.standard_normal())
    chosen = rng.uniform() * sum(lit.probability for lit in classes.lit)
    depth = rng.uniform()
    crystals = _draw_crystals(experiment, rng)
    if energy == 0:
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
        crystals=crystals,
    )


def _draw_crystals(experiment: Experiment, rng: np.random.Generator) -> tuple[CrystalInBeam, ...]:
    """Return one crystal, and the further ones if there may be any; shares uniform on a simplex."""
    orientations = [random_orientation(rng)]
    if experiment.crystal.extra_lattices:
        further = rng.poisson(experiment.crystal.extra_lattices)
        orientations += [random_orientation(rng) for _ in range(further)]
    shares = [1.0] if len(orientations) == 1 else rng.dirichlet(np.ones(len(orientations)))
    return tuple(
        CrystalInBeam(share=float(share), orientation=_matrix(orientation))
        for share, orientation in zip(shares, orientations, strict=True)
    )


def _matrix(rotation: Array) -> Matrix:
    first, second, third = (tuple(row) for row in rotation.tolist())
    return first, second, third
