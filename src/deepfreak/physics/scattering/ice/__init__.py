"""Ice in the beam: the rings of a powder, or the single spots of grains that lie on them.

`layer` has the settings and decides between the two, `lattice` knows the crystals of hexagonal and
cubic ice, `rings` makes the powder's image and `grains` that of single grains.
"""

from deepfreak.physics.scattering.ice.layer import Ice, ice_photons

__all__ = ["Ice", "ice_photons"]
