"""BOHB: Hyperband's budgets, a model's suggestions (Falkner, Klein and Hutter 2018).

`space` says what can be set, `brackets` what is tried at which budget, `density` where good
settings lie, `suggestions` what to try next, `evaluations` what comes of it; `optimize` is the loop
over them and `journal` what it leaves on the disk. `table10` holds the paper's search for the
network.
"""

from deepfreak.search.evaluations import Evaluation, Outcome, Search
from deepfreak.search.loop import optimize
from deepfreak.search.samplers.bohb import Guidance
from deepfreak.search.samplers.hyperband import Hyperband
from deepfreak.search.space import Categorical, Float, Integer, Ordinal, Settings, Space, When

__all__ = [
    "Categorical",
    "Evaluation",
    "Float",
    "Guidance",
    "Hyperband",
    "Integer",
    "Ordinal",
    "Outcome",
    "Search",
    "Settings",
    "Space",
    "When",
    "optimize",
]
