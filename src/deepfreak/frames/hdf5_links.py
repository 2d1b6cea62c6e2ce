"""Where the links of an HDF5 file lead, by HDF5's own rules.

HDF5 gives zeros for what a virtual data set maps from a file that is not there. Here such sources
are found before they are read, through links, other virtual data sets and ".".
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import h5py

MAX_DEPTH = 8  # of virtual data sets made of others
_PREFIXES = {"external": "HDF5_EXT_PREFIX", "virtual": "HDF5_VDS_PREFIX"}


@dataclass(frozen=True, slots=True)
class Source:
    """A part of a virtual data set: which of its frames come from where.

    Attributes
    ----------
    file_name, path
        As the virtual data set names them; "." is its own file.
    vspace, src_space
        HDF5's selections in the virtual data set and in the source.
    """

    file_name: str
    path: str
    vspace: Any
    src_space: Any

    @property
    def is_pattern(self) -> bool:
        """Whether its name stands for a series of names (`%b`)."""
        return "%" in self.file_name.replace("%%", "") or "%" in self.path.replace("%%", "")


def open_to_read(path: str | Path) -> h5py.File:
    """Open a file beside its writer, if it has one, and on disks without locks."""
    return h5py.File(path, "r", swmr=True, locking=False)


def linked_path(
    file: h5py.File, name: str, kind: Literal["external", "virtual"] = "external"
) -> Path | None:
    """Return the file that HDF5 takes for `name` in a link of `file`, None where there is none.

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
    folders = [
        Path(prefix.replace("${ORIGIN}", str(opened.parent))) for prefix in prefixes if prefix
    ]
    folders += [opened.absolute().parent, Path(), opened.resolve().parent]
    return next((folder / path for folder in folders if (folder / path).is_file()), None)


def sources_of(data: h5py.Dataset) -> Iterator[Source]:
    """Yield the parts of a virtual data set; nothing for others."""
    if not data.is_virtual:
        return
    plist = data.id.get_create_plist()
    for i in range(plist.get_virtual_count()):
        yield Source(
            plist.get_virtual_filename(i),
            plist.get_virtual_dsetname(i),
            plist.get_virtual_vspace(i),
            plist.get_virtual_srcspace(i),
        )


def source_file(file: h5py.File, source: Source) -> Path | None:
    """Return the file of a part of a virtual data set in `file`, None where it is missing."""
    if source.file_name == ".":
        return Path(file.filename)
    if source.is_pattern:
        name = source.file_name.replace("%%", "%")
        return linked_path(file, name.replace("%b", "0"), "virtual")
    return linked_path(file, source.file_name.replace("%%", "%"), "virtual")


def broken_link(file: h5py.File, path: str, depth: int = MAX_DEPTH) -> str | None:
    """Return the name of the first file or object on the way to `path` that is not there."""
    group: h5py.Group = file
    if not depth:
        return path
    for key in [part for part in path.split("/") if part]:
        link = group.get(key, getlink=True)
        if link is None:
            return f"{group.name.rstrip('/')}/{key}"
        if isinstance(link, h5py.ExternalLink) and linked_path(group.file, link.filename) is None:
            return str(link.filename)
        if isinstance(link, h5py.SoftLink):
            target = link.path if link.path.startswith("/") else f"{group.name}/{link.path}"
            if (broken := broken_link(group.file, target, depth - 1)) is not None:
                return broken
        try:
            group = group[key]
        except (KeyError, OSError, RuntimeError):
            target_name = getattr(link, "filename", None)
            return str(target_name or f"{group.name.rstrip('/')}/{key}")
        if not isinstance(group, h5py.Group):
            break
    return None


def missing_file(data: h5py.Dataset, depth: int = MAX_DEPTH) -> str | None:
    """Return the first file or data set that a virtual data set needs and that is not there.

    Each file is looked up once; what it holds is looked up when a frame is read.
    """
    seen: dict[tuple[str, str], str | None] = {}
    for source in sources_of(data):
        key = source.file_name, source.path
        if key in seen:
            continue
        seen[key] = None
        if source_file(data.file, source) is None:
            return source.file_name
        if source.file_name != ".":
            continue
        if (broken := broken_link(data.file, source.path)) is not None:
            return broken
        inside = data.file.get(source.path)
        if isinstance(inside, h5py.Dataset) and inside.is_virtual and depth:
            found = missing_file(inside, depth - 1)
            if found is not None:
                return found
    return None


def files_behind(data: h5py.Dataset, depth: int = MAX_DEPTH) -> set[Path]:
    """Return the files that hold the counts of `data`, as far as they are there."""
    if not data.is_virtual or not depth:
        return {Path(data.file.filename).resolve()}
    found: set[Path] = set()
    seen: set[tuple[str, str]] = set()
    for source in sources_of(data):
        if (source.file_name, source.path) in seen:
            continue
        seen.add((source.file_name, source.path))
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
