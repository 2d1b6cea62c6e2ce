"""Which files to read, and which reader each needs.

An uploaded file must hold all of its data. HDF5 follows links and layouts to any file that the
program may read, and EDF headers name files of pixels: the answer would reveal files that the
sender cannot see.
"""

import bz2
import gzip
import os
import re
import tempfile
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path, PurePath
from typing import IO, Unpack

import h5py

from deepfreak.errors import DeepFreakError, FrameError, FrameWarning
from deepfreak.formats.by_fabio import FABIO
from deepfreak.formats.cbf import CBF
from deepfreak.formats.finishing import ReadOptions, finished, require_no_places
from deepfreak.formats.format import Format
from deepfreak.formats.frame import Extent, Frame, FrameFile
from deepfreak.formats.geometry.geometry import Geometry
from deepfreak.formats.hdf5.reader import HDF5, open_hdf5
from deepfreak.formats.hdf5.search import holds_frames
from deepfreak.formats.pictures import PGM, PNG
from deepfreak.formats.smv import SMV
from deepfreak.formats.tiff import TIFF
from deepfreak.storage.files import read_hdf5

FORMATS = (HDF5, CBF, SMV, TIFF, PGM, PNG, FABIO)


def format_of(path: Path) -> Format:
    """Return the format of a file by its first bytes; fabio tries what no other recognises."""
    with path.open("rb") as file:
        start = file.read(512)
    return next(each for each in FORMATS if each.recognises(path, start))


_EDF_FILE = re.compile(rb"EDF_BinaryFile", re.IGNORECASE)
_OWN = "."


def require_self_contained(path: Path) -> None:
    """Raise `FrameError` if the file refers to others; the message does not name them.

    Refused are HDF5's external links and links of unknown kinds, external raw storage, virtual
    sources other than ".", and EDF headers that name a file of pixels.
    """
    if format_of(path) is HDF5:
        with read_hdf5(path) as file:
            refers = _refers(file)
    else:
        refers = _EDF_FILE.search(path.read_bytes()) is not None
    if refers:
        raise FrameError(
            "expected a file that holds all of its data, found one that refers to other files: "
            "send one with the images in it"
        )


def _refers(file: h5py.File) -> bool:
    """Return whether anything that is linked in an HDF5 file leads out of it."""

    def visit(name: bytes, link: h5py.h5l.LinkInfo) -> bool | None:
        """Return True, which ends the visit, at what leads out."""
        if link.type == h5py.h5l.TYPE_SOFT:
            return None
        if link.type != h5py.h5l.TYPE_HARD:
            return True
        kind = h5py.h5o.get_info(file.id, name).type
        if kind != h5py.h5o.TYPE_DATASET:
            return None
        return True if _leads_out(h5py.h5d.open(file.id, name)) else None

    return bool(file.id.links.visit(visit, info=True))


def _leads_out(data: h5py.h5d.DatasetID) -> bool:
    layout = data.get_create_plist()
    if layout.get_external_count() > 0:
        return True
    if layout.get_layout() != h5py.h5d.VIRTUAL:
        return False
    return any(
        layout.get_virtual_filename(number) != _OWN for number in range(layout.get_virtual_count())
    )


SUFFIXES = frozenset(suffix for each in FORMATS for suffix in each.suffixes)
_NUMBERED = re.compile(r"\.(\d{3,5}|ge\d?)$")  # Bruker's and MarCCD's name.0001, GE's name.ge3
_PACKED = (".bz2", ".gz")
MAX_UNPACKED_BYTES = 2 << 30

# The files that a master gives the images of, and whether it does; for a geometry's place.
HeldBy = Callable[[Path, str | None], tuple[frozenset[Path], bool]]


def find_files(
    paths: Iterable[Path], geometry: Geometry | None = None, *, held_by: HeldBy = holds_frames
) -> list[Path]:
    """Return the detector files that `paths` name, each once.

    A folder stands for the files with a detector's suffix in it and below it, sorted, through
    links to folders too; it stays in the list itself when it holds none, so that reading it says
    so. HDF5 files whose images a master file in the list gives are left out; a master that cannot
    give them, as the geometry asks for them, is left out instead.
    """
    files: dict[Path, Path] = {}
    for path in paths:
        inside = [path]
        if path.is_dir():
            inside = sorted(
                file for file in _below(path) if is_image_name(file.name) and file.is_file()
            ) or [path]
        for file in inside:
            files.setdefault(file.resolve(), file)
    place = geometry.data_path if geometry is not None else None
    given: dict[Path, frozenset[Path]] = {}
    unable: set[Path] = set()
    for resolved, file in files.items():
        if is_hdf5_name(file.name):
            held, gives = held_by(file, place)
            if gives:
                given[resolved] = held
            elif held & files.keys():
                unable.add(resolved)
    given_by_any = frozenset().union(*given.values())
    # what only files give that give each other stays in the list: reading it says so
    hidden: set[Path] = set()
    waiting = [file for file in files if file not in given_by_any]
    while waiting:
        more = given.get(waiting.pop(), frozenset()) - hidden
        hidden |= more
        waiting += more
    return [file for resolved, file in files.items() if resolved not in hidden | unable]


