"""Files from outside, opened in a process of its own that can be stopped.

A damaged or hostile file can keep its reader busy indefinitely, claim more memory than there is,
lead to a pipe without a writer, or crash a library. `open_guarded` reads as `open_frames` does, in
a process with limits: such a file becomes a `ReadingStoppedError` of one line.
"""

import itertools
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, fields
from functools import lru_cache
from pathlib import Path
from typing import Any, Unpack
from weakref import WeakKeyDictionary

import numpy as np

from deepfreak.errors import FrameError, GeometryError, ReadingStoppedError
from deepfreak.formats.files import find_files, open_frames
from deepfreak.formats.finishing import ReadOptions
from deepfreak.formats.frame import MAX_PIXELS, Extent, Frame, FrameFile
from deepfreak.formats.geometry.geometry import Geometry
from deepfreak.formats.hdf5.search import holds_frames, linked_files
from deepfreak.formats.options import ReadSettings, read_dark, read_mask
from deepfreak.isolation import LimitedProcess, Limits

MODULES = ("deepfreak.formats.guarded", "hdf5plugin", "fabio")
MAX_STOPS = 2  # a file at which the process was stopped so often is given up

_CPU_S, _WALL_S, _MAX_S = 8.0, 90.0, 300.0
_BYTES_PER_S = 10 << 20  # at which the slowest decompression goes
_MEMORY, _MAX_MEMORY = 768 << 20, 4 << 30
_MEMORY_PER_BYTE = 8  # of the file: its content, and the image as 64-bit numbers
_keys = itertools.count()


def limits_for(path: str | Path) -> Limits:
    """Return what one call that reads the file `path` may take, more for larger files."""
    try:
        size = Path(path).stat().st_size
    except OSError:
        size = 0
    more_s = size / _BYTES_PER_S
    return Limits(
        cpu_s=min(_CPU_S + more_s, _MAX_S),
        wall_s=min(_WALL_S + 4 * more_s, _MAX_S),
        memory_bytes=min(_MEMORY + _MEMORY_PER_BYTE * size, _MAX_MEMORY),
    )


@lru_cache(maxsize=1)
def shared_process() -> LimitedProcess:
    """Return the process that reads files for the commands of this program."""
    return LimitedProcess(modules=MODULES)


@contextmanager
def open_guarded(
    path: str | Path,
    *,
    growing: bool = False,
    process: LimitedProcess | None = None,
    **options: Unpack[ReadOptions],
) -> Iterator[FrameFile]:
    """Open a file as `open_frames` does, in another process: by default the shared one.

    Raises the same errors, and `ReadingStoppedError` where a limit ended it. A frame at which that
    happened leaves the others readable; a file at which it happened `MAX_STOPS` times not.
    """
    file = _GuardedFile(process or shared_process(), path, growing=growing, options=options)
    count, holes = file.open()
    try:
        yield FrameFile(count=count, read=file.read, extent=file.look, holes=holes)
    finally:
        file.close()


def find_files_guarded(paths: Iterable[Path], geometry: Geometry | None = None) -> list[Path]:
    """Return what `find_files` does, but look into HDF5 files in the shared process."""
    return find_files(paths, geometry, held_by=_holds_frames_guarded)


def _holds_frames_guarded(path: Path, place: str | None) -> tuple[frozenset[Path], bool]:
    """Return what `holds_frames` does; no file where looking had to be stopped."""
    try:
        found = shared_process().call(_holds_in_process, str(path), place, limits=limits_for(path))
    except ReadingStoppedError:
        return frozenset(), True  # opening it for reading reports the error
    return frozenset(map(Path, found["files"])), bool(found["gives"])


def load_guarded(settings: ReadSettings) -> ReadOptions:
    """Return what `ReadSettings.load` does, with mask and dark read in the shared process.

    Raises `GeometryError`: as `ReadSettings.load`.
    """
    return settings.load(mask=_guarded(read_mask), dark=_guarded(read_dark))


