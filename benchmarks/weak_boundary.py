"""Accuracy of the paper's forest and SVM against the smallest volume of a weak shot.

Run: python benchmarks/weak_boundary.py --images boundary.h5 [--count 2680] [--seed 1]

Images are simulated if the file does not exist, with another seed than the released set's and with
weak shots from the smallest volume in `LEAST`. Each row leaves out the weakest. Accuracies are
cross-validated and weighted to the paper's class proportions.
"""

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from paper_classifiers import FOREST, PAPER_COUNTS, SVM, SVM_WEIGHTS, WEAK
from sklearn.base import ClassifierMixin
from sklearn.ensemble import RandomForestClassifier
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from deepfreak.datasets import Dataset, generate
from deepfreak.features import extract
from deepfreak.physics.experiment import Experiment
from deepfreak.physics.recipe import load_recipe

LEAST = (0.02, 0.025, 0.03, 0.035, 0.04, 0.05)


def weighted_accuracy(
    classifier: ClassifierMixin, vectors: NDArray[np.float64], labels: NDArray[np.uint8], folds: int
) -> float:
    """Return the cross-validated accuracy at the paper's class proportions, in %."""
    parts = StratifiedKFold(folds, shuffle=True, random_state=0)
    right = cross_val_predict(classifier, vectors, labels, cv=parts) == labels
    recall = [right[labels == label].mean() for label in range(len(PAPER_COUNTS))]
    return float(100 * np.array(recall) @ PAPER_COUNTS / PAPER_COUNTS.sum())


def with_weaker(experiment: Experiment) -> Experiment:
    """Return the recipe with weak shots from the smallest volume in `LEAST`."""
    lit = [
        replace(each, crystal_fraction=(min(LEAST), each.crystal_fraction[1]))
        if each.name == "weak"
        else each
        for each in experiment.classes.lit
    ]
    return replace(experiment, classes=replace(experiment.classes, lit=tuple(lit)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=Path, required=True)
    parser.add_argument("--count", type=int, default=2680)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--folds", type=int, default=10)
    options = parser.parse_args()
    experiment = load_recipe("diffranet")
    if not options.images.exists():
        generate(
            with_weaker(experiment),
            count=options.count,
            seed=options.seed,
            out=options.images,
        )
    with Dataset.open(options.images) as data:
        fraction = data.truth["crystal_volume_mm3"] / experiment.crystal.volume_mm3
        labels = np.asarray(data.labels)
        for_forest, for_svm = (extract(each, data.images, workers=2) for each in (FOREST, SVM))
    forest = RandomForestClassifier(100, max_depth=20, random_state=0, n_jobs=2)
    svm = make_pipeline(StandardScaler(), SVC(C=32, gamma=0.5, class_weight=SVM_WEIGHTS))
    print("| weak from | shots | forest, % | SVM, % |")
    print("|---|---|---|---|")
    for least in LEAST:
        kept = (labels != WEAK) | (fraction >= least)
        accuracies = [
            weighted_accuracy(classifier, vectors[kept], labels[kept], options.folds)
            for classifier, vectors in ((forest, for_forest), (svm, for_svm))
        ]
        print(f"| {least:.3f} | {kept.sum():,} | {accuracies[0]:.2f} | {accuracies[1]:.2f} |")


if __name__ == "__main__":
    main()
