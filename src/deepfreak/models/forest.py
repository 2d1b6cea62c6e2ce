"""A random forest over the numbers of a feature extractor (the paper's section 4.2)."""

import hashlib
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from deepfreak.classes import (
    ClassWeight,
)
from deepfreak.models.fitted import (
    check_training,
    weights_by_class,
)
from deepfreak.settings import settings

if TYPE_CHECKING:
    from sklearn.ensemble import RandomForestClassifier

# Table 8.
TREES = (10, 100, 1000)
MAX_FEATURES: tuple[Literal["sqrt"] | float, ...] = ("sqrt", 0.25, 0.5, 0.75)
MAX_DEPTHS = (None, 2, 4, 6, 8, 10, 20)


@settings
class Forest:
    """The settings of a random forest; the defaults are the paper's best (Table 3).

    Parameters
    ----------
    trees
        Number of trees.
    max_depth
        Longest path in a tree; none for no limit.
    max_features
        Features tried at each split: sqrt of their number, or a fraction of them.
    class_weight
        Weights of the classes: none, balanced, or a number for each.
    """

    name: ClassVar[str] = "forest"

    trees: Annotated[int, Field(ge=1, le=2000)] = 100
    max_depth: Annotated[int, Field(ge=1, le=1000)] | None = 20
    max_features: Literal["sqrt"] | Annotated[float, Field(gt=0, le=1)] = "sqrt"
    class_weight: ClassWeight = None

    def settings(self) -> dict[str, Any]:
        """Return the settings as JSON values."""
        weight = self.class_weight
        return {
            "classifier": self.name,
            "trees": self.trees,
            "max_depth": self.max_depth,
            "max_features": self.max_features,
            "class_weight": list(weight) if isinstance(weight, tuple) else weight,
        }

    def fit(
        self,
        vectors: NDArray[np.float64],
        labels: NDArray[np.integer[Any]],
        *,
        classes: int,
        seed: int = 0,
        workers: int = 1,
        held_out: bool = False,
    ) -> "FittedForest":
        """Return the forest that vectors (n, k) with labels (n,) teach.

        It does not depend on `workers`, the number of threads. `held_out` asks for the accuracy
        out of bag.

        Raises
        ------
        DatasetError
            A class without vectors, or a number that is not finite.
        """
        from sklearn.ensemble import RandomForestClassifier

        check_training(vectors, labels, classes=classes, class_weight=self.class_weight)
        forest = RandomForestClassifier(
            n_estimators=self.trees,
            max_depth=self.max_depth,
            max_features=self.max_features,
            class_weight=weights_by_class(self.class_weight),
            random_state=seed,
            n_jobs=workers,
            oob_score=held_out,
        )
        with warnings.catch_warnings():
            # With few trees some images are in every bag; the accuracy is then over the others.
            warnings.filterwarnings("ignore", message="Some inputs do not have OOB scores")
            # Its votes over zero trees are 0/0.
            warnings.filterwarnings("ignore", message="invalid value encountered in divide")
            forest.fit(vectors, labels)
        accuracy = _accuracy_out_of_bag(forest, labels) if held_out else None
        if held_out:
            # One row an image would make up most of the file.
            del forest.oob_decision_function_
        forest.n_jobs = 1
        # They have done their work; a table of them would need more types in a model's file.
        forest.class_weight = None
        return FittedForest(forest=forest, accuracy_held_out=accuracy)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FittedForest:
    """A forest of scikit-learn's, and its accuracy out of bag if that was asked for."""

    name: ClassVar[str] = "forest"

    forest: "RandomForestClassifier"
    accuracy_held_out: float | None = None

    def probabilities(self, vectors: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the probabilities (n, classes) of vectors (n, k)."""
        return vote(self.forest, vectors)

    def predict(self, vectors: NDArray[np.float64]) -> NDArray[np.intp]:
        """Return the most probable class (n,) of vectors (n, k)."""
        most_probable: NDArray[np.intp] = self.probabilities(vectors).argmax(axis=1)
        return most_probable

    def fingerprint(self) -> str:
        """Return a SHA-256 over what the trees decide by: features, thresholds, children, parts."""
        digest = hashlib.sha256()
        for estimator in self.forest.estimators_:
            tree = estimator.tree_
            for array, kind in (
                (tree.children_left, "<i8"),
                (tree.children_right, "<i8"),
                (tree.feature, "<i8"),
                (tree.threshold, "<f8"),
                (tree.value, "<f8"),
            ):
                digest.update(np.ascontiguousarray(array, dtype=kind).tobytes())
        return digest.hexdigest()


def vote(forest: "RandomForestClassifier", vectors: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the mean of the trees' class fractions (n, classes) for feature vectors (n, k).

    The slow equivalent is `forest.predict_proba(vectors)`, which spends ten times as long on its
    bookkeeping as on the trees when there is one vector only.
    """
    inputs = np.ascontiguousarray(vectors, dtype=np.float32)
    total = np.zeros((len(vectors), int(forest.n_classes_)))
    for tree in forest.estimators_:
        total += tree.tree_.predict(inputs)
    return total / len(forest.estimators_)


def _accuracy_out_of_bag(
    forest: "RandomForestClassifier", labels: NDArray[np.integer[Any]]
) -> float | None:
    """Return the accuracy of each image's vote among the trees that did not see it, if any."""
    votes = forest.oob_decision_function_
    judged = np.isfinite(votes).all(axis=1) & (votes.sum(axis=1) > 0)
    if not judged.any():
        return None
    return float(np.mean(votes[judged].argmax(axis=1) == labels[judged]))
