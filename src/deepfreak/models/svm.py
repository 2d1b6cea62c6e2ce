"""A support vector machine with a Gaussian kernel over scaled features (section 4.2).

scikit-learn (libsvm) finds the support vectors; they are kept as plain arrays and evaluated by the
loop below.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from deepfreak.classes import ClassWeight
from deepfreak.compiled import njit
from deepfreak.models.archive import Arrays, matches, unfit
from deepfreak.models.classifier import (
    Array,
    Fitted,
    Labels,
    Learner,
    check_training,
    held_out_scores,
    require_scikit_learn,
    weights_by_class,
)
from deepfreak.settings import NonNegative, Positive, settings

# Table 8. Gamma 0 is one over the number of features: libsvm's own convention, and what the 'auto'
# of the scikit-learn that the authors used meant.
COSTS = (1.0, *(2.0**x for x in range(-5, 16, 2)))
GAMMAS = (0.0, *(2.0**x for x in range(-15, 4, 2)))

# libsvm keeps kernel values of the two classes that it separates: 100 MB of 5,000 images.
CACHE_MB = 400


@settings
class SVM(Learner):
    """The settings of an SVM; the defaults are the paper's best (Table 3) without its weights.

    Parameters
    ----------
    C
        Cost of a vector on the wrong side of its margin; times the weight of its class.
    gamma
        Width of the kernel exp(-gamma |x - y|^2), x and y in standard deviations; 0 stands for one
        over the number of features.
    """

    name: ClassVar[str] = "svm"

    C: Positive = 32.0
    gamma: NonNegative = 0.5
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
    ) -> "FittedSVM":
        """Return an SVM; see `Learner.fit`.

        Features are scaled by these vectors. libsvm's iterations have no limit, since an SVM cut
        short would be a wrong one: with a large C training may take hours. `held_out` finds
        temperature and accuracy from folds, which `seed` draws; else the temperature is 1.
        """
        check_training(vectors, labels, classes=classes, class_weight=self.class_weight)
        # The order in memory decides in which order means are summed, and so on their last bit.
        vectors = np.ascontiguousarray(vectors)
        fitted = self._fit(vectors, labels)
        if not held_out:
            return fitted
        margins = held_out_scores(
            lambda seen, unseen: self._fit(vectors[seen], labels[seen]).margins(vectors[unseen]),
            labels,
            seed=seed,
            workers=workers,
        )
        return replace(
            fitted,
            temperature=temperature_of(margins, labels),
            accuracy_held_out=float(np.mean(margins.argmax(axis=1) == labels)),
        )

    def _fit(self, vectors: Array, labels: Labels) -> "FittedSVM":
        require_scikit_learn()
        from sklearn.preprocessing import StandardScaler
        from sklearn.svm import SVC

        scaler = StandardScaler().fit(vectors)
        gamma = self.gamma or 1 / vectors.shape[1]
        machine = SVC(
            C=self.C,
            gamma=gamma,
            class_weight=weights_by_class(self.class_weight),
            cache_size=CACHE_MB,
        ).fit(scaler.transform(vectors), labels)
        # Of two classes scikit-learn turns the signs of libsvm around.
        sign = -1.0 if len(machine.classes_) == 2 else 1.0
        return FittedSVM(
            mean=np.array(scaler.mean_),
            scale=np.array(scaler.scale_),
            gamma=float(gamma),
            support=np.ascontiguousarray(machine.support_vectors_.T),
            coefficients=np.ascontiguousarray(sign * machine.dual_coef_),
            offsets=np.ascontiguousarray(sign * machine.intercept_),
            counts=machine.n_support_.astype(np.int64),
        )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FittedSVM(Fitted):
    """Support vectors and what separates each pair of classes.

    Vectors are shifted by `mean` (k,) and divided by `scale` (k,). `support` (k, m) has scaled
    support vectors as columns, class after class, `counts` how many each class has. `coefficients`
    (classes - 1, m) are libsvm's: for the classes i < j, those of i's support vectors stand in row
    j - 1 and those of j's in row i. `offsets` are one for each pair (0, 1), (0, 2), ... (1, 2), ...
    Margins are divided by `temperature` before they become probabilities.
    """

    name: ClassVar[str] = "svm"

    mean: Array
    scale: Array
    gamma: float
    support: Array
    coefficients: Array
    offsets: Array
    counts: NDArray[np.int64]
    temperature: float = 1.0

    def margins(self, vectors: Array) -> Array:
        """Return by how much each class wins its narrowest comparison (n, classes).

        A class that wins all comparisons, and so libsvm's vote, is the only one above 0. Unlike a
        count of votes this changes steadily as a vector crosses from one class to another.
        """
        scaled = np.ascontiguousarray((vectors - self.mean) / self.scale)
        pairwise = separate(
            scaled, self.support, self.gamma, self.coefficients, self.offsets, self.counts
        )
        margins = np.full((len(vectors), len(self.counts)), np.inf)
        for pair, (i, j) in enumerate(combinations(range(len(self.counts)), 2)):
            np.minimum(margins[:, i], pairwise[:, pair], out=margins[:, i])
            np.minimum(margins[:, j], -pairwise[:, pair], out=margins[:, j])
        return margins

    def predict(self, vectors: Array) -> NDArray[np.intp]:
        """Return the class with the largest margin (n,), the most probable one."""
        largest: NDArray[np.intp] = self.margins(vectors).argmax(axis=1)
        return largest

    def probabilities(self, vectors: Array) -> Array:
        """Return the probabilities (n, classes): the softmax of margins over the temperature.

        Between two classes that is the logistic function of Platt (1999) with one slope for all
        pairs and no shift, so that the most probable class is the predicted one.
        """
        return softmax(self.margins(vectors) / self.temperature)

    @classmethod
    def from_arrays(cls, arrays: Arrays, *, features: int, classes: int) -> Self:
        """Return the SVM of `arrays`; see `Fitted`."""
        vectors = arrays["support"].shape[1] if arrays.get("support", np.empty(0)).ndim == 2 else 0
        expected = {
            "mean": (np.float64, (features,)),
            "scale": (np.float64, (features,)),
            "gamma": (np.float64, ()),
            "support": (np.float64, (features, vectors)),
            "coefficients": (np.float64, (classes - 1, vectors)),
            "offsets": (np.float64, (classes * (classes - 1) // 2,)),
            "counts": (np.int64, (classes,)),
            "temperature": (np.float64, ()),
        }
        sound = (
            vectors > 0
            and matches(arrays, expected)
            and (arrays["counts"] >= 0).all()
            # The largest first: a sum that overflowed might be right again.
            and arrays["counts"].max() <= vectors
            and arrays["counts"].sum() == vectors
            and (arrays["scale"] > 0).all()
            and arrays["gamma"] > 0
            and arrays["temperature"] > 0
        )
        if not sound:
            raise unfit(cls.name, features=features, classes=classes)
        values: dict[str, Any] = {
            name: array.item() if array.ndim == 0 else np.ascontiguousarray(array)
            for name, array in arrays.items()
        }
        return cls(**values)


def temperature_of(margins: Array, labels: Labels) -> float:
    """Return the temperature of held-out margins (n, classes): that of the largest likelihood.

    As in Platt (1999) each class has one more image of every label than was counted: margins
    without a mistake would otherwise ask for certainty.
    """
    from scipy.optimize import minimize_scalar

    total, classes = margins.shape
    target = np.full(margins.shape, 1 / (total + classes))
    target[np.arange(total), labels] += total / (total + classes)

    def loss(log_temperature: float) -> float:
        scaled = margins / np.exp(log_temperature)
        shifted = scaled - scaled.max(axis=1, keepdims=True)
        logarithms = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
        return -float(np.vdot(target, logarithms)) / int(total)

    # Margins of SVMs are about 1; the bounds only keep exp() finite where all of them are 0.
    found = minimize_scalar(loss, bounds=(-12.0, 12.0), method="bounded")
    return float(np.exp(found.x))


def softmax(scores: Array) -> Array:
    """Return exp(scores) (n, classes) divided by the sum over classes."""
    powers = np.exp(scores - scores.max(axis=1, keepdims=True))
    parts: Array = powers / powers.sum(axis=1, keepdims=True)
    return parts


def _separate(
    vectors: Array,
    support: Array,
    gamma: float,
    coefficients: Array,
    offsets: Array,
    counts: NDArray[np.int64],
) -> Array:
    """Return the decision for each pair of classes (n, pairs); above 0 it is for the first.

    Equal to `SVC.decision_function` with decision_function_shape="ovo". A vector's decisions do not
    depend on the vectors beside it, unlike those of a matrix product.
    """
    total, features = vectors.shape
    kernel = np.empty(support.shape[1])
    found = np.empty((total, offsets.size))
    first = np.zeros(counts.size + 1, np.int64)
    first[1:] = np.cumsum(counts)
    for row in range(total):
        kernel[:] = 0.0
        for feature in range(features):
            value = vectors[row, feature]
            for s in range(kernel.size):
                difference = support[feature, s] - value
                kernel[s] += difference * difference
        for s in range(kernel.size):
            kernel[s] = np.exp(-gamma * kernel[s])
        pair = 0
        for i in range(counts.size):
            for j in range(i + 1, counts.size):
                decision = offsets[pair]
                for s in range(first[i], first[i + 1]):
                    decision += coefficients[j - 1, s] * kernel[s]
                for s in range(first[j], first[j + 1]):
                    decision += coefficients[i, s] * kernel[s]
                found[row, pair] = decision
                pair += 1
    return found


separate: Callable[..., Array] = njit(cache=True, nogil=True, error_model="numpy")(_separate)
