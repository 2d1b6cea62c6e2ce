"""Where the HDF5 files of CXIDB 76 keep frames and metadata."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from deepfreak.errors import FrameError, InputError

MARGIN = 1  # pixels at the edge of an active area that are left out, as DIALS's reader does


@dataclass(frozen=True, slots=True, kw_only=True)
class Chunk:
    """One data set of frames: its path, how many, and distance and wavelength of each (or none)."""

    path: str
    count: int
    distances_mm: tuple[float, ...] = ()
    wavelengths_A: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Metadata:
    """What a file says of all its frames; None or empty where it does not.

    Attributes
    ----------
    underload
        A count that is not trusted; only greater ones are.
    areas
        (slow, fast, slow end, fast end) of each part of the frame that measures something.
    """

    beam_center_px: tuple[float, float] | None = None
    pixel_size_mm: float | None = None
    saturation: float | None = None
    underload: float | None = None
    areas: tuple[tuple[int, int, int, int], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """The frames of a file in their order, [slow, fast] of `shape`, and what is known of them."""

    chunks: tuple[Chunk, ...]
    shape: tuple[int, int]
    metadata: Metadata

    @property
    def count(self) -> int:
        """How many frames there are."""
        return sum(chunk.count for chunk in self.chunks)


def read_layout(path: Path) -> Layout:
    """Return the frames of a file: /data/CHUNK/images, and /metadata.

    Raises
    ------
    FrameError
        The file is damaged, or laid out differently.
    """
    try:
        with h5py.File(path, "r") as file:
            data = file.get("data")
            names = list(data) if isinstance(data, h5py.Group) else []
            # the order of the labels is that in which HDF5 lists the names
            chunks = [_chunk(data[name], f"/data/{name}/images") for name in names]
            if not chunks:
                raise FrameError(f"expected images at /data/.../images in {path}, found none")
            shape = data[names[0]]["images"].shape[1:]
            return Layout(
                chunks=tuple(chunks), shape=shape, metadata=_metadata(file.get("metadata"), shape)
            )
    except (OSError, RuntimeError, KeyError, ValueError, TypeError) as error:
        raise FrameError(
            f"expected an HDF5 file of CXIDB 76, found {path} damaged or laid out differently "
            f"({' '.join(str(error).split()):.80}): download it again"
        ) from error


def _chunk(group: h5py.Group, path: str) -> Chunk:
    images = group.get("images") if isinstance(group, h5py.Group) else None
    if not isinstance(images, h5py.Dataset) or images.ndim != 3 or images.dtype.kind not in "iuf":
        raise FrameError(f"expected a stack of frames at {path}, found none")
    return Chunk(
        path=path,
        count=len(images),
        distances_mm=_each(group.get("distance"), len(images)),
        wavelengths_A=_each(group.get("wavelength"), len(images)),
    )


def _each(node: Any, count: int) -> tuple[float, ...]:  # noqa: ANN401 - of h5py
    """Return a number for each frame; empty where there are none, or others."""
    if not isinstance(node, h5py.Dataset) or node.shape != (count,) or node.dtype.kind not in "iuf":
        return ()
    return tuple(float(value) for value in node[()])


def _metadata(group: Any, shape: tuple[int, int]) -> Metadata:  # noqa: ANN401 - of h5py
    def number(name: str) -> float | None:
        node = group.get(name) if isinstance(group, h5py.Group) else None
        if not isinstance(node, h5py.Dataset) or node.size != 1 or node.dtype.kind not in "iuf":
            return None
        value = float(np.ravel(node[()])[0])
        return value if math.isfinite(value) else None

    pixel, fast, slow = number("PIXEL_SIZE"), number("BEAM_CENTER_X"), number("BEAM_CENTER_Y")
    beam = None
    if pixel and fast is not None and slow is not None:
        beam = (slow / pixel, fast / pixel)
        inside = all(0 <= one <= length for one, length in zip(beam, shape, strict=True))
        beam = beam if inside else None  # not in millimetres, then
    return Metadata(
        beam_center_px=beam,
        pixel_size_mm=pixel or None,
        saturation=number("SATURATED_VALUE"),
        underload=number("MIN_TRUSTED_VALUE"),
        areas=_areas(group.get("ACTIVE_AREAS") if isinstance(group, h5py.Group) else None),
    )


def _areas(node: Any) -> tuple[tuple[int, int, int, int], ...]:  # noqa: ANN401 - of h5py
    """Return the active areas; a single one says nothing, as for DIALS's reader."""
    if not isinstance(node, h5py.Dataset) or node.dtype.kind not in "iu" or node.size % 4:
        return ()
    rows = np.reshape(node[()], (-1, 4))
    return tuple((int(a), int(b), int(c), int(d)) for a, b, c, d in rows) if len(rows) > 1 else ()


def outside(
    areas: Sequence[tuple[int, int, int, int]], shape: tuple[int, int]
) -> NDArray[np.bool_]:
    """Return the pixels [slow, fast] in none of the active areas; none where there are no areas."""
    left_out = np.full(shape, bool(areas))
    for slow, fast, slow_end, fast_end in areas:
        left_out[slow + MARGIN : slow_end - MARGIN, fast + MARGIN : fast_end - MARGIN] = False
    return left_out


def find_file(directory: Path, name: str) -> Path:
    """Return the only file of a name in `directory` or below it.

    Raises
    ------
    InputError
        There is none, or there are several.
    """
    found = sorted({path.resolve() for path in directory.rglob(name) if path.is_file()})
    if len(found) != 1:
        listed = ", ".join(map(str, found)) or "none"
        raise InputError(f"expected one {name} in {directory}, found: {listed}")
    return found[0]
