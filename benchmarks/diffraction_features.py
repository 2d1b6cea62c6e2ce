"""Compare diffraction statistics with the paper's co-occurrence features.

Run:

    python benchmarks/diffraction_features.py diffranet.h5:train diffranet.h5:validation \
        --real ../shared/real

The forest of the paper's Table 3 is trained on both kinds of features; extremely randomised and
boosted trees are trained on the statistics, too. Predictions for the same images are compared by
McNemar's exact test. Times are for one core, from the 8-bit image to the probabilities.
"""

import argparse
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest
from sklearn.ensemble import (
    ExtraTreesClassifier,
    HistGradientBoostingClassifier,
    RandomForestClassifier,
)

from deepfreak.datasets import Dataset
from deepfreak.errors import FrameError
from deepfreak.features import GLCM, Diffraction, Extractor, extract
from deepfreak.formats import find_files, open_frames
from deepfreak.models.evaluation import Proportion, format_percent
from deepfreak.models.forest import FittedForest, Forest
from deepfreak.preparation import Prepared, prepare

EXTRACTORS: tuple[Extractor, ...] = (Diffraction(), GLCM())
TIMED = 60

Labelled = tuple[NDArray[np.float64], NDArray[np.uint8]]


def features(name: str, extractor: Extractor, workers: int) -> Labelled:
    """Return vectors and labels of FILE or FILE:SPLIT."""
    path, _, split = name.partition(":")
    with Dataset.open(path, split=split or None) as data:
        return extract(extractor, data.images, workers=workers), np.asarray(data.labels)


def tell(name: str, verdicts: NDArray[np.intp], truth: NDArray[np.uint8]) -> None:
    """Print accuracy and confusion."""
    confusion = np.zeros((5, 5), dtype=int)
    np.add.at(confusion, (truth, verdicts), 1)
    right = Proportion(int(confusion.trace()), len(truth))
    print(f"{name:<24} {format_percent(right)} %  {confusion.tolist()}")


def compare(ours: NDArray[np.intp], theirs: NDArray[np.intp], truth: NDArray[np.uint8]) -> None:
    """Print McNemar's exact test."""
    gained = int(np.count_nonzero((ours == truth) & (theirs != truth)))
    lost = int(np.count_nonzero((ours != truth) & (theirs == truth)))
    p = binomtest(gained, gained + lost).pvalue if gained + lost else 1.0
    print(f"only ours correct: {gained}, only the other: {lost}, McNemar p = {p:.2g}")


def milliseconds(
    name: str, extractor: Extractor, fitted: FittedForest
) -> tuple[float, float, float]:
    """Return mean, median and maximum CPU milliseconds per image, one at a time."""
    path, _, split = name.partition(":")
    with Dataset.open(path, split=split or None) as data:
        images = [data.images[index] for index in range(min(TIMED, len(data)))]
    spent = []
    for image in images:
        times = []
        for _ in range(3):
            start = time.thread_time()
            fitted.probabilities(extractor(image)[None])
            times.append(time.thread_time() - start)
        spent.append(1000 * min(times))
    return float(np.mean(spent)), float(np.median(spent)), float(np.max(spent))


def real_frames(folder: Path) -> dict[str, Prepared]:
    """Return the first frame of each readable file."""
    found = {}
    for path in find_files([folder]):
        try:
            with open_frames(path) as file:
                found[path.name] = prepare(file.read(0))
        except FrameError as error:
            print(f"{path.name}: {error}")
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("train")
    parser.add_argument("judged")
    parser.add_argument("--real", type=Path, help="directory of measured frames")
    parser.add_argument("--workers", type=int, default=1)
    options = parser.parse_args()
    forests: dict[str, tuple[Extractor, FittedForest]] = {}
    verdicts: dict[str, NDArray[np.intp]] = {}
    for extractor in EXTRACTORS:
        X, y = features(options.train, extractor, options.workers)
        T, truth = features(options.judged, extractor, options.workers)
        for seed in range(3):
            fitted = Forest().fit(X, y, classes=5, seed=seed)
            verdict = fitted.predict(T)
            tell(f"{extractor.name} forest {seed}", verdict, truth)
            if seed == 0:
                forests[extractor.name] = extractor, fitted
                verdicts[extractor.name] = verdict
        times = milliseconds(options.judged, extractor, forests[extractor.name][1])
        print("ms per image: mean {:.2f}, median {:.2f}, maximum {:.2f}".format(*times))
        if isinstance(extractor, Diffraction):
            others: dict[str, Any] = {
                "all features a split": RandomForestClassifier(100, max_features=None),
                "extremely randomised": ExtraTreesClassifier(100),
                "boosted": HistGradientBoostingClassifier(max_iter=150, early_stopping=False),
            }
            for name, other in others.items():
                fitted_other = other.set_params(random_state=0).fit(X, y)
                tell(name, fitted_other.predict(T), truth)
    compare(verdicts["diffraction"], verdicts["glcm"], truth)
    if options.real:
        classes = ("blank", "no-crystal", "weak", "good", "strong")
        for file, prepared in real_frames(options.real).items():
            cells = []
            for extractor, fitted in forests.values():
                vector = extractor(prepared.image, prepared.valid)[None]
                row = fitted.probabilities(vector)[0]
                cells.append(f"{classes[row.argmax()]:>10} {row[2:].sum():.2f}")
            print(f"{file:<32} {'  '.join(cells)}")


if __name__ == "__main__":
    main()
