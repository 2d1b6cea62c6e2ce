"""Where an HDF5 file keeps its images."""

import re
from dataclasses import dataclass
from pathlib import Path

import h5py

from deepfreak.errors import FrameError

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
_LEAST_SIDE = 32  # of what is taken for an image though its name says nothing


@dataclass(frozen=True, slots=True)
class Part:
    """A data set with some of a file's frames; without it, the line that says why."""

    data: h5py.Dataset | None
    missing: str | None = None


def find_parts(file: h5py.File, place: str | None = None) -> list[Part]:
    """Return the data sets that hold the frames of `file`, in order.

    Parameters
    ----------
    place
        Where they are, if a geometry says so.

    Raises
    ------
    FrameError
        Nothing looks like images, or several unrelated data sets do.
    """
    if place is not None:
        data = file.get(place)
        if not _holds_images(data, least_side=1):
            raise FrameError(f"expected images at {place}, as the geometry says, found none there")
        return [_whole(data)]
    for name in _PLACES:
        part = _at(file, name)
        if part is not None:
            return [part]
    for name in _GROUPS:
        parts = _numbered(file, name)
        if parts:
            return parts
    data = _default_signal(file)
    if data is not None:
        return [_whole(data)]
    return _search(file)


def linked_files(path: Path) -> set[Path]:
    """Return the files that hold the images of the master file `path`; none for any other file."""
    found: set[Path] = set()
    try:
        # as a reader who keeps no writer out
        with h5py.File(path, "r", swmr=True, locking=False) as file:
            for name in _GROUPS:
                group = file.get(name)
                for key in group if isinstance(group, h5py.Group) else ():
                    link = group.get(key, getlink=True)
                    if isinstance(link, h5py.ExternalLink):
                        found.add(_target(file, link.filename))
                    elif isinstance(link, h5py.HardLink):
                        found.update(_sources(group[key]))
    except (OSError, RuntimeError, KeyError, ValueError):
        pass  # whoever opens it to read says what is wrong with it
    return found - {path.resolve()}


def _at(file: h5py.File, name: str) -> Part | None:
    """Return the images at `name`, None where there are none."""
    folder, _, key = name.rpartition("/")
    group = file.get(folder or "/")
    if not isinstance(group, h5py.Group) or key not in group.keys():  # noqa: SIM118 - `in group` opens the link
        return None
    part = _follow(group, key)
    if part.data is not None and not _holds_images(part.data, least_side=1):
        return None
    return part


def _numbered(file: h5py.File, name: str) -> list[Part]:
    """Return EIGER's data_000001, data_000002, ... in the group `name`."""
    group = file.get(name)
    if not isinstance(group, h5py.Group):
        return []
    keys = [key for key in group.keys() if re.fullmatch(r"data_\d+", key)]  # noqa: SIM118 - as above
    parts = [_follow(group, key) for key in sorted(keys, key=lambda key: int(key[5:]))]
    return [part for part in parts if part.missing or _holds_images(part.data, least_side=1)]


def _follow(group: h5py.Group, key: str) -> Part:
    """Return what `key` of `group` links to."""
    link = group.get(key, getlink=True)
    where = f"{group.name.rstrip('/')}/{key}"
    if isinstance(link, h5py.ExternalLink) and not _target(group.file, link.filename).is_file():
        return Part(
            None,
            f"expected the file {link.filename} beside the master file, where {where} points, "
            "found none: copy it there",
        )
    try:
        data = group[key]
    except (KeyError, OSError) as error:
        return Part(None, f"expected images at {where}, found a broken link ({error!s:.100})")
    return _whole(data) if isinstance(data, h5py.Dataset) else Part(data)


def _whole(data: h5py.Dataset) -> Part:
    """Return `data`, unless it is put together from a file that is missing.

    HDF5 itself would give zeros for its frames: blanks that nobody measured.
    """
    missing = sorted(source for source in _sources(data) if not source.is_file())
    if missing:
        return Part(
            None,
            f"expected the file {missing[0].name}, of which {data.name} is made, found none: "
            f"copy it to {missing[0].parent}",
        )
    return Part(data)


def _sources(data: h5py.Dataset) -> set[Path]:
    """Return the files of which a virtual data set is made."""
    if not isinstance(data, h5py.Dataset) or not data.is_virtual:
        return set()
    names = {source.file_name for source in data.virtual_sources()}
    return {_target(data.file, name) for name in names if name != "."}


def _target(file: h5py.File, name: str) -> Path:
    """Return the path that HDF5 takes for a linked file `name`."""
    return (Path(file.filename).parent / name).resolve()


def _default_signal(file: h5py.File) -> h5py.Dataset | None:
    """Return the data set that NeXus's `default` and `signal` attributes lead to, None without."""
    node: h5py.Group = file
    for _ in range(4):
        name = node.attrs.get("default", node.attrs.get("signal"))
        child = node.get(name) if isinstance(name, str) else None
        if isinstance(child, h5py.Dataset):
            return child if _holds_images(child, least_side=_LEAST_SIDE) else None
        if not isinstance(child, h5py.Group):
            return None
        node = child
    return None


def _search(file: h5py.File) -> list[Part]:
    """Return the only data set that can hold images, or the equal ones of many groups."""
    found: list[h5py.Dataset] = []

    def visit(name: str, node: h5py.Group) -> None:
        if _holds_images(node, least_side=_LEAST_SIDE) and not _NOT_IMAGES.search(name):
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
    return [_whole(node) for node in found]


def _holds_images(node: h5py.Group, *, least_side: int) -> bool:
    return (
        isinstance(node, h5py.Dataset)
        and node.dtype.kind in "iuf"
        and 2 <= len(node.shape or ()) <= 6
        and min(node.shape[-2:]) >= least_side
    )
