"""Structure factors: how strongly each reflection of a crystal scatters, in electrons per cell.

`structure_factors_for` gives them for any source a recipe can name; the modules beside it compute
one kind each: `model` from atoms, `reflections` from files, `wilson` from statistics.
"""

from deepfreak.physics.structure_factors.factors import StructureFactors
from deepfreak.physics.structure_factors.sources import (
    Model,
    Reflections,
    StructureSource,
    Wilson,
    source_of_file,
    structure_factors_for,
)

__all__ = [
    "Model",
    "Reflections",
    "StructureFactors",
    "StructureSource",
    "Wilson",
    "source_of_file",
    "structure_factors_for",
]
