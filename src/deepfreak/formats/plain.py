"""PGM and PNG: pictures without a header that says anything about a detector.

One with 8 bits is what Appendix A stores, the square root of the counts, and is squared back:
`prepare` takes the root again, so that a 512 x 512 image reaches the model unchanged. One with
16 bits holds counts.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from deepfreak.errors import FrameError
from deepfreak.formats.frame import Counts, Frame, FrameFile, Metadata, require_shape
from deepfreak.formats.measured import make_frame

MAGICS = (b"P5", b"P2", b"\x89PNG")
SIMULATED_PEDESTAL = 10.0  # Appendix A's offset, which the root was taken with


@contextmanager
def open_picture(path: Path, name: str) -> Iterator[FrameFile]:
    """Open a PGM or PNG file; `name` is what the user calls it."""
    yield FrameFile(count=1, read=lambda index: _read(path, name, index))


def _read(path: Path, name: str, index: int) -> Frame:
    picture = read_picture(path)
    if picture.dtype == np.uint8:
        return from_root(picture, name, index)
    return make_frame(picture, file=name, index=index, metadata=Metadata())


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

    Raises
    ------
    FrameError
        Colours, a palette or bits, or an image cut short.
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
