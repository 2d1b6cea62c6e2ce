"""The features that trials need, computed once before the first that needs them."""

import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING

from deepfreak.features.cache import FeatureCache
from deepfreak.features.glcm import GLCM
from deepfreak.features.lbp import LBP
from deepfreak.features.sift import SIFT

if TYPE_CHECKING:
    from deepfreak.datasets import Dataset

Progress = Callable[[str, int], AbstractContextManager[Callable[[int], None]]]


@contextmanager
def no_progress(_what: str, _total: int) -> Iterator[Callable[[int], None]]:
    """Show nothing: a `Progress` for programs."""
    yield lambda _: None


class Extraction:
    """Fills the cache with the features of some images, and knows how long that took.

    Attributes
    ----------
    seconds
        Spent so far in this process.
    """

    def __init__(
        self,
        cache: FeatureCache,
        parts: "tuple[Dataset, ...]",
        *,
        progress: Progress = no_progress,
    ) -> None:
        self.seconds = 0.0
        self._cache = cache
        self._parts = parts
        self._progress = progress
        self._there: set[str] = set()

    def ensure(
        self,
        extractor: GLCM | LBP | SIFT,
        *,
        workers: int,
        meanwhile: Callable[[], None] = lambda: None,
    ) -> None:
        """Have all that `extractor` needs of each image in the cache, computed by threads.

        Of SIFT these are the descriptors; of GLCM they are the same for all distances and angles.
        `meanwhile` is called now and then, from this thread.

        Raises
        ------
        DatasetError
            An image has no pixels to make numbers from.
        """
        name = _what(extractor)
        if name in self._there:
            return
        start = time.perf_counter()
        try:
            with self._progress(f"features {name}", sum(map(len, self._parts))) as show:

                def advance(done: int) -> None:
                    show(done)
                    meanwhile()

                for data in self._parts:
                    if isinstance(extractor, SIFT):
                        found = self._cache.descriptors(
                            extractor, data, workers=workers, advance=advance
                        )
                        deque(found, maxlen=0)
                    else:
                        self._cache.vectors(extractor, data, workers=workers, advance=advance)
        finally:
            self.seconds += time.perf_counter() - start
        self._there.add(name)


def _what(extractor: GLCM | LBP | SIFT) -> str:
    if isinstance(extractor, LBP):
        return f"lbp points {extractor.points} radius {extractor.radius:g}"
    return "glcm" if isinstance(extractor, GLCM) else "sift"
