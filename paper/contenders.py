"""Extractors with classifiers, fitted for one seed after the other, and what they say of images."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from time import perf_counter
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from deepfreak.classes import (
    GROUPS,
    group_weights,
    grouped,
)
from deepfreak.datasets.identity import identity
from deepfreak.features.sift import SIFT
from deepfreak.models.evaluation import Evaluation
from deepfreak.search.extraction import Progress, no_progress

if TYPE_CHECKING:
    from deepfreak.datasets import Dataset
    from deepfreak.features.cache import FeatureCache
    from deepfreak.features.extraction import Extractor
    from deepfreak.models.fitted import Learner


@dataclass(frozen=True, slots=True, kw_only=True)
class Contender:
    """An extractor, for SIFT without its codebook yet, and a classifier, under a name."""

    name: str
    extractor: "Extractor | SIFT"
    classifier: "Learner"


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """What a contender said of one set of images, once for each seed.

    An SVM has nothing random: there is one evaluation of it.
    """

    contender: Contender
    evaluations: tuple[Evaluation, ...]

    @property
    def first(self) -> Evaluation:
        """The evaluation of the first seed."""
        return self.evaluations[0]

    @property
    def percents(self) -> NDArray[np.float64]:
        """Accuracy of each seed in per cent."""
        return np.array([100 * each.accuracy.value for each in self.evaluations])

    @property
    def spread(self) -> str:
        """Mean and standard deviation over the seeds, in per cent; without the latter for one."""
        values = self.percents
        if values.size == 1:
            return f"{values[0]:.2f}"
        return f"{values.mean():.2f} ± {values.std(ddof=1):.2f}"


def judge(
    contender: Contender,
    train: "Dataset",
    others: "Mapping[str, Dataset]",
    *,
    cache: "FeatureCache",
    seeds: int = 3,
    workers: int = 1,
    progress: Progress = no_progress,
    say: Callable[[str], None] = lambda _: None,
) -> dict[str, Judged]:
    """Teach `contender` the images of `train` and return what it says of each of `others`.

    Where these have the two classes of real images, it is taught those two, as in the authors'
    code: labels are grouped and the weights of the classes of a group are summed. So all of
    `others` must have the same classes. A forest is grown `seeds` times, with seeds from 0 on.
    """
    classes = next(iter(others.values())).classes
    labels, classifier = train.labels, contender.classifier
    if classes == GROUPS != train.classes:
        labels = grouped(labels, train.classes)
        weights = group_weights(classifier.class_weight, train.classes)
        classifier = replace(classifier, class_weight=weights)
    extractor = contender.extractor
    if isinstance(extractor, SIFT):
        extractor = cache.words(extractor, train, seed=0, workers=workers)

    def vectors_of(data: "Dataset") -> NDArray[np.float64]:
        with progress(f"features {extractor.name}", len(data)) as advance:
            return cache.vectors(extractor, data, workers=workers, advance=advance)

    vectors = vectors_of(train)
    unseen = {name: vectors_of(data) for name, data in others.items()}
    evaluations: dict[str, list[Evaluation]] = {name: [] for name in others}
    for seed in range(seeds if classifier.name == "forest" else 1):
        say(f"{contender.name}, seed {seed}")
        fitted = classifier.fit(vectors, labels, classes=len(classes), seed=seed, workers=workers)
        for name, data in others.items():
            start = perf_counter()
            probabilities = fitted.probabilities(unseen[name])
            evaluations[name].append(
                Evaluation(
                    model=contender.name,
                    data=str(data.path),
                    data_set=identity(data.manifest),
                    classes=classes,
                    truth=np.asarray(data.labels),
                    probabilities=probabilities,
                    # of the classifier alone: the vectors were in the cache
                    seconds_per_image=(perf_counter() - start) / len(data),
                )
            )
    return {
        name: Judged(contender=contender, evaluations=tuple(found))
        for name, found in evaluations.items()
    }


def mcnemar(one: Evaluation, other: Evaluation) -> tuple[int, int, float]:
    """Return the images that only `one` judged rightly, those that only `other` did, and p.

    McNemar's exact two-sided test: were both as good, either would be alone as often.
    """
    from scipy.stats import binomtest

    one_right, other_right = one.predictions == one.truth, other.predictions == other.truth
    only_one = int(np.count_nonzero(one_right & ~other_right))
    only_other = int(np.count_nonzero(other_right & ~one_right))
    apart = only_one + only_other
    p = float(binomtest(only_one, apart).pvalue) if apart else 1.0
    return only_one, only_other, p
