"""Where the links of an HDF5 file lead, by HDF5's own rules, and whether a file is being written.

HDF5 gives zeros for what a virtual data set maps from a file that is not there. Here such sources
are found before they are read, through links, other virtual data sets and ".".
"""

import contextlib
import fcntl
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import h5py

from deepfreak.errors import FrameError
from deepfreak.storage.files import read_hdf5

MAX_DEPTH = 8  # of virtual data sets made of others
_PREFIXES = {"external": "HDF5_EXT_PREFIX", "virtual": "HDF5_VDS_PREFIX"}


@dataclass(frozen=True, slots=True)
class VirtualSource:
    """A part of a virtual data set: which of its frames come from where."""

    # of the source; "." is the virtual data set's own file
    file_name: str
    path: str
    # HDF5's selections in the virtual data set and in the source
    vspace: Any
    src_space: Any
    # the only block of `vspace` that comes from here, None for all of them
    block: int | None = None


def text_of(value: object) -> str:
    """Return text that HDF5 gives as bytes or as text."""
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def opened(group: h5py.Group, key: str) -> h5py.Dataset | h5py.Group | None:
    """Return what `key` leads to, None where that cannot be had or is neither."""
    try:
        node = group[key]
    except (KeyError, OSError, RuntimeError):
        return None
    return node if isinstance(node, h5py.Dataset | h5py.Group) else None


def open_to_read(path: str | Path) -> h5py.File:
    """Open a file beside its writer, if it has one, and on disks without locks."""
    return read_hdf5(path, swmr=True)


def linked_path(
    file: h5py.File, name: str, kind: Literal["external", "virtual"] = "external"
) -> Path | None:
    """Return the file that HDF5 takes for `name` in a link of `file`, None if missing.

    The order is that of the HDF5 library (its manual, H5Lcreate_external): an absolute path as it
    stands, else its last part; the folders of the environment variable; the folder in which `file`
    was opened; the working directory; the folder that `file` is in if it was opened by a symbolic
    link.
    """
    path = Path(name)
    if path.is_absolute():
        if path.is_file():
            return path
        path = Path(path.name)
    opened = Path(file.filename)
    prefixes = os.environ.get(_PREFIXES[kind], "").split(":")
    if kind == "virtual":  # the only kind for which HDF5 knows the word
        prefixes = [prefix.replace("${ORIGIN}", str(opened.parent)) for prefix in prefixes]
    folders = [Path(prefix) for prefix in prefixes if prefix]
    folders += [opened.absolute().parent, Path(), opened.resolve().parent]
    return next((folder / path for folder in folders if (folder / path).is_file()), None)


