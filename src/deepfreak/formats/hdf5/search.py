"""Where an HDF5 file keeps its images."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeGuard

import h5py

from deepfreak.errors import FrameError
from deepfreak.formats.hdf5.links import (
    broken_link,
    files_behind,
    linked_path,
    missing_file,
    open_to_read,
    opened,
    source_file,
    sources_of,
    writing_of,
)

_GROUPS = ("/entry/data", "/entry1/data", "/entry/instrument/detector")
_PLACES = (
    "/entry/data/data",
    "/entry/data",
    "/entry/instrument/detector/data",
    "/entry_1/data_1/data",
    "/entry_1/instrument_1/detector_1/data",
    "/entry_1/image_1/data",
    "/images",
    "/data/data",
    "/data",
)
_NOT_IMAGES = re.compile(
    r"mask|flat|gain|pedestal|dark|background|label|truth|thumb|saturat|efficien|variance|sigma"
    r"|error|offset|peak|weight|angle",
    re.IGNORECASE,
)
_MIN_SIDE = 32  # of what is taken for an image though its name says nothing
_MAX_PLACES = 1_000_000  # that a path with % may stand for


@dataclass(frozen=True, slots=True)
class FrameData:
    """A data set with some of a file's frames."""

    data: h5py.Dataset | None  # None where it can not be had
    path: str  # where the file has it, which is not its name behind a link
    missing: str | None = None  # the line that says which of its sources is not there


def find_parts(file: h5py.File, place: str | None = None) -> list[FrameData]:
    """Return the data sets that hold the frames of `file`, in order.

    `place`: where they are, if a geometry says so; `%` in it stands for any group.

    Raises `FrameError`: nothing looks like images, or several unrelated data sets do.
    """
    if place is not None:
        return _at_place(file, place)
    for name in _PLACES:
        part = _at(file, name)
        if part is not None:
            return [part]
    for name in _GROUPS:
        parts = _numbered(file, name)
        if parts:
            return parts
    signal = _default_signal(file)
    if signal is not None:
        return [_part(signal)]
    return _search(file)


def holds_frames(path: Path, place: str | None) -> tuple[frozenset[Path], bool]:
    """Return the other files with the images of a master file, and whether it gives them.

    A master gives its images from the first on up to one that is missing: the files behind that
    one, and those of a master without the geometry's `place`, are not its own.
    """
    try:
        with open_to_read(path) as file:
            links = _linked_parts(file)
            if not links:
                return frozenset(), True
            if place is not None and not _has(file, place):
                return frozenset(links), False
            parts = find_parts(file, place)
            own: set[Path] = set()
            for part in parts:
                if part.data is None:
                    break
                own |= files_behind(part.data)
                if part.missing:
                    break
            return frozenset(own - {path.resolve()}), True
    except (OSError, RuntimeError, KeyError, ValueError, FrameError):
        return frozenset(), True  # opening it for reading reports the error


def linked_files(path: Path, place: str | None = None) -> tuple[set[Path], bool]:
    """Return the files that hold the images of the master file `path`, also those not there yet.

    None for any other file. And whether the master has the geometry's `place`, so that its images
    can be read through it.
    """
    found: set[Path] = set()
    gives = True
    try:
        with open_to_read(path) as file:
            found = _linked_parts(file) | _missing_links(file)
            gives = not found or place is None or _has(file, place)
    except (OSError, RuntimeError, KeyError, ValueError):
        pass  # opening it for reading reports the error
    return found - {path.resolve()}, gives


def _linked_parts(file: h5py.File) -> set[Path]:
    """Return the other files to which the groups of images lead, as far as they are there."""
    found: set[Path] = set()
    for name in _GROUPS:
        group = file.get(name)
        for key in group if isinstance(group, h5py.Group) else ():
            node = opened(group, key)
            if _holds_images(node, min_side=1):
                found |= files_behind(node)
    return found - {Path(file.filename).resolve()}


def _missing_links(file: h5py.File) -> set[Path]:
    """Return the files to which the groups of images lead and that are not there."""
    found: set[Path] = set()
    folder = Path(file.filename).absolute().parent
    for name in _GROUPS:
        group = file.get(name)
        for key in group if isinstance(group, h5py.Group) else ():
            link = group.get(key, getlink=True)
            if isinstance(link, h5py.ExternalLink):
                names = {link.filename} if linked_path(file, link.filename) is None else set()
            else:
                node = group.get(key)
                sources = sources_of(node) if isinstance(node, h5py.Dataset) else ()
                names = {s.file_name for s in sources if source_file(file, s) is None}
            found |= {(folder / Path(missing).name).resolve() for missing in names}
    return found


def _has(file: h5py.File, place: str) -> bool:
    try:
        return bool(_at_place(file, place))
    except FrameError:
        return False


def _at_place(file: h5py.File, place: str) -> list[FrameData]:
    """Return what a geometry's `data` stands for."""
    paths = list(_expanded(file, place)) if "%" in place else [place]
    parts = [part for path in paths if (part := _at(file, path)) is not None]
    if not parts:
        raise FrameError(f"expected images at {place}, as the geometry says, found none there")
    return parts


def _expanded(file: h5py.File, place: str) -> Iterator[str]:
    """Yield the paths for which one with % stands, in the order of the numbers in their names."""
    before, _, behind = place.partition("%")
    if not (before.endswith("/") and (not behind or behind.startswith("/"))):
        raise FrameError(f"expected % as a whole name in {place}, found it within one")
    group = file.get(before.rstrip("/") or "/")
    if not isinstance(group, h5py.Group) or len(group) > _MAX_PLACES:
        return
    for key in sorted(group.keys(), key=_by_number):
        path = f"{before}{key}{behind}"
        if "%" in path:
            yield from _expanded(file, path)
        else:
            yield path


