"""TIFF and BigTIFF, with all of their pages: PILATUS, MarCCD, Rayonix and others.

Read by tifffile and not by fabio, which gives only the first page of a BigTIFF and never ends
where a damaged directory points to itself. Compressions that tifffile leaves to others are
Pillow's.
"""

import logging
import re
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from deepfreak.errors import FrameError
from deepfreak.formats.cbf import comments, dectris_metadata, dectris_name, with_gaps
from deepfreak.formats.format import Format, require_bytes, starts_with
from deepfreak.formats.frame import Counts, Frame, FrameFile, Metadata, combined, require_shape
from deepfreak.formats.headers import WithOrigin, metadata_from
from deepfreak.formats.measured import make_frame
from deepfreak.storage.files import whole_file

if TYPE_CHECKING:
    from tifffile import TiffFile, TiffPage

    from deepfreak.formats.shot_metadata import ShotMetadata

_MAX_PAGES = 1_000_000
_UNCOMPRESSED, _DEFLATE = 1, (8, 32946)
# Where a PILATUS puts them; readers tell its files from other TIFF by the first.
_DIRECTORY_AT, _DATA_AT = 130, 4096
_SHORT, _LONG, _TEXT = 3, 4, 2


@contextmanager
def open_tiff(path: Path, name: str) -> Iterator[FrameFile]:
    """Open a TIFF file; `name` is what the user calls it.

    Raises `FrameError`: a directory that points to itself, pages of several sizes, colours, too
    little data.
    """
    _require_an_end(path)
    from tifffile import TiffFile

    with path.open("rb") as file:
        start = file.read(4096)
    logging.getLogger("tifffile").setLevel(logging.CRITICAL)  # what it says, errors say here
    with TiffFile(path) as tiff:
        pages = [page for page in tiff.pages if not getattr(page, "is_reduced", False)]
        if not pages:
            raise FrameError("expected an image in the TIFF file, found none")
        shapes = {(page.imagelength, page.imagewidth) for page in pages}
        if len(shapes) > 1:
            raise FrameError(
                f"expected pages of one size, found {len(shapes)} sizes: split the file"
            )
        layers = _layers(tiff, pages)
        count = len(pages) * layers

        def read(index: int) -> Frame:
            counts = _read(path, tiff, pages, index, layers)
            text = str(pages[index // layers].description or pages[0].description)[:65536]
            named = re.search(r"PILATUS|EIGER", text, re.IGNORECASE)
            is_dectris = re.search(r"PILATUS|EIGER|Pixel_size|Count_cutoff", text, re.IGNORECASE)
            return make_frame(
                counts,
                file=name,
                index=index,
                metadata=combined(
                    _mar_metadata(start), dectris_metadata(text) if is_dectris else Metadata()
                ),
                names=(
                    dectris_name(text),
                    named[0].upper() if named else None,
                    "MarCCD or Rayonix" if _is_mar(start) else None,
                ),
            )

        yield FrameFile(count=count, read=read)


def read_tiff(path: Path) -> Counts:
    """Return the counts of the first image of a file [slow, fast]."""
    with open_tiff(path, path.name) as file:
        return file.read(0).counts


def _mar_metadata(start: bytes) -> Metadata:
    """Return what the binary header of a MarCCD or Rayonix TIFF says.

    `start` is the file's first 4096 bytes. The header begins at byte 1024, in the byte order of
    the TIFF; lengths are in units of 1e-3 mm (1e-6 mm for pixels), the bias in 1e-3 counts.
    """
    if not _is_mar(start):
        return Metadata()
    order = ">" if start[:2] == b"MM" else "<"

    def word(offset: int, scale: float, name: str) -> WithOrigin:
        value: int = struct.unpack_from(order + "i", start, offset)[0]
        return round(value * scale, 12), f"MarCCD header, {name}"

    photons_per_100_counts, _ = word(1808, 1, "photons")
    distance = word(1664, 1e-3, "xtal_to_detector")
    return metadata_from(
        pedestal=(max(word(1804, 1e-3, "")[0], 0.0), "MarCCD header, mean_bias"),
        gain=(100 / photons_per_100_counts, "MarCCD header, photons_per_100adu")
        if photons_per_100_counts > 0
        else None,
        saturation=word(1128, 1, "saturated_value"),
        beam_slow=word(1672, 1e-3, "beam_y"),
        beam_fast=word(1668, 1e-3, "beam_x"),
        pixel_size_mm=word(1796, 1e-6, "pixelsize_x"),
        distance_mm=distance if distance[0] else word(1720, 1e-3, "start_xtal_to_detector"),
        wavelength_A=word(1932, 1e-5, "source_wavelength"),
    )


def _is_mar(start: bytes) -> bool:
    """Return whether a TIFF that starts so has the header of a MarCCD or Rayonix."""
    return len(start) >= 4096 and start[1028:1031] == b"MMX"


def _layers(tiff: "TiffFile", pages: "list[TiffPage]") -> int:
    """Return how many frames lie behind one directory: long stacks have one for all of them."""
    if len(pages) > 1:
        return 1
    shape = tiff.series[0].shape
    size = pages[0].imagelength * pages[0].imagewidth * max(1, pages[0].samplesperpixel)
    total = int(np.prod(shape, dtype=np.int64))
    if pages[0].samplesperpixel != 1:
        raise FrameError("expected a gray image, found colours: no detector image")
    return total // size if total > size and total % size == 0 else 1


def _read(path: Path, tiff: "TiffFile", pages: "list[TiffPage]", index: int, layers: int) -> Counts:
    page = pages[index // layers]
    shape = page.imagelength, page.imagewidth
    require_shape(shape)
    dtype = page.dtype
    if page.samplesperpixel != 1 or dtype is None or dtype.kind not in "iuf":
        raise FrameError(
            f"expected a gray image of numbers, found {page.samplesperpixel} samples of {dtype}: "
            "a picture in colours is no detector image"
        )
    if page.compression not in {_UNCOMPRESSED, *_DEFLATE}:
        return _read_with_pillow(path, index, shape)
    if page.compression == _UNCOMPRESSED:
        size = shape[0] * shape[1] * dtype.itemsize
        stored = sum(page.databytecounts) if layers == 1 else size
        if stored < size:
            raise FrameError(f"expected {size} bytes of image data, found {stored}")
        if layers > 1:
            return _layer(path, tiff, page, index, size, shape)
        # a strip that claims more than the image needs must be there as far as it is needed
        counts_of_strips = [*page.databytecounts[:-1], page.databytecounts[-1] - (stored - size)]
        end = max(a + b for a, b in zip(page.dataoffsets, counts_of_strips, strict=True))
        length = path.stat().st_size
        if end > length:
            raise FrameError(
                f"expected {end} bytes, found {length}: the file is truncated; copy it again"
            )
    counts: Counts = np.asarray(page.asarray())
    if counts.shape != shape:
        raise FrameError(f"expected an image of {shape}, found {counts.shape}")
    return counts


def _layer(
    path: Path, tiff: "TiffFile", page: "TiffPage", index: int, size: int, shape: tuple[int, int]
) -> Counts:
    """Return one of the frames that follow each other behind one directory."""
    with path.open("rb") as file:
        file.seek(page.dataoffsets[0] + index * size)
        data = file.read(size)
    require_bytes(size, len(data))
    stored = np.dtype(page.dtype).newbyteorder(tiff.byteorder)
    return np.asarray(np.frombuffer(data, stored).reshape(shape))


def _read_with_pillow(path: Path, index: int, shape: tuple[int, int]) -> Counts:
    from PIL import Image

    with Image.open(path, formats=["TIFF"]) as picture:
        picture.seek(index)
        if (picture.height, picture.width) != shape or picture.mode not in {
            *("L", "I", "F", "I;16", "I;16B", "I;16L")
        }:
            raise FrameError(f"expected a gray image, found mode {picture.mode} of another size")
        counts: Counts = np.asarray(picture)
    return counts


def _require_an_end(path: Path) -> None:
    """Raise `FrameError` unless the chain of directories ends."""
    with path.open("rb") as file:
        head = file.read(16)
        order = "<" if head[:2] == b"II" else ">"
        big = len(head) == 16 and struct.unpack_from(order + "H", head, 2)[0] == 43
        if len(head) < 8:
            raise FrameError("expected a TIFF file, found less than its header")
        number, entry, offset = ("Q", 20, "Q") if big else ("H", 12, "I")
        place = struct.unpack_from(order + offset, head, 8 if big else 4)[0]
        seen: set[int] = set()
        while place:
            if place in seen or len(seen) >= _MAX_PAGES:
                raise FrameError(
                    "expected a list of pages with an end, found a directory that points back: "
                    "the file is damaged; copy it again"
                )
            seen.add(place)
            file.seek(place)
            raw = file.read(struct.calcsize(number))
            if len(raw) < struct.calcsize(number):
                raise FrameError("the file is truncated; copy it again")
            entries = struct.unpack(order + number, raw)[0]
            file.seek(place + len(raw) + entries * entry)
            raw = file.read(struct.calcsize(offset))
            if len(raw) < struct.calcsize(offset):
                return  # some writers leave the last one out
            place = struct.unpack(order + offset, raw)[0]


def write_tiff(
    path: Path,
    image: NDArray[np.uint16] | NDArray[np.float32],
    header: "ShotMetadata",
    *,
    overwrite: bool = False,
) -> None:
    """Write counts, or expected photons (float32), [slow, fast] as an uncompressed TIFF.

    Laid out as a PILATUS does it, with its header in the image description, so that programs find
    the geometry; missing pixels are -1 in counts and NaN in photons.
    """
    data = with_gaps(image, header).astype("<f4" if image.dtype.kind == "f" else "<i4")
    rows, columns = image.shape
    description = "\r\n".join([*comments(header), ""]).encode("ascii", "replace") + b"\0"
    entries = [
        (256, _LONG, 1, columns),
        (257, _LONG, 1, rows),
        (258, _SHORT, 1, 32),
        (259, _SHORT, 1, 1),  # no compression
        (262, _SHORT, 1, 1),  # zero is black
        (270, _TEXT, len(description), 0),
        (273, _LONG, 1, _DATA_AT),
        (277, _SHORT, 1, 1),  # one value a pixel
        (278, _LONG, 1, rows),
        (279, _LONG, 1, data.nbytes),
        (339, _SHORT, 1, 3 if image.dtype.kind == "f" else 2),  # IEEE floats or signed integers
    ]
    description_at = _DIRECTORY_AT + 2 + 12 * len(entries) + 4
    directory = struct.pack("<H", len(entries))
    for tag, kind, count, value in entries:
        directory += struct.pack("<HHII", tag, kind, count, description_at if tag == 270 else value)
    start = struct.pack("<2sHI", b"II", 42, _DIRECTORY_AT).ljust(_DIRECTORY_AT, b"\0")
    start += directory + struct.pack("<I", 0) + description
    with whole_file(path, overwrite=overwrite) as partial:
        partial.write_bytes(start.ljust(_DATA_AT, b"\0") + data.tobytes())


TIFF = Format(
    name="TIFF",
    suffixes=(".tif", ".tiff", ".mccd"),
    recognises=starts_with(b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"),
    open=open_tiff,
    read_image=read_tiff,
    write=write_tiff,
)
