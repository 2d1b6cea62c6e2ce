"""Baselines: forests and SVMs on extracted features, trained and evaluated."""

from dataclasses import dataclass, replace
from time import perf_counter
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from deepfreak.classes import GROUPS, group_weights, grouped
from deepfreak.datasets.verifying import identity
from deepfreak.features import GLCM, LBP, Diffraction
from deepfreak.models import SVM, Forest
from deepfreak.models.evaluation import Evaluation
from paper.record import Request, mean_and_deviation

if TYPE_CHECKING:
    from collections.abc import Mapping

    from deepfreak.datasets import Dataset
    from deepfreak.features import SIFT, Extractor
    from deepfreak.models.classifier import Learner


@dataclass(frozen=True, slots=True, kw_only=True)
class Baseline:
    """An extractor, for SIFT without its codebook yet, and a classifier, under a name."""

    name: str
    extractor: "Extractor | SIFT"
    classifier: "Learner"


PAPER_FOREST = Baseline(
    name="GLCM + forest, the paper's settings",
    extractor=GLCM(distances=(1, 2, 5, 8), angles_deg=(45, 135)),
    classifier=Forest(trees=100, max_depth=20, max_features="sqrt"),
)
PAPER_SVM = Baseline(
    name="GLCM + SVM, the paper's settings",
    extractor=GLCM(distances=(1, 5, 8), angles_deg=(0, 90, 135)),
    classifier=SVM(C=32.0, gamma=0.5, class_weight=(0.25, 0.25, 0.166, 0.166, 0.166)),
)
OURS = Baseline(
    name="diffraction statistics + forest",
    extractor=Diffraction(),
    classifier=Forest(trees=100, max_depth=20, max_features="sqrt"),
)
# The paper's choices on real validation images, Tables 14 and 16, by variant: forest, then SVM.
FOR_REAL = {
    "raw": (
        Baseline(
            name="LBP + forest, Table 14",
            extractor=LBP(points=16, radius=1),
            classifier=Forest(
                trees=10, max_depth=20, max_features=0.5, class_weight=(0.35, 0.35, 0.1, 0.1, 0.1)
            ),
        ),
        Baseline(
            name="LBP + SVM, Table 14",
            extractor=LBP(points=24, radius=1),
            classifier=SVM(C=1.0, gamma=2.0**-9, class_weight="balanced"),
        ),
    ),
    "preprocessed": (
        Baseline(
            name="LBP + forest, Table 16",
            extractor=LBP(points=24, radius=2),
            classifier=Forest(trees=100, max_depth=4, max_features=0.75, class_weight="balanced"),
        ),
        Baseline(
            name="LBP + SVM, Table 16",
            extractor=LBP(points=24, radius=1),
            classifier=SVM(C=2.0**15, gamma=2.0**-7),
        ),
    ),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluations:
    """The evaluations of a baseline on one set of images: one per seed, of an SVM one in all."""

    baseline: Baseline
    of_seeds: tuple[Evaluation, ...]

    @property
    def first(self) -> Evaluation:
        """The evaluation of the first seed."""
        return self.of_seeds[0]

    @property
    def spread(self) -> str:
        """Mean and standard deviation of the accuracy over the seeds, in per cent."""
        return mean_and_deviation(np.array([each.accuracy.value for each in self.of_seeds]))


def evaluate(
    baseline: Baseline,
    train: "Dataset",
    others: "Mapping[str, Dataset]",
    request: Request,
    *,
    seeds: int = 1,
) -> dict[str, Evaluations]:
    """Train `baseline` on `train` and evaluate it on each of `others`.

    Where these have the two groups of real images, it is trained on those two, as in the authors'
    code: labels are grouped, and the weights of the classes of a group are summed. All of `others`
    must have the same classes. A forest is trained `seeds` times, with seeds from 0 on.
    """
    cache, workers = request.cache, request.workers
    classes = next(iter(others.values())).classes
    labels, classifier = train.labels, baseline.classifier
    if classes == GROUPS != train.classes:
        labels = grouped(labels, train.classes)
        weights = group_weights(classifier.class_weight, train.classes)
        classifier = replace(classifier, class_weight=weights)
    extractor = cache.fitted(baseline.extractor, train, seed=0, workers=workers)

    def vectors_of(data: "Dataset") -> NDArray[np.float64]:
        with request.progress(f"features {extractor.name}", len(data)) as advance:
            return cache.vectors(extractor, data, workers=workers, advance=advance)

    vectors = vectors_of(train)
    unseen = {name: vectors_of(data) for name, data in others.items()}
    found: dict[str, list[Evaluation]] = {name: [] for name in others}
    for seed in range(seeds if classifier.name == Forest.name else 1):
        request.say(f"{baseline.name}, seed {seed}")
        fitted = classifier.fit(vectors, labels, classes=len(classes), seed=seed, workers=workers)
        for name, data in others.items():
            start = perf_counter()
            probabilities = fitted.probabilities(unseen[name])
            evaluation = Evaluation(
                model=baseline.name,
                data=str(data.path),
                data_set=identity(data.manifest),
                classes=classes,
                truth=np.asarray(data.labels),
                probabilities=probabilities,
                # of the classifier alone: the vectors were in the cache
                seconds_per_image=(perf_counter() - start) / len(data),
            )
            found[name].append(evaluation)
    return {
        name: Evaluations(baseline=baseline, of_seeds=tuple(of_name))
        for name, of_name in found.items()
    }
