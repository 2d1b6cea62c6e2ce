"""One shot: all that is random about a pulse and what it met, and the truth about its image."""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, Protocol, Self, get_args

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from deepfreak.physics.beam import Beam, Pulse, bandwidth_rms
from deepfreak.physics.crystal import (
    random_domains,
    random_orientation,
    random_strain,
    real_axes,
)
from deepfreak.physics.detector import Detector
from deepfreak.physics.scattering.amorphous import Air, TabulatedMatter, Water
from deepfreak.physics.scattering.ice import Ice
from deepfreak.physics.structure_factors import StructureFactors
from deepfreak.settings import NonNegative, middle, settings

if TYPE_CHECKING:
    from deepfreak.physics.experiment import Experiment

# What may be in the beam beside the crystal: each a `Scatterer`. A new one adds its class here and
# its path to `Truth`.
Matter = Annotated[Water | Air | TabulatedMatter | Ice, Field(discriminator="material")]
MATERIALS: tuple[str, ...] = tuple(
    kind.__dataclass_fields__["material"].default for kind in get_args(get_args(Matter)[0])
)

Array = NDArray[np.float64]
Cell = tuple[float, float, float, float, float, float]
Matrix = tuple[tuple[float, float, float], tuple[float, float, float], tuple[float, float, float]]

IDENTITY: Matrix = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0))

# Independent streams of a shot: a change in how one is used leaves the others as they are.
_DRAW, _DOMAINS, _NOISE, _LATTICES, _SPECTRUM, _SURROUNDINGS = range(6)


class Scatterer(Protocol):
    """A settings class of matter in the beam, for example water or ice.

    Its module and the list `shot.Matter` are all that a new one touches.
    """

    @property
    def material(self) -> str:
        """Its kind, as recipes and the truth name it."""

    @property
    def path_mm(self) -> float | tuple[float, float]:
        """How far the beam travels in it; a range is drawn from for each shot."""

    def with_path(self, path_mm: float) -> Self:
        """Return the same matter with this path."""

    def is_met(self, rng: np.random.Generator) -> bool:
        """Draw whether a pulse meets it."""

    def photons(
        self, pulse: Pulse, detector: Detector, rng: np.random.Generator
    ) -> NDArray[np.float32]:
        """Return the expected photons that it scatters to each pixel, (slow, fast).

        `rng` is for what is random about the matter itself, as the orientations of grains.
        """

    def per_mm(self, stol: NDArray[np.float64], beam: Beam) -> NDArray[np.float64] | None:
        """Return the photons per steradian and fluence from 1 mm of it at `stol` in 1/A, (n,).

        None if its light depends on more than the angle: then only the CPU renders it.
        """


@settings
class CrystalInBeam:
    """One of the crystals that a pulse met: its share of their volume, and its orientation."""

    share: NonNegative = 1.0
    orientation: Matrix = IDENTITY


