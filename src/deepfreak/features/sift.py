"""SIFT and bag of visual words: a histogram of the kinds of corners and blobs in an image.

Lowe's local descriptors (OpenCV's SIFT with its defaults, as in the paper's code) are assigned to
the nearest "word", one of the centres of k-means over the training images' descriptors. The paper's
section 4.1 and Table 8; docs/features.md lists the differences from its code.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import ModuleType
from typing import Annotated, Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from deepfreak.errors import DatasetError, ModelError
from deepfreak.features.extraction import check_some_valid
from deepfreak.settings import settings

LENGTH = 128
MAX_CLUSTERS = 65_536
# At most this many descriptors for k-means: 40 for each of 5000 words.
SAMPLE = 200_000
# Step of a codebook's numbers; see `VisualWords`.
STEP = 1 / 32
_ROWS_AT_ONCE = 512
_EPOCHS = 20


@settings
class SIFT:
    """Settings of visual words; `fit` returns the extractor.

    Parameters
    ----------
    clusters
        Number of visual words.
    contrast_threshold
        Least contrast of a keypoint, OpenCV's measure, in units of 255 gray levels. At its default
        only the brightest spots of an image are keypoints, and most images have none.
    """

    clusters: Annotated[int, Field(ge=2, le=MAX_CLUSTERS)] = 100
    contrast_threshold: Annotated[float, Field(gt=0, le=1)] = 0.04

    def settings(self) -> dict[str, Any]:
        """Return the settings, those of the extractor that `fit` returns, as JSON values."""
        return {
            "extractor": VisualWords.name,
            "clusters": self.clusters,
            "contrast_threshold": self.contrast_threshold,
        }

    def describe(
        self, image: NDArray[np.uint8], valid: NDArray[np.bool_] | None = None
    ) -> NDArray[np.uint8]:
        """Return the descriptors of an image's keypoints, uint8 (keypoints, 128).

        A keypoint is on a valid pixel. Pixels that are not valid get the value of the nearest valid
        one, so that neither their content nor the edge of a gap is described. Image and valid
        pixels are those of an `Extractor`; `FrameError` if there is no valid pixel.
        """
        check_some_valid(image, valid)
        cv2 = _opencv()
        mask = None
        if valid is not None and not valid.all():
            image = _filled(image, valid)
            mask = valid.astype(np.uint8)
        # OpenCV's defaults but for the threshold, explicit in case a release changes one
        detector = cv2.SIFT_create(
            nfeatures=0,
            nOctaveLayers=3,
            contrastThreshold=self.contrast_threshold,
            edgeThreshold=10,
            sigma=1.6,
        )
        _, descriptors = detector.detectAndCompute(np.ascontiguousarray(image), mask)
        if descriptors is None:
            return np.empty((0, LENGTH), np.uint8)
        # whole numbers from 0 to 255, as floats
        found: NDArray[np.uint8] = descriptors.astype(np.uint8)
        return found

    def fit(self, descriptors: Iterable[NDArray[np.uint8]], *, seed: int) -> "VisualWords":
        """Return the extractor whose words are cluster centres of the training images' descriptors.

        Mini-batch k-means from a k-means++ start (scikit-learn) over at most `SAMPLE` descriptors,
        drawn at random. The words depend only on the descriptors, their order and `seed`: one
        thread computes them. `descriptors` are those of each image, as `describe` returns them, and
        consumed one at a time; `DatasetError` if fewer of them are different than there are words.
        """
        from sklearn.cluster import MiniBatchKMeans
        from threadpoolctl import threadpool_limits

        sample = _sample(descriptors, most=SAMPLE, seed=seed)
        different = len({row.tobytes() for row in sample})
        if different < self.clusters:
            raise DatasetError(
                f"expected at least {self.clusters} different SIFT descriptors for as many words, "
                f"found {different} in the training images: use fewer clusters, more images, or a "
                f"contrast threshold below {self.contrast_threshold:g}"
            )
        kmeans = MiniBatchKMeans(
            self.clusters,
            random_state=seed,
            # with few descriptors per word in a batch the centres do not converge
            batch_size=max(1024, 2 * self.clusters),
            max_iter=_EPOCHS,
            n_init=1,
        )
        # the order in which threads add up would affect when it stops
        with threadpool_limits(limits=1):
            kmeans.fit(sample.astype(np.float32))
        centres = np.rint(kmeans.cluster_centers_ / STEP) * STEP
        return VisualWords(sift=self, codebook=centres.astype(np.float32))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class VisualWords:
    """The fraction of an image's keypoints that is nearest to each word.

    An image without keypoints, such as a blank one, has the zero vector.

    Numbers of the codebook are multiples of `STEP`, and half of each word's squared length is
    rounded to a multiple. Descriptors are whole numbers of a length of about 512, so all sums in
    the search for the nearest word are exact in float32: the vector is the same on every machine,
    in whatever order a matrix product adds up.
    """

    name: ClassVar[str] = "sift"

    sift: SIFT
    codebook: NDArray[np.float32]  # the words (clusters, 128)

    def __post_init__(self) -> None:
        """Raise `ModelError` where the codebook has another shape, type or range."""
        expected = (self.sift.clusters, LENGTH)
        book = self.codebook
        if book.shape != expected or book.dtype != np.float32:
            raise ModelError(
                f"expected a codebook of float32 {expected}, found {book.dtype} {book.shape}: "
                "train the model again"
            )
        if not ((book >= 0) & (book <= 255) & (np.rint(book / STEP) * STEP == book)).all():
            raise ModelError(
                f"expected a codebook of numbers from 0 to 255 in steps of {STEP:g}, found "
                "others: train the model again"
            )

    @classmethod
    def from_settings(cls, settings: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> Self:
        """Return the extractor that gave these `settings` and `arrays`."""
        if "codebook" not in arrays:
            raise ModelError("expected the array 'codebook' of the visual words, found none")
        values = {key: value for key, value in settings.items() if key != "extractor"}
        return cls(sift=SIFT(**values), codebook=arrays["codebook"])

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the words."""
        return tuple(f"sift_word_{index}" for index in range(self.sift.clusters))

    def settings(self) -> dict[str, Any]:
        """Return the settings of `sift` as JSON values."""
        return self.sift.settings()

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return the codebook."""
        return {"codebook": self.codebook}

    def __call__(
        self, image: NDArray[np.uint8], valid: NDArray[np.bool_] | None = None
    ) -> NDArray[np.float64]:
        """Return the fractions, (clusters,), with the sum 1 or 0, as an `Extractor`."""
        return self.histogram(nearest(self.sift.describe(image, valid), self.codebook))

    def histogram(self, words: NDArray[np.intp]) -> NDArray[np.float64]:
        """Return the fractions (clusters,) of an image, given the word of each keypoint."""
        return np.bincount(words, minlength=self.sift.clusters) / max(len(words), 1)


def nearest(descriptors: NDArray[np.uint8], codebook: NDArray[np.float32]) -> NDArray[np.intp]:
    """Return the index of the word nearest to each descriptor (n,), the first of equal ones.

    The slow equivalent is `argmin(|d - c|^2)` over all pairs; this maximises d . c - |c|^2 / 2 with
    one matrix product for some rows at a time.
    """
    half = np.einsum("ij,ij->i", codebook, codebook, dtype=np.float64) / 2
    half = (np.rint(half / STEP) * STEP).astype(np.float32)
    words = np.empty(len(descriptors), np.intp)
    for first in range(0, len(descriptors), _ROWS_AT_ONCE):
        rows = descriptors[first : first + _ROWS_AT_ONCE].astype(np.float32)
        words[first : first + len(rows)] = (rows @ codebook.T - half).argmax(axis=1)
    return words


def _sample(descriptors: Iterable[NDArray[np.uint8]], *, most: int, seed: int) -> NDArray[np.uint8]:
    """Return at most `most` descriptors, drawn at random in one pass with little memory.

    Each descriptor gets a random number from the generator of (seed, image); those with the
    smallest numbers are kept, in their order.
    """
    kept = np.empty((0, LENGTH), np.uint8)
    keys = np.empty(0)
    pending: list[tuple[NDArray[np.uint8], NDArray[np.float64]]] = []
    waiting = 0

    def settle() -> None:
        nonlocal kept, keys, waiting
        kept = np.concatenate([kept, *(rows for rows, _ in pending)])
        keys = np.concatenate([keys, *(drawn for _, drawn in pending)])
        if len(keys) > most:
            chosen = np.sort(np.argpartition(keys, most)[:most])
            kept, keys = kept[chosen], keys[chosen]
        pending.clear()
        waiting = 0

    for index, rows in enumerate(descriptors):
        pending.append((rows, np.random.default_rng((seed, index)).random(len(rows))))
        waiting += len(rows)
        if waiting > most:
            settle()
    settle()
    return kept


def _filled(image: NDArray[np.uint8], valid: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Return `image` with each pixel that is not valid replaced by the nearest valid one."""
    cv2 = _opencv()
    _, labels = cv2.distanceTransformWithLabels(
        (~valid).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_5, labelType=cv2.DIST_LABEL_PIXEL
    )
    value_of = np.zeros(labels.max() + 1, np.uint8)
    value_of[labels[valid]] = image[valid]
    filled: NDArray[np.uint8] = value_of[labels]
    return filled


def _opencv() -> ModuleType:
    """Return OpenCV, limited in this process to one thread, as `extract` has one for each image."""
    import cv2

    cv2.setNumThreads(1)
    return cv2
