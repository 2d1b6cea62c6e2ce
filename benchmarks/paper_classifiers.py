"""The paper's forest and SVM (Table 3) on a data set of ours, for calibrating its classes.

Run on the released set:

    deepfreak data generate diffranet --workers 2 --out diffranet.h5
    python benchmarks/paper_classifiers.py diffranet.h5:train diffranet.h5:test

or on two files; with `--weak-from 0.04` weak shots of less of a whole crystal are left out and the
accuracy is weighted to the paper's class proportions.
"""

import argparse

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import RandomForestClassifier
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from deepfreak.datasets import Dataset
from deepfreak.features import GLCM, extract
from deepfreak.models.evaluation import Proportion, format_percent
from deepfreak.physics.experiment import Experiment
from deepfreak.physics.recipe import load_recipe

FOREST = GLCM(distances=(1, 2, 5, 8), angles_deg=(45, 135))
SVM = GLCM(distances=(1, 5, 8), angles_deg=(0, 90, 135))
SVM_WEIGHTS = dict(enumerate((0.25, 0.25, 0.166, 0.166, 0.166)))
PAPER_COUNTS = np.array([2069, 3268, 3346, 2444, 1472])  # Table 12
WEAK = 2

Labelled = tuple[NDArray[np.float64], NDArray[np.uint8]]


def features(name: str, extractor: GLCM, *, weak_from: float, experiment: Experiment) -> Labelled:
    """Return vectors and labels of FILE or FILE:SPLIT."""
    path, _, split = name.partition(":")
    with Dataset.open(path, split=split or None) as data:
        vectors = extract(extractor, data.images, workers=2)
        fraction = data.truth["crystal_volume_mm3"] / experiment.crystal.volume_mm3
        labels = np.asarray(data.labels)
    kept = (labels != WEAK) | (fraction >= weak_from)
    return vectors[kept], labels[kept]


def tell(name: str, verdicts: NDArray[np.uint8], labels: NDArray[np.uint8]) -> None:
    """Print accuracy, the same at the paper's proportions, and the confusion."""
    confusion = np.zeros((5, 5), dtype=int)
    np.add.at(confusion, (labels, verdicts), 1)
    recall = confusion.diagonal() / np.maximum(confusion.sum(axis=1), 1)
    weighted = 100 * recall @ PAPER_COUNTS / PAPER_COUNTS.sum()
    right = Proportion(int(confusion.trace()), len(labels))
    print(f"{name}: {format_percent(right)} %, {weighted:.2f} % at the paper's proportions")
    print(confusion)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("train")
    parser.add_argument("test")
    parser.add_argument("--weak-from", type=float, default=0.0)
    parser.add_argument("--recipe", default="diffranet")
    options = parser.parse_args()
    chosen = {"weak_from": options.weak_from, "experiment": load_recipe(options.recipe)}
    X, y = features(options.train, FOREST, **chosen)
    T, truth = features(options.test, FOREST, **chosen)
    for seed in range(3):
        forest = RandomForestClassifier(100, max_depth=20, random_state=seed, n_jobs=2)
        tell(f"forest, seed {seed}", forest.fit(X, y).predict(T), truth)
    X, y = features(options.train, SVM, **chosen)
    T, truth = features(options.test, SVM, **chosen)
    scaler = StandardScaler().fit(X)
    svm = SVC(C=32, gamma=0.5, class_weight=SVM_WEIGHTS).fit(scaler.transform(X), y)
    tell("SVM", svm.predict(scaler.transform(T)), truth)


if __name__ == "__main__":
    main()