@dataclass(frozen=True, slots=True, kw_only=True)
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
        The crystals that share this volume.
    """

    experiment: "Experiment"
    seed: int
    index: int
    label: int
    photons: float
    wavelength_A: float
    crystal_volume_mm3: float = 0.0
    crystals: tuple[CrystalInBeam, ...] = (CrystalInBeam(),)

    def __post_init__(self) -> None:
        if not (self.photons >= 0 and self.crystal_volume_mm3 >= 0):
            raise ValueError(
                "photons and crystal_volume_mm3 are at least 0, "
                f"found {self.photons} and {self.crystal_volume_mm3}"
            )

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

    def pulse(self) -> Pulse:
        """Return the pulse, as scatterers see it."""
        return Pulse(
            beam=self.experiment.beam,
            photons=self.photons,
            wavelength_A=self.wavelength_A,
            bandwidth_rms=bandwidth_rms(self.sources()),
        )

    def surroundings(self) -> tuple[tuple[Scatterer, ...], np.random.Generator]:
        """Return what of the background this pulse met, each with a length in place of a range.

        And the generator, one of their own, of what is random about how it scatters. A pulse
        without photons meets nothing.
        """
        rng = _generator(self.seed, self.index, _SURROUNDINGS)
        if self.photons == 0:
            return (), rng
        found: list[Scatterer] = []
        for matter in self.experiment.background:
            path = matter.path_mm
            one = float(rng.uniform(*path)) if isinstance(path, tuple) else None
            found.append(matter if one is None else matter.with_path(one))
        return tuple(matter for matter in found if matter.is_met(rng)), rng

    def path_mm(self, material: str) -> float | None:
        """Return how far the pulse went through a material; None if the experiment has none."""
        kinds = {matter.material for matter in self.experiment.background}
        if self.photons == 0 or material not in kinds:
            return None
        return sum(middle(m.path_mm) for m in self.surroundings()[0] if m.material == material)

    def meets(self, material: str) -> bool:
        """Return whether the pulse met a material."""
        return any(matter.material == material for matter in self.surroundings()[0])

    def noise_generator(self) -> np.random.Generator:
        """Return the generator of this shot's noise, independent of how it was drawn."""
        return _generator(self.seed, self.index, _NOISE)


@settings
class Truth:
    """The physics that made an image, for each of its columns in a data set."""

    pulse_photons: float
    wavelength_A: float
    # rows of the rotation of the first crystal, None for a blank shot; its a, b, c in A and alpha,
    # beta, gamma in degrees, strained as it was, or None without a crystal
    orientation: Matrix | None
    cell: Cell | None
    crystal_volume_mm3: float
    bragg_photons: float
    background_photons: float
    # spots_3sigma, spots_5sigma: how many spots rise that far above the noise around them; see
    # `exposure.count_spots`
    spots_3sigma: float
    spots_5sigma: float
    d_min_A: float | None  # finest spacing of a spot above 5 sigma; None without one
    # lattices, ice: how many crystals diffracted, and whether ice did (None for a blank shot)
    lattices: float
    ice: float | None
    # water_mm, air_mm, table_mm, ice_mm: how far the pulse went through each of `MATERIALS`; None
    # for a blank shot and for a material that the experiment does not have
    water_mm: float | None
    air_mm: float | None
    table_mm: float | None
    ice_mm: float | None


def _generator(seed: int, index: int, stream: int) -> np.random.Generator:
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(index, stream)))


def draw(experiment: "Experiment", *, seed: int, index: int) -> Shot:
    """Return shot `index` of a series: a pure function of (experiment, seed, index).

    A pulse without energy makes a blank shot. For the others a class is drawn by its probability,
    the crystalline volume log-uniformly in the class's range, the wavelength, and the crystals,
    each oriented uniformly on SO(3) (Appendix A).
    """
    beam, classes = experiment.beam, experiment.classes
    rng = _generator(seed, index, _DRAW)
    energy = beam.draw_energy(rng)
    wavelength_A = beam.wavelength_A * (1 + beam.wavelength_rms * rng.standard_normal())
    chosen = rng.uniform() * sum(lit.probability for lit in classes.lit)
    depth = rng.uniform()
    crystals = _draw_crystals(experiment, rng)
    blank = Shot(
        experiment=experiment,
        seed=seed,
        index=index,
        label=0,
        photons=0.0,
        wavelength_A=wavelength_A,
    )
    if energy == 0:
        return blank
    bounds = np.cumsum([lit.probability for lit in classes.lit])
    which = min(int(np.searchsorted(bounds, chosen, side="right")), len(classes.lit) - 1)
    low, high = classes.lit[which].crystal_fraction
    fraction = low * (high / low) ** depth if low > 0 else 0.0
    return replace(
        blank,
        label=1 + which,
        photons=energy * beam.photons_per_pulse,
        crystal_volume_mm3=fraction * experiment.crystal.volume_mm3,
        crystals=crystals,
    )


def _draw_crystals(experiment: "Experiment", rng: np.random.Generator) -> tuple[CrystalInBeam, ...]:
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
