"""The search for the network: Souza et al. 2019, section 5.2 and Table 10."""

from deepfreak.search.samplers.hyperband import Hyperband
from deepfreak.search.space import Categorical, Float, Space

ITERATIONS = 16
"""How many brackets the paper ran."""

EPOCHS = Hyperband(min_budget=1, max_budget=50, eta=3)
"""Budgets of 50/27, 50/9, 50/3 and 50 epochs; the bound of 1 is the authors' code's."""

TABLE_10 = Space(
    {
        # variants of Table 9; the default topology is not among them
        "topology": Categorical(values=tuple(range(1, 14))),
        "learning_rate": Float(lower=1e-4, upper=10, log=True),
        "momentum": Float(lower=0.5, upper=1),
        "weight_decay": Float(lower=1e-5, upper=5e-5),
        "batch_size": Categorical(values=(4, 8, 16, 32, 64)),
    }
)
"""The space as printed."""

PUBLISHED_CODE = Space(
    {
        **TABLE_10.parameters,
        "learning_rate": Float(lower=1e-4, upper=1, log=True),
        "batch_size": Categorical(values=(1, 2, 4, 8, 16)),
    }
)
"""The space of the authors' code, which alone has the batch sizes 1 and 2 of Table 11."""
