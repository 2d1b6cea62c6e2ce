"""Whether a classifier from a file can be asked without harm: every index in it points inside.

scikit-learn follows the node arrays of a tree without looking, so each tree must be one; an SVM is
a few arrays whose shapes must fit one another.
"""

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from deepfreak.errors import ModelError
from deepfreak.models.svm import FittedSVM

if TYPE_CHECKING:
    from sklearn.tree._tree import Tree


def check_forest(forest: object, *, features: int, classes: int) -> None:
    """Check that `forest` is one whose trees can be walked for vectors of `features` numbers.

    Raises
    ------
    ModelError
        It is something else, or an index in it points outside.
    """
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.tree import DecisionTreeClassifier
    from sklearn.tree._tree import Tree

    sound = (
        isinstance(forest, RandomForestClassifier)
        and getattr(forest, "n_features_in_", None) == features
        and getattr(forest, "n_classes_", None) == classes
        and np.array_equal(getattr(forest, "classes_", ()), np.arange(classes))
        and len(getattr(forest, "estimators_", ())) > 0
        and all(
            isinstance(estimator, DecisionTreeClassifier)
            and isinstance(getattr(estimator, "tree_", None), Tree)
            and _is_sound(estimator.tree_, features, classes)
            for estimator in forest.estimators_
        )
    )
    if not sound:
        raise ModelError(
            f"expected a random forest of {features} features and {classes} classes, found one "
            "that does not fit its manifest or has damaged trees: do not use this file"
        )


def _is_sound(tree: "Tree", features: int, classes: int) -> bool:
    """Tell whether every index in `tree` points inside and every path ends in a leaf."""
    count = tree.node_count
    # With more nodes than were allocated, looking at them would already be out of bounds.
    if not 1 <= count == tree.capacity or tree.n_features != features or tree.n_outputs != 1:
        return False
    left, right, feature = tree.children_left, tree.children_right, tree.feature
    inner = left != -1
    parent = np.arange(count)[inner]
    return bool(
        tree.n_classes[0] == classes
        and np.array_equal(inner, right != -1)
        # Children come after their parents, so no path runs in a circle.
        and (left[inner] > parent).all()
        and (right[inner] > parent).all()
        and (left < count).all()
        and (right < count).all()
        and (feature[inner] >= 0).all()
        and (feature[inner] < features).all()
        and np.isfinite(tree.value).all()
    )


def svm_from(
    arrays: dict[str, NDArray[Any]], *, features: int, classes: int, accuracy: float | None
) -> FittedSVM:
    """Return the SVM that the arrays of a file are, `FittedSVM`'s fields by name.

    Raises
    ------
    ModelError
        One is missing, of another shape or type, or not finite.
    """
    vectors = arrays["support"].shape[1] if arrays.get("support", np.empty(0)).ndim == 2 else 0
    expected = {
        "mean": (features,),
        "scale": (features,),
        "gamma": (),
        "support": (features, vectors),
        "coefficients": (classes - 1, vectors),
        "offsets": (classes * (classes - 1) // 2,),
        "counts": (classes,),
        "temperature": (),
    }
    sound = (
        vectors > 0
        and {name: array.shape for name, array in arrays.items()} == expected
        and all(
            array.dtype == (np.int64 if name == "counts" else np.float64)
            and np.isfinite(array).all()
            for name, array in arrays.items()
        )
        and (arrays["counts"] >= 0).all()
        # The largest first: a sum that overflowed might be right again.
        and arrays["counts"].max() <= vectors
        and arrays["counts"].sum() == vectors
        and (arrays["scale"] > 0).all()
        and arrays["gamma"] > 0
        and arrays["temperature"] > 0
    )
    if not sound:
        raise ModelError(
            f"expected an SVM of {features} features and {classes} classes, found arrays that do "
            "not fit one another or the manifest: do not use this file"
        )
    return FittedSVM(
        mean=arrays["mean"],
        scale=arrays["scale"],
        gamma=float(arrays["gamma"]),
        support=np.ascontiguousarray(arrays["support"]),
        coefficients=np.ascontiguousarray(arrays["coefficients"]),
        offsets=arrays["offsets"],
        counts=arrays["counts"],
        temperature=float(arrays["temperature"]),
        accuracy_held_out=accuracy,
    )
