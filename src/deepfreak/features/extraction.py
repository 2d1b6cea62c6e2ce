"""The interface of extractors, checks of what they are given, and running one on many images."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from typing import Any, ClassVar, Protocol, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from deepfreak.errors import FrameError, RecipeError

T = TypeVar("T")


class Extractor(Protocol):
    """Turns one image into a vector; a frozen dataclass of settings.

    `settings` and `arrays` together restore the extractor, in another process or from a file.
    """

    name: ClassVar[str]

    @classmethod
    def from_settings(cls, settings: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> Self:
        """Return the extractor that gave these `settings` and `arrays`."""

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the vector's numbers."""

    def settings(self) -> dict[str, Any]:
        """Return all settings as JSON values, with the extractor's name as "extractor"."""

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return what was learned, such as a codebook; for most extractors nothing."""

    def __call__(
        self, image: NDArray[np.uint8], valid: NDArray[np.bool_] | None = None
    ) -> NDArray[np.float64]:
        """Return the numbers of one image, float64 (len(names),).

        Parameters
        ----------
        image
            uint8 [slow, fast] of any size, floor(sqrt(photons + 10)) as `prepare` makes it.
        valid
            Valid pixels, bool [slow, fast]; by default all.

        Raises
        ------
        FrameError
            The image is not of that kind, or has too few valid pixels.
        """


class SettingsOnly:
    """Base of extractors, frozen dataclasses, without learned arrays."""

    __slots__ = ()

    name: ClassVar[str]

    def settings(self) -> dict[str, Any]:
        """Return all settings as JSON values, with the extractor's name as "extractor"."""
        values = asdict(self)  # type: ignore[call-overload] # each is a dataclass
        lists = {name: list(value) for name, value in values.items() if isinstance(value, tuple)}
        return {"extractor": self.name, **values, **lists}

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return no arrays."""
        return {}

    @classmethod
    def from_settings(cls, settings: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> Self:
        """Return the extractor that gave these `settings` and no arrays.

        `TypeError` for an unknown setting, `RecipeError` for a value out of range or an array.
        """
        if arrays:
            raise RecipeError(f"expected no arrays for {cls.name}, found {', '.join(arrays)}")
        values = {
            name: tuple(value) if isinstance(value, list) else value
            for name, value in settings.items()
            if name != "extractor"
        }
        return cls(**values)


class Images(Protocol):
    """Images that are read when indexed: an array or an open HDF5 data set."""

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

    `valid` has the valid pixels of each image, bool [slow, fast]. `workers` are threads, for the
    extractors' compiled loops release the interpreter's lock. `advance` is called, from this
    thread, with the number of further images that are done. `FrameError` where an image has too few
    valid pixels, or one of its numbers is not finite.
    """
    total = len(images)
    names = extractor.names
    vectors = np.empty((total, len(names)))

    def vector(index: int) -> NDArray[np.float64]:
        image = np.asarray(images[index])
        return finite(extractor(image, None if valid is None else valid[index]), names)

    for index, row in enumerate(in_threads(vector, range(total), workers=workers)):
        vectors[index] = row
        if advance is not None:
            advance(1)
    return vectors


def check_pixels(image: NDArray[np.uint8], valid: NDArray[np.bool_] | None) -> None:
    """Raise `FrameError` unless `image` is uint8 [slow, fast], and `valid` bool of that shape."""
    if image.dtype != np.uint8 or image.ndim != 2:
        raise FrameError(
            f"expected a 2-D image of uint8, found {image.ndim}-D of {image.dtype}: prepare it"
        )
    if valid is not None and (valid.dtype != np.bool_ or valid.shape != image.shape):
        raise FrameError(
            f"expected valid pixels as bool {image.shape}, found {valid.dtype} {valid.shape}"
        )


def check_some_valid(image: NDArray[np.uint8], valid: NDArray[np.bool_] | None) -> None:
    """Raise `FrameError` as `check_pixels`, and where no pixel is valid."""
    check_pixels(image, valid)
    if image.size == 0 or (valid is not None and not valid.any()):
        raise FrameError(
            f"expected a valid pixel, found none in {image.shape[0]} x {image.shape[1]}: "
            "check the mask"
        )


def finite(vector: NDArray[np.float64], names: Sequence[str]) -> NDArray[np.float64]:
    """Return `vector` if all its numbers are finite; `FrameError` names the first that is not."""
    wrong = np.flatnonzero(~np.isfinite(vector))
    if wrong.size:
        raise FrameError(
            f"expected finite features, found {names[wrong[0]]} = {vector[wrong[0]]}: "
            "leave this image out"
        )
    return vector


def in_threads(work: Callable[[int], T], indices: Sequence[int], *, workers: int) -> Iterator[T]:
    """Yield `work(index)` for each of `indices`, in their order, from `workers` threads.

    An error is raised in its place in the order; work that has not started by then is cancelled.
    """
    if workers == 1:
        yield from map(work, indices)
        return
    with ThreadPoolExecutor(workers) as pool:
        try:
            yield from pool.map(work, indices)
        except BaseException:
            # without this Ctrl-C would wait for all images
            pool.shutdown(wait=False, cancel_futures=True)
            raise
