"""From an image to the few numbers that a classifier without convolutions learns from.

An extractor is a frozen dataclass of settings that is called with an image. `extract` runs one
over many images; `extractor_from` makes the one that a model's manifest names.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from deepfreak.errors import ModelError, RecipeError
from deepfreak.features.glcm import GLCM

__all__ = ["GLCM", "Extractor", "Images", "extract", "extractor_from"]


class Extractor(Protocol):
    """What turns one image into a vector."""

    @property
    def names(self) -> tuple[str, ...]:
        """What each number of the vector is."""

    def settings(self) -> dict[str, Any]:
        """Return all that `extractor_from` needs to make this extractor again, as JSON values."""

    def __call__(
        self, image: NDArray[np.uint8], valid: NDArray[np.bool_] | None = None
    ) -> NDArray[np.float64]:
        """Return the vector of one image [slow, fast], leaving out pixels that are not valid."""


class Images(Protocol):
    """Images that are read when they are asked for: an array or an open HDF5 data set."""

    def __len__(self) -> int:
        """Return how many images there are."""

    def __getitem__(self, index: int, /) -> NDArray[np.uint8]:
        """Return one image, uint8 [slow, fast]."""


def extract(
    extractor: Extractor,
    images: Images,
    valid: Sequence[NDArray[np.bool_]] | NDArray[np.bool_] | None = None,
    *,
    workers: int = 1,
    advance: Callable[[int], None] | None = None,
) -> NDArray[np.float64]:
    """Return the vectors (n, len(extractor.names)) of `images` in their order.

    Images are read as they are needed, by `workers` threads: the extractors' compiled loops run
    outside the interpreter's lock. `valid` holds one array [slow, fast] for each image, true
    where a pixel measured something. `advance` is called, from this thread, with the number of
    further images that are done.

    Raises
    ------
    FrameError
        An image has no pixels to make numbers from.
    """
    total = len(images)
    vectors = np.empty((total, len(extractor.names)))

    def vector(index: int) -> NDArray[np.float64]:
        return extractor(np.asarray(images[index]), None if valid is None else valid[index])

    def collect(rows: Iterable[NDArray[np.float64]]) -> None:
        for index, row in enumerate(rows):
            vectors[index] = row
            if advance is not None:
                advance(1)

    if workers == 1:
        collect(map(vector, range(total)))
        return vectors
    with ThreadPoolExecutor(workers) as pool:
        try:
            collect(pool.map(vector, range(total)))
        except BaseException:
            # Without this Ctrl-C would wait until all the images have been worked off.
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return vectors


def extractor_from(settings: Mapping[str, Any]) -> Extractor:
    """Return the extractor that `settings`, read from a model's manifest, describe.

    Raises
    ------
    ModelError
        The extractor is not one of this version, or its settings are wrong.
    """
    values = dict(settings)
    name = values.pop("extractor", None)
    if name != GLCM.name:
        raise ModelError(
            f"expected the feature extractor {GLCM.name!r}, found {name!r}: "
            "use the version of deepfreak that made this model, or train it again"
        )
    try:
        return GLCM(**{key: tuple(value) for key, value in values.items()})
    except (TypeError, RecipeError) as error:
        raise ModelError(f"the extractor's settings in the model are wrong: {error}") from error
