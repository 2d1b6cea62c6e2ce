"""Searches for settings: a space, a sampler that proposes trials, a journal that keeps them.

`optimize` runs any function with any sampler. `classical` searches Table 8 by TPE, `cnn` Table 10
by BOHB.
"""

from deepfreak.search.loop import optimize
from deepfreak.search.samplers.bohb import BOHB, Guidance
from deepfreak.search.samplers.hyperband import Hyperband
from deepfreak.search.samplers.tpe import TPE
from deepfreak.search.space import Categorical, Float, Integer, Ordinal, Settings, Space, When
from deepfreak.search.trial import Outcome, Search, Trial

__all__ = [
    "BOHB",
    "TPE",
    "Categorical",
    "Float",
    "Guidance",
    "Hyperband",
    "Integer",
    "Ordinal",
    "Outcome",
    "Search",
    "Settings",
    "Space",
    "Trial",
    "When",
    "optimize",
]
