"""Ice in the beam: settings and powder rings (`layer`), single `grains`, the `lattice` of each."""

from deepfreak.physics.scattering.ice.layer import Ice

__all__ = ["Ice"]
