"""What every scatterer beside the crystal offers: all that experiments and renderers know of it."""

from typing import Protocol, Self

import numpy as np
from numpy.typing import NDArray

from deepfreak.physics.beam import Beam, Pulse
from deepfreak.physics.detector import Detector


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

        Parameters
        ----------
        rng
            For what is random about the matter itself, as the orientations of grains.
        """

    def per_mm(self, stol: NDArray[np.float64], beam: Beam) -> NDArray[np.float64] | None:
        """Return the photons per steradian and fluence from 1 mm of it at `stol` in 1/A, (n,).

        None if its light depends on more than the angle: then only the CPU renders it.
        """