def _below(folder: Path) -> Iterator[Path]:
    """Yield the files in a folder and below it; a folder that is reached twice counts once."""
    seen: set[tuple[int, int]] = set()
    for root, folders, names in os.walk(folder, followlinks=True):
        state = os.stat(root)  # noqa: PTH116 - a str, and many
        if (state.st_dev, state.st_ino) in seen:
            folders.clear()
            continue
        seen.add((state.st_dev, state.st_ino))
        folders[:] = [name for name in folders if not name.startswith(".")]
        yield from (Path(root, name) for name in names)


def read_frames(path: str | Path, **options: Unpack[ReadOptions]) -> Iterator[Frame]:
    """Yield the frames of a file, one at a time.

    Parameters
    ----------
    options
        What is known beside the file; see `ReadOptions`.

    Raises
    ------
    FrameError
        The file cannot be read; the message is one line and names no file.
    GeometryError
        Mask or geometry do not fit the frame.

    Warns
    -----
    FrameWarning
        Each of a frame's `notes`, once for the file.
    """
    said: set[str] = set()
    with open_frames(path, **options) as file:
        for index in range(file.count):
            frame = file.read(index)
            for note in frame.notes:
                if note not in said:
                    said.add(note)
                    warnings.warn(f"{path}: {note}", FrameWarning, stacklevel=2)
            yield frame


@contextmanager
def open_frames(
    path: str | Path, *, growing: bool = False, alone: bool = False, **options: Unpack[ReadOptions]
) -> Iterator[FrameFile]:
    """Open a file so that its frames can be read by number; see `read_frames`.

    With `growing` the file may still be written: HDF5 is opened as SWMR files are, without a lock
    that would block the writer, and may hold no frame yet (see `look`).
    With `alone` a file that refers to others is refused (`require_self_contained`).
    """
    with ExitStack() as stack:
        with _as_frame_errors():  # not around the caller's block, whose errors are its own
            file = stack.enter_context(_unpacked(Path(path)))
            if alone:
                require_self_contained(file)
            opened = stack.enter_context(_reader(file, str(path), options, growing=growing))

        def read(index: int) -> Frame:
            if not (growing or 0 <= index < opened.count):
                raise FrameError(f"expected a frame below number {opened.count}, found {index}")
            with _as_frame_errors():
                return finished(opened.read(index), options)

        def extent() -> Extent:
            with _as_frame_errors():
                return opened.look()

        yield FrameFile(count=opened.count, read=read, extent=extent, holes=opened.holes)


@contextmanager
def _as_frame_errors() -> Iterator[None]:
    """Turn all errors of readers into a `FrameError` of one line."""
    try:
        yield
    except DeepFreakError:
        raise
    except OSError as error:
        raise FrameError(f"cannot be read: {_one_line(error.strerror or error)}") from error
    except MemoryError:
        raise  # of the process, which may be one with limits
    # fabio, Pillow and h5py raise all kinds of errors on damaged files
    except Exception as error:
        raise FrameError(
            f"expected a detector image, found what cannot be read as one: {_one_line(error)}"
        ) from error


def _one_line(error: object) -> str:
    # without directories: one may be where the file was unpacked
    text = re.sub(r"\S*/(?=\S)", "", " ".join(str(error).split())) or type(error).__name__
    return f"{text:.200}"


def is_image_name(name: str) -> bool:
    """Return whether a file of this name, without folders, can be a detector's."""
    name = name.lower()
    if name.startswith("."):
        return False
    for packed in _PACKED:
        name = name.removesuffix(packed)
    return PurePath(name).suffix in SUFFIXES or _NUMBERED.search(name) is not None


def is_hdf5_name(name: str) -> bool:
    """Return whether a file of this name is an HDF5 file."""
    return PurePath(name.lower()).suffix in HDF5.suffixes


@contextmanager
def _unpacked(path: Path) -> Iterator[Path]:
    """Give the path of the file's content without bz2 or gzip around it."""
    if path.is_dir():
        raise FrameError("expected detector images in this folder, found none")
    if not path.exists():
        raise FrameError("expected a file, found nothing of this name")
    if not path.is_file():
        raise FrameError("expected a file, found a device or pipe")
    if path.stat().st_size == 0:
        raise FrameError("expected a detector image, found an empty file")
    if path.suffix.lower() not in _PACKED:
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="deepfreak-") as folder:
        inside = Path(folder, path.stem)  # fabio looks at the inner suffix
        unpack = bz2.open if path.suffix.lower() == ".bz2" else gzip.open
        with unpack(path, "rb") as packed, inside.open("wb") as file:
            _copy(packed, file)
        yield inside


def _copy(packed: bz2.BZ2File | gzip.GzipFile, file: IO[bytes]) -> None:
    """Copy at most `MAX_UNPACKED_BYTES`."""
    size = 0
    try:
        while chunk := packed.read(1 << 20):
            size += len(chunk)
            if size > MAX_UNPACKED_BYTES:
                raise FrameError(
                    f"expected at most {MAX_UNPACKED_BYTES >> 30} GiB when unpacked, found more"
                )
            file.write(chunk)
    except EOFError as error:
        raise FrameError("the compressed file is truncated; copy it again") from error


def _reader(
    path: Path, name: str, options: ReadOptions, *, growing: bool
) -> AbstractContextManager[FrameFile]:
    """Return the opened file; only HDF5 grows, holds channels and has places for a geometry."""
    found = format_of(path)
    if found is not HDF5:
        require_no_places(options)
        return found.open(path, name)
    return open_hdf5(
        path,
        name,
        geometry=options.get("geometry"),
        channel=options.get("channel"),
        growing=growing,
    )
