"""What a user says about frames before they are read: masks, darks, and how options name them."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from deepfreak.errors import DeepFreakError, GeometryError
from deepfreak.formats.files import format_of, open_frames
from deepfreak.formats.finishing import ReadOptions
from deepfreak.formats.frame import Counts, Valid, require_shape
from deepfreak.formats.geometry import read_geometry
from deepfreak.settings import Finite, Positive

_NPY = b"\x93NUMPY"


def read_mask(path: Path) -> Valid:
    """Return the mask in a file: true where a pixel is to be left out.

    A value other than zero masks the pixel, as in pyFAI and in NXmx's `pixel_mask`. Read are npy,
    HDF5 (the data set whose name holds "mask", or the only one), CBF, PGM, PNG, and what fabio
    reads (TIFF, EDF, Fit2D's msk).

    Raises `GeometryError`: the file cannot be read as a mask.
    """
    try:
        values = read_npy(path)
        if values is None:
            values = format_of(path).read_image(path)
        require_shape(values.shape)
    except DeepFreakError as error:
        raise GeometryError(f"{path}: {error}") from error
    # readers raise all kinds of errors on damaged files
    except Exception as error:
        text = " ".join(str(error).split())
        raise GeometryError(
            f"expected a mask image in {path}, found no such: {text:.150}"
        ) from error
    return np.asarray(values != 0)


def read_npy(path: Path) -> Counts | None:
    """Return the array of numbers in an npy file, None for any other file."""
    with path.open("rb") as file:
        if file.read(len(_NPY)) != _NPY:
            return None
    values: Counts = np.load(path, mmap_mode="r", allow_pickle=False)
    if values.dtype.kind not in "biuf":
        raise GeometryError(f"expected numbers in the mask, found {values.dtype}")
    require_shape(values.shape)
    return values


_MAX_DARK_FRAMES = 100


def read_dark(path: Path, *, channel: str | None = None) -> NDArray[np.float32]:
    """Return the counts of each pixel without light, from a file of dark frames.

    The mean over at most 100 frames, of the shape of the file's own data; NaN where no frame
    measured anything. An npy file holds it as it is.

    Raises `GeometryError`: the file cannot be read, or its frames differ in size.
    """
    total = number = np.zeros(0)
    try:
        stored = read_npy(path)
        if stored is not None:
            return np.asarray(stored, dtype=np.float32)
        with open_frames(path, channel=channel) as file:
            for index in range(min(file.count, _MAX_DARK_FRAMES)):
                frame = file.read(index)
                if index == 0:
                    total, number = np.zeros(frame.counts.shape), np.zeros(frame.counts.shape)
                if frame.counts.shape != total.shape:
                    raise GeometryError("expected dark frames of one size, found several")
                total += np.where(frame.valid, frame.counts, 0)
                number += frame.valid
    except OSError as error:
        raise GeometryError(f"cannot read {path}: {error.strerror or error}") from error
    except DeepFreakError as error:
        raise GeometryError(f"{path}: {error}") from error
    with np.errstate(invalid="ignore", divide="ignore"):
        mean: NDArray[np.float32] = (total / np.where(number > 0, number, np.nan)).astype(
            np.float32
        )
    return mean


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadSettings:
    """`ReadOptions` as the command line gives them: files by their paths.

    Attributes
    ----------
    mask
        Image, 0 where pixels are to be left out.
    geometry
        CrystFEL .geom, DIALS .expt or pyFAI .poni.
    channel
        Which of several images of a frame to read, by name or number; by default the first.
    gain
        Counts per photon, if the header does not say.
    pedestal
        Counts of a pixel without light.
    dark
        File of dark frames: the pedestal of each pixel.
    """

    mask: Path | None = None
    geometry: Path | None = None
    channel: str | None = None
    gain: Positive | None = None
    pedestal: Finite | None = None
    dark: Path | None = None

    def absolute(self) -> "ReadSettings":
        """Return the same with absolute paths."""
        names = ("mask", "geometry", "dark")
        paths = {name: path.absolute() for name in names if (path := getattr(self, name))}
        return replace(self, **paths)

    def load(
        self,
        *,
        mask: Callable[..., Valid] = read_mask,
        dark: Callable[..., NDArray[np.float32]] = read_dark,
    ) -> ReadOptions:
        """Return the options, with what the files hold.

        `mask`, `dark`: read their files.

        Raises `GeometryError`: a file cannot be read as what it is given for.
        """
        options = ReadOptions(channel=self.channel, gain=self.gain, pedestal=self.pedestal)
        if self.mask is not None:
            options["mask"] = mask(self.mask)
        if self.geometry is not None:
            options["geometry"] = read_geometry(self.geometry)
        if self.dark is not None:
            options["dark"] = dark(self.dark, channel=self.channel)
        return options
