"""The features of trials, computed once before the first trial that needs them."""

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
    """Fills the cache with the features of data sets.

    Attributes
    ----------
    seconds
        How long that has taken in this process.
    """

    def __init__(
        self, cache: FeatureCache, parts: "tuple[Dataset, ...]", *, progress: Progress = no_progress
    ) -> None:
        self.seconds = 0.0
        self._cache = cache
        self._parts = parts
        self._progress = progress
        self._cached: set[str] = set()

    def ensure(
        self,
        extractor: GLCM | LBP | SIFT,
        *,
        workers: int,
        meanwhile: Callable[[], None] = lambda: None,
    ) -> None:
        """Compute what `extractor` needs of each image by threads, unless the cache has it.

        For SIFT these are the descriptors; for GLCM they are the same for all distances and angles.
        `meanwhile` is called now and then, from this thread.

        Raises
        ------
        DatasetError
            An image has no pixels from which features can be computed.
        """
        name = _what(extractor)
        if name in self._cached:
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
        self._cached.add(name)


def _what(extractor: GLCM | LBP | SIFT) -> str:
    if isinstance(extractor, LBP):
        return f"lbp points {extractor.points} radius {extractor.radius:g}"
    return "glcm" if isinstance(extractor, GLCM) else "sift"
