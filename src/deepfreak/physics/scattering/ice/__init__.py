"""Ice in the beam: the rings of a powder, or the single spots of grains that lie on them.

`layer` holds the settings and chooses between the two, `lattice` the crystals of hexagonal and
cubic ice; `rings` renders powders and `grains` single grains.
"""

from deepfreak.physics.scattering.ice.layer import Ice

__all__ = ["Ice"]