def _by_number(name: str) -> tuple[tuple[int, int | str], ...]:
    return tuple(
        (0, int(piece)) if piece.isdecimal() and len(piece) < 20 else (1, piece)
        for piece in re.split(r"(\d+)", name)
    )


def _at(file: h5py.File, name: str) -> FrameData | None:
    """Return the images at `name`, None where there are none."""
    folder, _, key = name.rpartition("/")
    group = opened(file, folder or "/")
    if not isinstance(group, h5py.Group):
        broken = broken_link(file, folder) if _is_linked(file, folder) else None
        return None if broken is None else FrameData(None, name, not_there(name, broken))
    if key not in group.keys():  # noqa: SIM118 - `in group` opens the link
        return None
    part = _follow(group, key, name)
    if part.data is not None and not _holds_images(part.data, min_side=1):
        return None
    return part


def _is_linked(file: h5py.File, path: str) -> bool:
    """Return whether there is a link on the way to `path`."""
    group: h5py.Group = file
    for key in [part for part in path.split("/") if part]:
        link = group.get(key, getlink=True)
        if link is None:
            return False
        if not isinstance(link, h5py.HardLink):
            return True
        group = group[key]
        if not isinstance(group, h5py.Group):
            return False
    return False


def _numbered(file: h5py.File, name: str) -> list[FrameData]:
    """Return EIGER's data_000001, data_000002, ... in the group `name`."""
    group = file.get(name)
    if not isinstance(group, h5py.Group):
        return []
    keys = [key for key in group.keys() if re.fullmatch(r"data_\d{1,18}", key)]  # noqa: SIM118 - as above
    parts = [
        _follow(group, key, f"{name}/{key}") for key in sorted(keys, key=lambda key: int(key[5:]))
    ]
    return [part for part in parts if part.missing or _holds_images(part.data, min_side=1)]


def _follow(group: h5py.Group, key: str, path: str) -> FrameData:
    """Return what `key` of `group` links to."""
    try:
        data = group[key]
    except (KeyError, OSError, RuntimeError) as error:
        link = group.get(key, getlink=True)
        target = None
        if isinstance(link, h5py.ExternalLink):
            target = linked_path(group.file, link.filename)
        if target is not None and not (writing := writing_of(target)).readable:
            return FrameData(None, path, f"{target.name}: {writing.refusal}")
        broken = broken_link(group.file, f"{group.name.rstrip('/')}/{key}")
        if broken is not None:
            return FrameData(None, path, not_there(path, broken))
        text = " ".join(str(error).split())
        return FrameData(
            None, path, f"expected images at {path}, found a broken link ({text:.100})"
        )
    return _part(data, path) if isinstance(data, h5py.Dataset) else FrameData(data, path)


def _part(data: h5py.Dataset, path: str | None = None) -> FrameData:
    """Return `data` and, where it is put together of what is missing, the line that says so.

    HDF5 itself would give zeros for its frames: blanks that were never measured.
    """
    path = path or data.name
    missing = missing_file(data)
    return FrameData(data, path, None if missing is None else not_there(data.name, missing))


def not_there(path: str, name: str) -> str:
    """Return the line that says that a file or object for the images at `path` is missing."""
    return (
        f"expected {name.rpartition('/')[2] or name} for the images at {path}, found none: copy "
        "the missing file beside the master file"
    )


def _default_signal(file: h5py.File) -> h5py.Dataset | None:
    """Return the data set that NeXus's `default` and `signal` attributes lead to, None without."""
    node: h5py.Group = file
    for _ in range(4):
        name = node.attrs.get("default", node.attrs.get("signal"))
        name = name.decode("utf-8", "replace") if isinstance(name, bytes) else name
        child = node.get(name) if isinstance(name, str) else None
        if isinstance(child, h5py.Dataset):
            return child if _holds_images(child, min_side=_MIN_SIDE) else None
        if not isinstance(child, h5py.Group):
            return None
        node = child
    return None


def _search(file: h5py.File) -> list[FrameData]:
    """Return the only data set that can hold images, or the equal ones of many groups."""
    found: list[h5py.Dataset] = []

    def visit(name: str, node: h5py.Group) -> None:
        if _holds_images(node, min_side=_MIN_SIDE) and not _NOT_IMAGES.search(name):
            found.append(node)

    file.visititems(visit)
    if not found:
        raise FrameError("expected images in the HDF5 file, found no data set of images")
    # SACLA writes each frame to a group of its own
    alike = {(node.name.rpartition("/")[2], node.shape, node.dtype) for node in found}
    if len(found) > 1 and (len(alike) > 1 or found[0].ndim > 2):
        names = ", ".join(node.name for node in found[:4])
        more = " and others" if len(found) > 4 else ""
        raise FrameError(
            f"expected one data set of images, found {len(found)}: {names}{more}; "
            "name the right one with a CrystFEL geometry (data = ...)"
        )
    return [_part(node) for node in found]


def _holds_images(node: object, *, min_side: int) -> TypeGuard[h5py.Dataset]:
    return (
        isinstance(node, h5py.Dataset)
        and node.dtype.kind in "iuf"
        and 2 <= len(node.shape or ()) <= 6
        and min(node.shape[-2:]) >= min_side
    )
