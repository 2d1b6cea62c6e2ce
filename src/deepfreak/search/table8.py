"""Table 8: what the joint search chooses from, and which choice asks for which others.

A point of the space is written as *picks*: for each hyperparameter that was asked for, the place of
its value among the possible ones.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING, Any

from deepfreak.errors import DatasetError
from deepfreak.features.glcm import GLCM
from deepfreak.features.lbp import LBP
from deepfreak.features.sift import SIFT, VisualWords
from deepfreak.models.fitted import CLASS_WEIGHTS
from deepfreak.models.forest import MAX_DEPTHS, MAX_FEATURES, TREES, Forest
from deepfreak.models.svm import COSTS, GAMMAS, SVM

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

DISTANCES = (1, 2, 4, 5, 8)
ANGLES_DEG = (0, 45, 90, 135)
POINTS = (4, 8, 16, 24)
RADII = (0, 1, 2, 3)
CLUSTERS = (10, 25, 50, 100, 250, 500, 1000, 5000)

Picks = Mapping[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """A hyperparameter.

    Attributes
    ----------
    values
        What it may be; of an ordinal one in their order.
    ordinal
        Whether neighbouring values are alike (the table's "Type").
    when
        The choice that asks for this one, and by which value; None for the two at the root.
    """

    name: str
    values: tuple[Any, ...]
    ordinal: bool = False
    when: tuple[str, str] | None = None

    @property
    def labels(self) -> list[str]:
        """The values as text."""
        return [label(value) for value in self.values]

    @property
    def distribution(self) -> "BaseDistribution":
        """As Optuna has it: an ordinal is the place of its value, a category its label."""
        from optuna.distributions import CategoricalDistribution, IntDistribution

        if self.ordinal:
            return IntDistribution(0, len(self.values) - 1)
        return CategoricalDistribution(self.labels)

    def pick(self, parameter: Any) -> int:  # noqa: ANN401 -- Optuna's: a place or a label
        """Return the place of what Optuna calls `parameter`."""
        return int(parameter) if self.ordinal else self.labels.index(parameter)

    def parameter(self, pick: int) -> int | str:
        """Return what Optuna calls the value at the place `pick`."""
        return pick if self.ordinal else self.labels[pick]


def _combinations(values: tuple[int, ...]) -> tuple[tuple[int, ...], ...]:
    """Return every choice of one or more of `values`."""
    return tuple(
        chosen for size in range(1, len(values) + 1) for chosen in combinations(values, size)
    )


# Ordinals stand in the order of what they do: no limit on the depth after the largest limit, one
# over the number of features (gamma 0) before the least gamma.
TABLE_8 = (
    Choice(name="extractor", values=(GLCM.name, LBP.name, VisualWords.name)),
    Choice(name="classifier", values=(Forest.name, SVM.name)),
    Choice(name="glcm.distances", values=_combinations(DISTANCES), when=("extractor", "glcm")),
    Choice(name="glcm.angles_deg", values=_combinations(ANGLES_DEG), when=("extractor", "glcm")),
    Choice(name="lbp.points", values=POINTS, ordinal=True, when=("extractor", "lbp")),
    Choice(name="lbp.radius", values=RADII, ordinal=True, when=("extractor", "lbp")),
    Choice(name="sift.clusters", values=CLUSTERS, ordinal=True, when=("extractor", "sift")),
    Choice(name="forest.trees", values=TREES, ordinal=True, when=("classifier", "forest")),
    Choice(
        name="forest.max_features",
        values=MAX_FEATURES,
        ordinal=True,
        when=("classifier", "forest"),
    ),
    Choice(
        name="forest.max_depth",
        values=tuple(sorted(MAX_DEPTHS, key=lambda depth: depth or math.inf)),
        ordinal=True,
        when=("classifier", "forest"),
    ),
    Choice(name="forest.class_weight", values=CLASS_WEIGHTS, when=("classifier", "forest")),
    Choice(name="svm.C", values=tuple(sorted(COSTS)), ordinal=True, when=("classifier", "svm")),
    Choice(
        name="svm.gamma", values=tuple(sorted(GAMMAS)), ordinal=True, when=("classifier", "svm")
    ),
    Choice(name="svm.class_weight", values=CLASS_WEIGHTS, when=("classifier", "svm")),
)
_BY_NAME = {choice.name: choice for choice in TABLE_8}
_EXTRACTORS: dict[str, Callable[..., GLCM | LBP | SIFT]] = {
    GLCM.name: GLCM,
    LBP.name: LBP,
    VisualWords.name: SIFT,
}
_CLASSIFIERS: dict[str, Callable[..., Forest | SVM]] = {Forest.name: Forest, SVM.name: SVM}


@dataclass(frozen=True, slots=True, kw_only=True)
class Configuration:
    """An extractor, for SIFT without its codebook yet, and a classifier."""

    extractor: GLCM | LBP | SIFT
    classifier: Forest | SVM


def walk(pick: Callable[[Choice], int]) -> dict[str, int]:
    """Return the picks that `pick` makes: it is asked for each choice that those before ask for."""
    picks: dict[str, int] = {}
    for choice in TABLE_8:
        if choice.when is None:
            picks[choice.name] = pick(choice)
        else:
            name, value = choice.when
            if _BY_NAME[name].values[picks[name]] == value:
                picks[choice.name] = pick(choice)
    return picks


def values_of(picks: Picks) -> dict[str, Any]:
    """Return the values that `picks` stand for, by the hyperparameters' names.

    Raises
    ------
    DatasetError
        They are not a point of the space: one is missing, unknown or out of its range.
    """
    try:
        complete = walk(lambda choice: picks[choice.name])
        found = {name: _BY_NAME[name].values[place] for name, place in complete.items()}
    except (KeyError, IndexError, TypeError) as error:
        raise DatasetError(f"expected a point of the search space, found {picks}") from error
    if set(complete) != set(picks) or min(complete.values()) < 0:
        raise DatasetError(f"expected a point of the search space, found {picks}")
    return found


def configuration(picks: Picks) -> Configuration:
    """Return what `picks` stand for; `DatasetError` if they are not a point of the space."""
    values = values_of(picks)

    def settings(kind: str) -> dict[str, Any]:
        prefix = f"{kind}."
        return {
            name.removeprefix(prefix): value
            for name, value in values.items()
            if name.startswith(prefix)
        }

    extractor, classifier = values["extractor"], values["classifier"]
    return Configuration(
        extractor=_EXTRACTORS[extractor](**settings(extractor)),
        classifier=_CLASSIFIERS[classifier](**settings(classifier)),
    )


def describe(picks: Picks) -> str:
    """Return `picks` as one line: `glcm distances 1,2 angles_deg 0 + svm C 32 gamma 0.5 ...`."""
    parts: dict[str, list[str]] = {}
    for name, value in values_of(picks).items():
        kind, dot, setting = name.partition(".")
        if dot:
            parts[kind].append(f"{setting} {label(value)}")
        else:
            parts[str(value)] = [str(value)]
    return " + ".join(" ".join(words) for words in parts.values())


def label(value: object) -> str:
    """Return a value as text: `none`, `1,2,5`, `0.00195312`."""
    if value is None:
        return "none"
    if isinstance(value, tuple):
        return ",".join(label(part) for part in value)
    return f"{value:g}" if isinstance(value, int | float) else str(value)


def size() -> int:
    """Return how many points the space has."""

    def below(name: str, value: str) -> int:
        return math.prod(len(choice.values) for choice in TABLE_8 if choice.when == (name, value))

    return math.prod(
        sum(below(choice.name, value) for value in choice.values)
        for choice in TABLE_8
        if choice.when is None
    )