def _guarded(read: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function that reads a mask or dark in the shared process."""

    def call(path: Path, **kwargs: object) -> Any:  # noqa: ANN401 - of the reader
        try:
            return shared_process().call(read, path, limits=limits_for(path), **kwargs)
        except ReadingStoppedError as error:
            raise GeometryError(f"{path}: {error}") from error

    return call


class _GuardedFile:
    """A file that is open in a process; opened again in the next one when that is replaced."""

    def __init__(
        self, process: LimitedProcess, path: str | Path, *, growing: bool, options: ReadOptions
    ) -> None:
        self._process, self._path, self._growing = process, str(path), growing
        self._options = options
        self._key = next(_keys)
        self._limits = limits_for(path)
        self._generation = -1
        self._stops = 0

    def open(self) -> tuple[int, tuple[range, ...]]:
        """Open the file; return how many frames it has, and which were never written."""
        with self._process.alone():
            self._process.replace_if_grown()
            _send_options(self._process, self._options)
            found = self._ask(_open, self._key, self._path, growing=self._growing)
            self._generation = self._process.generation
        return int(found["count"]), tuple(range(*hole) for hole in found["holes"])

    def read(self, index: int) -> Frame:
        """Return a frame."""
        return frame_from(self._of_file(_read, index))

    def look(self) -> Extent:
        """Return how much there is."""
        return Extent(**self._of_file(_look))

    def close(self) -> None:
        """Close the file."""
        if self._generation == self._process.generation:
            with suppress(FrameError):  # then it is closed with the process
                self._process.call(_close, self._key)

    def _of_file(self, function: Any, *args: int) -> Any:  # noqa: ANN401 - both vary
        if self._stops >= MAX_STOPS:
            raise ReadingStoppedError(
                f"expected a file that can be read, found {MAX_STOPS} frames at which reading "
                "had to be stopped: the others were not tried"
            )
        if self._generation != self._process.generation:
            self.open()
        return self._ask(function, self._key, *args)

    def _ask(self, function: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - all vary
        try:
            return self._process.call(function, *args, limits=self._limits, **kwargs)
        except ReadingStoppedError:
            self._stops += 1
            self._generation = -1
            raise


def _send_options(process: LimitedProcess, options: ReadOptions) -> None:
    """Send what is known beside the file, unless the last file was opened with the same.

    A mask is large, and the map that is made of a geometry is kept with it.
    """
    generation, sent = _sent.get(process, (-1, None))
    same = sent is not None and sent.keys() == options.keys()
    same = same and all(sent[name] is options[name] for name in options)  # type: ignore[index, literal-required]
    if generation != process.generation or not same:
        process.call(_remember, options)
        _sent[process] = process.generation, options


_sent: "WeakKeyDictionary[LimitedProcess, tuple[int, ReadOptions]]" = WeakKeyDictionary()


def plain_frame(frame: Frame) -> dict[str, Any]:
    """Return the fields of a frame, which can leave the process; `frame_from` backwards."""
    return {each.name: getattr(frame, each.name) for each in fields(frame)}


def frame_from(found: dict[str, Any]) -> Frame:
    """Return the frame of `plain_frame`, checked.

    Raises `FrameError`: the counts or valid pixels do not make an image.
    """
    frame = Frame(**found)
    counts, valid = frame.counts, frame.valid
    if (
        not isinstance(counts, np.ndarray)
        or not isinstance(valid, np.ndarray)
        or counts.ndim != 2
        or counts.shape != valid.shape
        or valid.dtype != np.bool_
        or counts.dtype.kind not in "iuf"
        or not 0 < counts.size <= MAX_PIXELS
    ):
        raise FrameError("expected counts [slow, fast] and their valid pixels, found others")
    return frame


# What follows runs in the process.

_opened: dict[int, tuple[Any, FrameFile]] = {}
_options: list[ReadOptions] = [{}]  # of the files that are opened next


def _remember(options: ReadOptions) -> None:
    _options[0] = options


def _open(key: int, path: str, *, growing: bool) -> dict[str, Any]:
    context = open_frames(path, growing=growing, **_options[0])
    file = context.__enter__()
    _opened[key] = context, file
    return {"count": file.count, "holes": [[hole.start, hole.stop] for hole in file.holes]}


def _read(key: int, index: int) -> dict[str, Any]:
    return plain_frame(_opened[key][1].read(index))


def _look(key: int) -> dict[str, Any]:
    return asdict(_opened[key][1].look())


def _close(key: int) -> None:
    context, _ = _opened.pop(key)
    context.__exit__(None, None, None)


def links_in_process(path: str, *, place: str | None) -> dict[str, Any]:
    """Return what `linked_files` does, in values that can leave a process."""
    return _plain(*linked_files(Path(path), place))


def _holds_in_process(path: str, place: str | None) -> dict[str, Any]:
    return _plain(*holds_frames(Path(path), place))


def _plain(files: Iterable[Path], gives: bool) -> dict[str, Any]:
    return {"files": list(map(str, files)), "gives": gives}
