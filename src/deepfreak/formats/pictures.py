"""PGM and PNG: pictures without a header that says anything about a detector.

One with 8 bits is what Appendix A stores, the square root of the counts, and is squared back:
`prepare` takes the root again, so that a 512 x 512 image reaches the model unchanged. One with
16 bits holds counts.
"""

import re
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from deepfreak.errors import FrameError
from deepfreak.formats.format import Format, single, starts_with
from deepfreak.formats.frame import Counts, Frame, Metadata, require_shape
from deepfreak.formats.measured import make_frame
from deepfreak.storage.files import whole_file

SIMULATED_PEDESTAL = 10.0  # Appendix A's offset, which the root was taken with


def _read(path: Path, name: str) -> Frame:
    picture = read_picture(path)
    if picture.dtype == np.uint8:
        return from_root(picture, name, 0)
    return make_frame(picture, file=name, index=0, metadata=Metadata())


def from_root(root: NDArray[np.uint8], name: str, index: int) -> Frame:
    """Return the frame of which `root` [slow, fast] is the 8-bit square root."""
    counts = np.square(root, dtype=np.uint16)
    valid = np.ones(root.shape, dtype=np.bool_)
    return Frame(
        file=name,
        index=index,
        counts=counts,
        valid=valid,
        pedestal=SIMULATED_PEDESTAL,
        gain=1.0,
        simulated=True,
        origins={"pedestal": "8-bit square root", "gain": "8-bit square root"},
    )


def read_picture(path: Path) -> Counts:
    """Return the gray values [slow, fast] as they are stored, uint8 or uint16.

    Raises `FrameError`: colours, a palette or bits, or an image cut short.
    """
    from PIL import Image

    with Image.open(path, formats=["PNG", "PPM"]) as picture:
        require_shape((picture.height, picture.width))  # before Pillow takes the memory for it
        if picture.mode == "L":
            return np.asarray(picture, dtype=np.uint8)
        if picture.mode in {"I", "I;16", "I;16B"}:
            return _unscaled(path, np.asarray(picture).astype(np.uint16))
    raise FrameError(
        f"expected a gray image of 8 or 16 bits, found mode {picture.mode}: convert it to gray"
    )


def _unscaled(path: Path, values: NDArray[np.uint16]) -> NDArray[np.uint16]:
    """Undo Pillow's stretching of a PGM's `maxval` to 65535."""
    with path.open("rb") as file:
        header = re.sub(rb"#[^\n]*\n", b" ", file.read(4096))
    match = re.match(rb"P[25]\s+\d+\s+\d+\s+(\d+)\s", header)
    largest = int(match[1]) if match else 65535
    if largest in {0, 65535}:
        return values
    return np.rint(values.astype(np.float64) * largest / 65535).astype(np.uint16)


def write_pgm(
    path: Path, image: NDArray[np.uint8], _header: object = None, *, overwrite: bool = False
) -> None:
    """Write `image` [slow, fast] as a binary portable graymap.

    Raises `OutputError`: it exists and may not be replaced, or cannot be written; so do all writers
    here.
    """
    rows, columns = image.shape
    with whole_file(path, overwrite=overwrite) as partial:
        partial.write_bytes(f"P5\n{columns} {rows}\n255\n".encode() + image.tobytes())


def write_png(
    path: Path,
    image: NDArray[np.uint8] | NDArray[np.uint16],
    _header: object = None,
    *,
    overwrite: bool = False,
) -> None:
    """Write `image` [slow, fast] as a gray PNG of its 8 or 16 bits."""
    from PIL import Image

    with whole_file(path, overwrite=overwrite) as partial:
        Image.fromarray(image).save(partial, "PNG")


PGM = Format(
    name="PGM",
    suffixes=(".pgm",),
    recognises=starts_with(b"P5", b"P2"),
    open=single(_read),
    read_image=read_picture,
    write=write_pgm,
)
PNG = Format(
    name="PNG",
    suffixes=(".png",),
    recognises=starts_with(b"\x89PNG"),
    open=single(_read),
    read_image=read_picture,
    write=write_png,
)
