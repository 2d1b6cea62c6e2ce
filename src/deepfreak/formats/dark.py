"""Dark files: what each pixel counts without light."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from deepfreak.errors import DeepFreakError, GeometryError
from deepfreak.formats.files import open_frames
from deepfreak.formats.mask import read_npy

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
