"""Compare our texture features with scikit-image's, and time each of our extractors.

Run: python benchmarks/features.py [--recipe diffranet] [--each 2] [--repetitions 7] [--seed 1]

Everything runs in one thread, on simulated images of every class. Times are CPU milliseconds. On
each image the two implementations alternate, so that other load affects both; the ratio is the
median over these pairs, printed beside the largest difference of their results.
"""

import argparse
import platform
import time
from collections.abc import Callable, Iterable
from importlib import metadata
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from skimage.feature import graycomatrix, graycoprops, local_binary_pattern
from threadpoolctl import threadpool_limits

from deepfreak.features import GLCM, LBP, SIFT, Diffraction, Extractor
from deepfreak.features.glcm import PROPERTIES
from deepfreak.physics.exposure import simulate
from deepfreak.physics.recipe import load_recipe

Image = NDArray[np.uint8]
Work = Callable[[Image], NDArray[np.float64]]

GLCMS = {
    "GLCM, 4 distances x 4 angles": GLCM(distances=(1, 2, 5, 8), angles_deg=(0, 45, 90, 135)),
    "GLCM, all of Table 8 (5 x 4)": GLCM(distances=(1, 2, 4, 5, 8), angles_deg=(0, 45, 90, 135)),
    "GLCM, the paper's forest (4 x 2)": GLCM(distances=(1, 2, 5, 8), angles_deg=(45, 135)),
}
LBPS = {
    f"LBP {points}/{radius}": LBP(points=points, radius=radius)
    for points, radius in ((24, 3), (24, 1), (16, 2), (8, 3), (8, 1), (4, 1), (4, 0))
}


def glcm_by_skimage(glcm: GLCM) -> Work:
    """Return a function that computes the same six properties with scikit-image, in our order."""
    angles = np.deg2rad(glcm.angles_deg)

    def work(image: Image) -> NDArray[np.float64]:
        matrices = graycomatrix(
            image, glcm.distances, angles, levels=256, symmetric=True, normed=True
        )
        return np.stack([graycoprops(matrices, name) for name in PROPERTIES], axis=-1).ravel()

    return work


def lbp_by_skimage(lbp: LBP) -> Work:
    """Return a function that computes the same histogram with scikit-image."""

    def work(image: Image) -> NDArray[np.float64]:
        patterns = local_binary_pattern(image, lbp.points, lbp.radius, method="uniform")
        counts = np.bincount(patterns.astype(np.intp).ravel(), minlength=lbp.points + 2)
        return counts / image.size

    return work


def images_of_every_class(recipe: str, *, each: int, seed: int) -> list[Image]:
    """Return `each` simulated images of every class, in the order of classes."""
    experiment = load_recipe(recipe)
    images: dict[str, list[Image]] = {name: [] for name in experiment.classes.names}
    index = 0
    while min(map(len, images.values())) < each:
        shot = experiment.draw(seed=seed, index=index)
        index += 1
        if len(images[shot.class_name]) < each:
            images[shot.class_name].append(simulate(shot)[0])
    return [image for of_class in images.values() for image in of_class]


def core_ms(work: Work, image: Image) -> float:
    """Return the CPU milliseconds of one call."""
    start = time.process_time()
    work(image)
    return 1e3 * (time.process_time() - start)


def compare(name: str, ours: Extractor, theirs: Work, images: list[Image], *, runs: int) -> str:
    """Return a row of the table: median times, the ratio of pairs, the largest difference."""
    off, pairs = 0.0, []
    for image in images:
        # also serves as warm-up
        off = max(off, float(np.max(np.abs(ours(image) - theirs(image)))))
        pairs += [(core_ms(theirs, image), core_ms(ours, image)) for _ in range(runs)]
    slow, fast = np.array(pairs).T
    ratio = slow / fast
    lowest = np.median(ratio.reshape(len(images), runs), axis=1).min()
    return (
        f"| {name} | {np.median(slow):.1f} | {np.median(fast):.2f} | {np.median(ratio):.1f} | "
        f"{lowest:.1f} | {off:.0e} |"
    )


def cost(name: str, extractor: Extractor, images: list[Image], *, runs: int) -> str:
    """Return a row of the table: median and maximum over images of the median time."""
    extractor(images[0])
    ms = [float(np.median([core_ms(extractor, image) for _ in range(runs)])) for image in images]
    return f"| {name} | {len(extractor.names)} | {np.median(ms):.2f} | {max(ms):.2f} |"


def processor() -> str:
    """Return the processor's name."""
    cpuinfo = Path("/proc/cpuinfo")
    lines: Iterable[str] = cpuinfo.read_text().splitlines() if cpuinfo.exists() else ()
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or platform.machine())


def tables(images: list[Image], *, runs: int) -> Iterable[str]:
    """Yield the lines of both tables as they are measured."""
    yield "| one thread | scikit-image, ms | deepfreak, ms | ratio | worst image | difference |"
    yield "|---|---:|---:|---:|---:|---:|"
    for name, glcm in GLCMS.items():
        yield compare(name, glcm, glcm_by_skimage(glcm), images, runs=runs)
    for name, lbp in LBPS.items():
        yield compare(name, lbp, lbp_by_skimage(lbp), images, runs=runs)
    yield ""
    yield "| extractor | features | ms per image | ms of the slowest image |"
    yield "|---|---:|---:|---:|"
    # At OpenCV's default threshold these images have too few keypoints to train words on.
    sift = SIFT(clusters=100, contrast_threshold=0.01)
    words = sift.fit((sift.describe(image) for image in images), seed=0)
    others: dict[str, Extractor] = {"SIFT, 100 words": words, "Diffraction": Diffraction()}
    for name, extractor in (*GLCMS.items(), *LBPS.items(), *others.items()):
        yield cost(name, extractor, images, runs=runs)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--recipe", default="diffranet")
    parser.add_argument("--each", type=int, default=2)
    parser.add_argument("--repetitions", type=int, default=7)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    images = images_of_every_class(options.recipe, each=options.each, seed=options.seed)
    packages = ("deepfreak", "scikit-image", "numpy", "numba", "opencv-python-headless")
    versions = ", ".join(f"{package} {metadata.version(package)}" for package in packages)
    print(f"{processor()}; Python {platform.python_version()}, {versions}")
    print(f"{len(images)} images of {options.recipe}, {options.repetitions} repetitions")
    print()
    cv2.setNumThreads(1)
    with threadpool_limits(1):
        for line in tables(images, runs=options.repetitions):
            print(line, flush=True)


if __name__ == "__main__":
    main()
