"""What a format of detector files is to the others: how it is recognised, read and written."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

from deepfreak.errors import FrameError
from deepfreak.formats.frame import Counts, Extent, Frame, FrameFile

Open = Callable[[Path, str], AbstractContextManager[FrameFile]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Format:
    """A format of detector files."""

    name: str
    suffixes: tuple[str, ...]  # of its files' names; written files have the first
    # whether a file is of this format, from its path and its first 512 bytes
    recognises: Callable[[Path, bytes], bool]
    open: Open  # give the frames of a file; takes its path and what the user calls it
    # return the first image of a file as it is stored, which may be a mask
    read_image: Callable[[Path], Counts]
    # write an image with the header of its shot; None where nothing here writes the format
    write: Callable[..., None] | None = None


def starts_with(*magics: bytes) -> Callable[[Path, bytes], bool]:
    """Return the test for files that start with one of `magics`."""
    return lambda _, start: start.startswith(magics)


def single(
    read: Callable[[Path, str], Frame], check: Callable[[Path], object] | None = None
) -> Open:
    """Return how files of one frame are opened: `check` raises for one that is cut short."""

    @contextmanager
    def opened(path: Path, name: str) -> Iterator[FrameFile]:
        def extent() -> Extent:
            if check is not None:
                check(path)
            return Extent.complete(1)

        yield FrameFile(
            count=1, read=lambda _: read(path, name), extent=None if check is None else extent
        )

    return opened


def require_bytes(expected: int, found: int) -> None:
    """Raise `FrameError` where a file has fewer bytes of image data than its header says."""
    if found < expected:
        raise FrameError(
            f"expected {expected} bytes of image data, found {found}: "
            "the file is truncated; copy it again"
        )