def sources_of(data: h5py.Dataset) -> Iterator[VirtualSource]:
    """Yield the parts of a virtual data set; nothing for others.

    A name with `%b` stands for a series of files or data sets, one for each block of frames.
    """
    if not data.is_virtual:
        return
    plist = data.id.get_create_plist()
    for i in range(plist.get_virtual_count()):
        names = plist.get_virtual_filename(i), plist.get_virtual_dsetname(i)
        spaces = plist.get_virtual_vspace(i), plist.get_virtual_srcspace(i)
        blocks: Iterable[int | None] = [None]
        if any("%b" in name.replace("%%", "") for name in names):
            start, stride, _, _ = spaces[0].get_regular_hyperslab()
            blocks = range(-(-(data.id.shape[0] - start[0]) // stride[0]))
        for block in blocks:
            file_name, path = (_printed(name, block or 0) for name in names)
            yield VirtualSource(file_name, path, *spaces, block)


def _printed(name: str, block: int) -> str:
    return "%".join(part.replace("%b", str(block)) for part in name.split("%%"))


def source_file(file: h5py.File, source: VirtualSource) -> Path | None:
    """Return the file of a part of a virtual data set in `file`, None where it is missing."""
    if source.file_name == ".":
        return Path(file.filename)
    return linked_path(file, source.file_name, "virtual")


def broken_link(file: h5py.File, path: str, depth: int = MAX_DEPTH) -> str | None:
    """Return the name of the first file or object on the way to `path` that is not there."""
    group: h5py.Group = file
    if not depth:
        return path
    for key in [part for part in path.split("/") if part]:
        if not isinstance(group, h5py.Group):
            break
        place = f"{group.name.rstrip('/')}/{key}"
        link = group.get(key, getlink=True)
        broken: str | None = None
        if isinstance(link, h5py.ExternalLink):
            broken = _broken_behind(group.file, link, depth - 1)
        elif isinstance(link, h5py.SoftLink):
            target = link.path if link.path.startswith("/") else f"{group.name}/{link.path}"
            broken = broken_link(group.file, target, depth - 1)
        if broken is not None:
            return broken
        try:
            group = group[key]
        except (KeyError, OSError, RuntimeError):
            return str(link.filename) if isinstance(link, h5py.ExternalLink) else place
    return None


def _broken_behind(file: h5py.File, link: h5py.ExternalLink, depth: int) -> str | None:
    """Return what is missing in the file to which a link leads, or that file itself."""
    path = linked_path(file, link.filename)
    if path is None:
        return str(link.filename)
    try:
        with open_to_read(path) as inside:
            return broken_link(inside, link.path, depth)
    except (OSError, RuntimeError):
        return None  # reading it reports the error


def missing_file(data: h5py.Dataset, depth: int = MAX_DEPTH) -> str | None:
    """Return the first file or data set that the counts of `data` need and that is not there."""
    for source in _once(sources_of(data)):
        path = source_file(data.file, source)
        if path is None:
            return source.file_name
        if source.file_name == ".":
            found = broken_link(data.file, source.path)
            inside = data.file.get(source.path) if found is None else None
            if depth and isinstance(inside, h5py.Dataset) and inside.id != data.id:
                found = missing_file(inside, depth - 1)
        else:
            found = _missing_in(path, source.path, depth)
        if found is not None:
            return found
    return next((str(path) for path, _, _ in raw_files(data) if not path.is_file()), None)


def _missing_in(path: Path, place: str, depth: int) -> str | None:
    """Return what is missing for the data set at `place` of another file."""
    try:
        with open_to_read(path) as file:
            inside = file.get(place)
            if isinstance(inside, h5py.Dataset):
                return missing_file(inside, depth - 1) if depth else None
            return broken_link(file, place)
    except (OSError, RuntimeError):
        return None  # reading it reports the error


def _once(sources: Iterator[VirtualSource]) -> Iterator[VirtualSource]:
    """Yield of the parts that come from one data set only the first."""
    seen: set[tuple[str, str]] = set()
    for source in sources:
        if (source.file_name, source.path) not in seen:
            seen.add((source.file_name, source.path))
            yield source


def raw_files(data: h5py.Dataset) -> list[tuple[Path, int, int]]:
    """Return the raw files with the bytes of `data`: each with its first byte and their number.

    HDF5 looks for them in the working directory, unless a prefix says otherwise.
    """
    prefix = os.environ.get("HDF5_EXTFILE_PREFIX", "")
    prefix = prefix.replace("${ORIGIN}", str(Path(data.file.filename).absolute().parent))
    return [(Path(prefix, name), start, size) for name, start, size in data.external or ()]


def files_behind(data: h5py.Dataset, depth: int = MAX_DEPTH) -> set[Path]:
    """Return the files that hold the counts of `data`, as far as they are there."""
    if not data.is_virtual or not depth:
        return {Path(data.file.filename).resolve()}
    found: set[Path] = set()
    for source in _once(sources_of(data)):
        path = source_file(data.file, source)
        if path is None:
            continue
        if source.file_name != ".":
            found.add(path.resolve())
            continue
        inside = data.file.get(source.path)
        if isinstance(inside, h5py.Dataset):
            found |= files_behind(inside, depth - 1)
    return found


_SIGNATURE = b"\x89HDF\r\n\x1a\n"
_FLAGGED_VERSION = 3  # of the superblock: those before say nothing of writers
_WRITING, _SWMR = 0x1, 0x4
_MAX_USER_BLOCK = 1 << 16


@dataclass(frozen=True, slots=True)
class Writing:
    """Whether a file is being written."""

    line: str | None = None  # by what, in words; None if it is not
    readable: bool = True  # whether others may read it meanwhile, that is by SWMR
    locked: bool = False  # whether the writer is certainly alive

    @property
    def refusal(self) -> str:
        """The line that says why others must not read the file, and what to do."""
        line = f"expected a finished file, found that {self.line}: wait for it"
        if self.locked:
            return line
        return f"{line}; if no program does, mark it as closed with HDF5's tool: h5clear -s FILE"


def writing_of(path: str | Path) -> Writing:
    """Return whether the HDF5 file is open for writing.

    A writer marks the file, if it uses the newer file format, or holds its lock. One that does
    neither, old format and locking off, goes unnoticed; one that was killed leaves its mark.

    Raises `FrameError`: the file cannot be opened.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise FrameError(f"cannot be read: {error.strerror}") from error
    try:
        flags = _flags(descriptor)
        if flags & _SWMR:
            return Writing("a program is writing it (SWMR)")
        with contextlib.suppress(OSError):  # a file system without locks
            try:
                # for a moment only, so as not to keep a writer out
                fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return Writing("a program has locked it for writing", readable=False, locked=True)
        if flags & _WRITING:
            return Writing("a program has it open for writing, or was killed", readable=False)
    finally:
        os.close(descriptor)  # gives the lock back
    return Writing()


def _flags(descriptor: int) -> int:
    """Return the consistency flags of the file's superblock, 0 where it has none."""
    place = 0
    while place <= _MAX_USER_BLOCK:
        start = os.pread(descriptor, 12, place)
        if len(start) < 12:
            return 0
        if start.startswith(_SIGNATURE):
            return start[11] if start[8] >= _FLAGGED_VERSION else 0
        place = max(512, 2 * place)  # behind a user block, whose size is a power of two
    return 0
