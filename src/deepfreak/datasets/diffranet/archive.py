"""The files of a zip or a folder, none of which is trusted.

Members are read into memory one at a time. Nothing is ever written under a member's name, and an
archive with a name that would lead outside is refused all the same: it is not what it claims to be.
"""

import lzma
import os
import stat
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath

from deepfreak.errors import DatasetError

MAX_MEMBERS = 200_000
MAX_UNPACKED_BYTES = 20_000_000_000
MAX_RATIO = 100  # unpacked to packed; images with noise in them reach about 10
MIN_BOMB_BYTES = 1 << 20  # below, no ratio does harm
MAX_FILE_BYTES = 16 << 20  # of one that is read; a 512 x 512 image takes 0.3 MB
_ENCRYPTED = 0x1
# What zipfile and its decompressors raise on data that is not whole.
_DAMAGED = (
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    OSError,
    NotImplementedError,
    ValueError,
    RuntimeError,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """A file in an archive."""

    path: PurePosixPath  # where it lies in the archive, always with forward slashes
    # returns its content; raises `DatasetError`, naming the file, where that is impossible
    read: Callable[[], bytes]


@contextmanager
def open_archive(
    path: Path, *, max_members: int = MAX_MEMBERS, max_unpacked_bytes: int = MAX_UNPACKED_BYTES
) -> Iterator[list[Member]]:
    """Give the files of a zip or a folder, in the order of their paths, as a context.

    Raises `DatasetError`: there is no such file, it is no zip or a damaged one, or one that no
    honest tool makes: paths that lead outside, links, encryption, too many members, too many bytes
    when unpacked, or a member of more than 1 MiB that unpacks to over 100 times its packed size.
    """
    if path.is_dir():
        yield sorted(_files(path), key=lambda member: member.path)
        return
    if not path.is_file():
        raise DatasetError(f"expected a zip file or a folder, found nothing at {path}")
    try:
        archive = zipfile.ZipFile(path)
    except (zipfile.BadZipFile, OSError, NotImplementedError, ValueError) as error:
        raise DatasetError(
            f"{path}: expected a zip file, found what cannot be read as one ({error}); download "
            "it again"
        ) from error
    with archive:
        entries = archive.infolist()
        if len(entries) > max_members:
            raise DatasetError(
                f"{path}: expected at most {max_members} members, found {len(entries)}"
            )
        total = sum(entry.file_size for entry in entries)
        if total > max_unpacked_bytes:
            raise DatasetError(
                f"{path}: expected at most {max_unpacked_bytes / 1e9:.0f} GB when unpacked, "
                f"found {total / 1e9:.0f} GB"
            )
        yield sorted(_members(path, archive), key=lambda member: member.path)


def _files(folder: Path) -> Iterator[Member]:
    for here, _, names in os.walk(folder):
        for name in names:
            file = Path(here, name)
            inside = PurePosixPath(file.relative_to(folder).as_posix())
            yield Member(path=inside, read=partial(_read_file, file))


def _read_file(file: Path) -> bytes:
    if file.is_symlink() or not file.is_file():
        raise DatasetError(f"{file}: expected a file, found a link or a device; put a copy there")
    size = file.stat().st_size
    if size > MAX_FILE_BYTES:
        raise DatasetError(_too_large(str(file), size))
    try:
        return file.read_bytes()
    except OSError as error:
        raise DatasetError(f"{file}: cannot be read: {error.strerror or error}") from error


def _members(path: Path, archive: zipfile.ZipFile) -> list[Member]:
    """Return the files of `archive`, all of whose members have passed."""
    found: dict[PurePosixPath, Member] = {}
    for entry in archive.infolist():
        inside = _safe_path(path, entry)
        if entry.is_dir():
            continue
        if inside in found:
            raise DatasetError(f"{path}: {inside} is in it twice; pack it again")
        found[inside] = Member(path=inside, read=partial(_read_member, path, archive, entry))
    return list(found.values())


def _safe_path(path: Path, entry: zipfile.ZipInfo) -> PurePosixPath:
    """Return the member's path; `DatasetError` for one that should not be in an archive."""
    name = entry.filename.replace("\\", "/")
    inside = PurePosixPath(name)
    shown = ascii(entry.filename)[:120]
    if inside.is_absolute() or ".." in inside.parts or name[1:2] == ":":
        raise DatasetError(f"{path}: {shown} leads outside of the archive; do not trust this file")
    if stat.S_ISLNK(entry.external_attr >> 16):
        raise DatasetError(f"{path}: {shown} is a link; expected files only")
    if entry.flag_bits & _ENCRYPTED:
        raise DatasetError(f"{path}: {shown} is encrypted; unpack it and import the folder")
    if (
        entry.file_size > MIN_BOMB_BYTES
        and entry.file_size > MAX_RATIO * max(entry.compress_size, 1)
    ):  # fmt: skip
        raise DatasetError(
            f"{path}: {shown} unpacks from {entry.compress_size} to {entry.file_size} bytes, "
            f"expected a ratio of at most {MAX_RATIO}; do not trust this file"
        )
    return inside


def _read_member(path: Path, archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> bytes:
    if entry.file_size > MAX_FILE_BYTES:
        raise DatasetError(_too_large(f"{path}: {entry.filename}", entry.file_size))
    try:
        # never more than the size it declares, and its checksum is verified
        return archive.read(entry)
    except _DAMAGED as error:
        raise DatasetError(
            f"{path}: {entry.filename} is damaged or truncated ({error}); download the archive "
            "again"
        ) from error


def _too_large(name: str, size: int) -> str:
    return (
        f"{name}: expected an image of at most {MAX_FILE_BYTES >> 20} MiB, "
        f"found {size / 2**20:.0f} MiB"
    )
