"""A random forest over the numbers of a feature extractor (the paper's section 4.2).

scikit-learn grows the trees; they are kept as plain arrays and followed by the loop below.
"""

import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from deepfreak.classes import ClassWeight
from deepfreak.compiled import njit
from deepfreak.models.archive import Arrays, matches, unfit
from deepfreak.models.classifier import (
    Array,
    Fitted,
    Labels,
    Learner,
    check_training,
    require_scikit_learn,
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
class Forest(Learner):
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

    def fit(
        self,
        vectors: Array,
        labels: Labels,
        *,
        classes: int,
        seed: int = 0,
        workers: int = 1,
        held_out: bool = False,
    ) -> "FittedForest":
        """Return a forest; see `Learner.fit`. The accuracy held out is that out of bag."""
        require_scikit_learn()
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
        return replace(
            trees_of(forest),
            accuracy_held_out=_accuracy_out_of_bag(forest, labels) if held_out else None,
        )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FittedForest(Fitted):
    """The nodes of all trees, one tree after the other, as plain arrays.

    `roots` int32 (trees,) is the first node of each tree. `children` int32 (nodes, 2) says how many
    nodes further on the left and the right child are; 0 at a leaf. `feature` int32 (nodes,) is
    compared; at a leaf it is its row of `leaves`. A feature of at most `threshold`, float32
    (nodes,), goes left. `leaves` float64 (m, classes) are probabilities; leaves that agree share a
    row.
    """

    name: ClassVar[str] = "forest"

    roots: NDArray[np.int32]
    children: NDArray[np.int32]
    feature: NDArray[np.int32]
    threshold: NDArray[np.float32]
    leaves: Array

    def probabilities(self, vectors: Array) -> Array:
        """Return the mean over trees (n, classes); scikit-learn's is equal to the last bits."""
        inputs = np.ascontiguousarray(vectors, dtype=np.float32)
        return vote(inputs, self.roots, self.children, self.feature, self.threshold, self.leaves)

    @classmethod
    def from_arrays(cls, arrays: Arrays, *, features: int, classes: int) -> Self:
        """Return the forest of `arrays`, every index of which was checked; see `Fitted`."""
        nodes, rows = (len(np.atleast_1d(arrays.get(name, ()))) for name in ("feature", "leaves"))
        trees = len(np.atleast_1d(arrays.get("roots", ())))
        expected = {
            "roots": (np.int32, (trees,)),
            "children": (np.int32, (nodes, 2)),
            "feature": (np.int32, (nodes,)),
            "threshold": (np.float32, (nodes,)),
            "leaves": (np.float64, (rows, classes)),
        }
        if not (trees and matches(arrays, expected) and _points_inside(arrays, features)):
            raise unfit(cls.name, features=features, classes=classes)
        values: dict[str, Any] = {name: np.ascontiguousarray(arrays[name]) for name in arrays}
        return cls(**values)


def trees_of(forest: "RandomForestClassifier") -> FittedForest:
    """Return the trees of a forest of scikit-learn as plain arrays."""
    trees = [estimator.tree_ for estimator in forest.estimators_]
    left, right, feature, threshold, value = (
        np.concatenate([getattr(tree, name) for tree in trees])
        for name in ("children_left", "children_right", "feature", "threshold", "value")
    )
    sizes = [tree.node_count for tree in trees]
    inner = left >= 0
    place = np.concatenate([np.arange(size) for size in sizes])
    leaves, row = np.unique(value[~inner, 0], axis=0, return_inverse=True)
    feature[~inner] = row.ravel()
    # The trees compare single-precision numbers: at most the threshold is at most the largest of
    # these that does not exceed it.
    single = threshold.astype(np.float32)
    single = np.where(single > threshold, np.nextafter(single, np.float32(-np.inf)), single)
    return FittedForest(
        roots=np.cumsum([0, *sizes[:-1]], dtype=np.int32),
        children=np.where(inner[:, None], np.stack([left, right], 1) - place[:, None], 0).astype(
            np.int32
        ),
        feature=feature.astype(np.int32),
        threshold=np.where(inner, single, np.float32(0)),
        leaves=leaves,
    )


def _points_inside(arrays: Arrays, features: int) -> bool:
    """Return whether every path from a root runs forwards, stays inside and ends at a leaf."""
    roots, children, feature = arrays["roots"], arrays["children"], arrays["feature"]
    nodes = len(feature)
    inner = children[:, 0] != 0
    # children follow their parents, so that no path runs in a circle
    ahead = (children > 0) & (children < nodes - np.arange(nodes)[:, None])
    limit = np.where(inner, features, len(arrays["leaves"]))
    return bool(
        ((roots >= 0) & (roots < nodes)).all()
        and np.where(inner[:, None], ahead, children == 0).all()
        and ((feature >= 0) & (feature < limit)).all()
    )


def _vote(
    vectors: NDArray[np.float32],
    roots: NDArray[np.int32],
    children: NDArray[np.int32],
    feature: NDArray[np.int32],
    threshold: NDArray[np.float32],
    leaves: Array,
) -> Array:
    """Return the mean of the leaves that each vector reaches (n, classes)."""
    found = np.zeros((len(vectors), leaves.shape[1]))
    for row in range(len(vectors)):
        for root in roots:
            node = np.int64(root)
            while children[node, 0] != 0:
                side = 0 if vectors[row, feature[node]] <= threshold[node] else 1
                node += children[node, side]
            for label in range(leaves.shape[1]):
                found[row, label] += leaves[feature[node], label]
    return found / len(roots)


vote: Callable[..., Array] = njit(cache=True, nogil=True, error_model="numpy")(_vote)


def _accuracy_out_of_bag(forest: "RandomForestClassifier", labels: Labels) -> float | None:
    """Return the accuracy of the trees on images outside their bags; None without such images."""
    votes = forest.oob_decision_function_
    seen = np.isfinite(votes).all(axis=1) & (votes.sum(axis=1) > 0)
    if not seen.any():
        return None
    return float(np.mean(votes[seen].argmax(axis=1) == labels[seen]))
