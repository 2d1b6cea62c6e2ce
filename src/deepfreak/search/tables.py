"""Tables 8 and 10 of the paper: the spaces of the joint search and of that for the network.

Distances and angles of GLCM and class weights are tuples, which are tried together.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import Any

from deepfreak.features.glcm import GLCM
from deepfreak.features.lbp import LBP
from deepfreak.features.sift import SIFT, VisualWords
from deepfreak.models.classifier import CLASS_WEIGHTS
from deepfreak.models.forest import MAX_DEPTHS, MAX_FEATURES, TREES, Forest
from deepfreak.models.svm import COSTS, GAMMAS, SVM
from deepfreak.search.samplers.hyperband import Hyperband
from deepfreak.search.space import Categorical, Float, Ordinal, Settings, Space, Value, When, label

DISTANCES = (1, 2, 4, 5, 8)
ANGLES_DEG = (0, 45, 90, 135)
POINTS = (4, 8, 16, 24)
RADII = (0, 1, 2, 3)
CLUSTERS = (10, 25, 50, 100, 250, 500, 1000, 5000)


def _combinations(values: tuple[int, ...]) -> tuple[tuple[int, ...], ...]:
    """Return every choice of one or more of `values`."""
    return tuple(
        chosen for size in range(1, len(values) + 1) for chosen in combinations(values, size)
    )


def _for(parameter: str, value: str, **kinds: Ordinal | Categorical) -> dict[str, Any]:
    """Return parameters that exist where another has a value, under the name of that value."""
    when = When(parameter=parameter, values=(value,))
    return {
        f"{value}.{name}": type(kind)(values=kind.values, when=when) for name, kind in kinds.items()
    }


def _ordinal(values: tuple[Value, ...]) -> Ordinal:
    return Ordinal(values=values)


# Ordinals stand in the order of their effect: no limit on the depth after the largest limit, one
# over the number of features (gamma 0) before the smallest gamma.
TABLE_8 = Space(
    {
        "extractor": Categorical(values=(GLCM.name, LBP.name, VisualWords.name)),
        "classifier": Categorical(values=(Forest.name, SVM.name)),
        **_for(
            "extractor",
            GLCM.name,
            distances=Categorical(values=_combinations(DISTANCES)),
            angles_deg=Categorical(values=_combinations(ANGLES_DEG)),
        ),
        **_for("extractor", LBP.name, points=_ordinal(POINTS), radius=_ordinal(RADII)),
        **_for("extractor", VisualWords.name, clusters=_ordinal(CLUSTERS)),
        **_for(
            "classifier",
            Forest.name,
            trees=_ordinal(TREES),
            max_features=_ordinal(MAX_FEATURES),
            max_depth=_ordinal(tuple(sorted(MAX_DEPTHS, key=lambda depth: depth or math.inf))),
            class_weight=Categorical(values=CLASS_WEIGHTS),
        ),
        **_for(
            "classifier",
            SVM.name,
            C=_ordinal(tuple(sorted(COSTS))),
            gamma=_ordinal(tuple(sorted(GAMMAS))),
            class_weight=Categorical(values=CLASS_WEIGHTS),
        ),
    }
)

# How many brackets the paper ran.
ITERATIONS = 16
# Budgets of 50/27, 50/9, 50/3 and 50 epochs; the bound of 1 is the authors' code's.
EPOCHS = Hyperband(min_budget=1, max_budget=50, eta=3)
# The space as printed.
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
# The space of the authors' code, which alone has the batch sizes 1 and 2 of Table 11.
PUBLISHED_CODE = Space(
    {
        **TABLE_10.parameters,
        "learning_rate": Float(lower=1e-4, upper=1, log=True),
        "batch_size": Categorical(values=(1, 2, 4, 8, 16)),
    }
)

_EXTRACTORS: dict[str, Callable[..., GLCM | LBP | SIFT]] = {
    GLCM.name: GLCM,
    LBP.name: LBP,
    VisualWords.name: SIFT,
}
_CLASSIFIERS: dict[str, Callable[..., Forest | SVM]] = {Forest.name: Forest, SVM.name: SVM}


@dataclass(frozen=True, slots=True, kw_only=True)
class Pipeline:
    """An extractor, for SIFT without its codebook yet, and a classifier."""

    extractor: GLCM | LBP | SIFT
    classifier: Forest | SVM


def pipeline(settings: Mapping[str, Any]) -> Pipeline:
    """Return the extractor and the classifier with these settings of `TABLE_8`."""
    options: dict[str, dict[str, Any]] = {settings["extractor"]: {}, settings["classifier"]: {}}
    for name, value in settings.items():
        kind, dot, option = name.partition(".")
        if dot:
            options[kind][option] = value
    (extractor, of_extractor), (classifier, of_classifier) = options.items()
    return Pipeline(
        extractor=_EXTRACTORS[extractor](**of_extractor),
        classifier=_CLASSIFIERS[classifier](**of_classifier),
    )


def describe(settings: Settings) -> str:
    """Return settings on one line: `glcm distances 1,2 angles_deg 0 + svm C 32 gamma 0.5 ...`."""
    parts: dict[str, list[str]] = {}
    for name, value in settings.items():
        kind, dot, setting = name.partition(".")
        if dot:
            parts[kind].append(f"{setting} {label(value)}")
        else:
            parts[str(value)] = [str(value)]
    return " + ".join(" ".join(words) for words in parts.values())


def size() -> int:
    """Return how many points the space has."""
    counts = {
        "extractor": dict.fromkeys(_EXTRACTORS, 1),
        "classifier": dict.fromkeys(_CLASSIFIERS, 1),
    }
    for parameter in TABLE_8.parameters.values():
        if parameter.when is not None and isinstance(parameter, Ordinal | Categorical):
            counts[parameter.when.parameter][str(parameter.when.values[0])] *= len(parameter.values)
    return math.prod(sum(of_kind.values()) for of_kind in counts.values())
