"""What a user says about frames before they are read."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypedDict

import numpy as np
from numpy.typing import NDArray

from deepfreak.formats.frame import Valid
from deepfreak.formats.geometry.geometry import Geometry, read_geometry
from deepfreak.settings import Finite, Positive


class ReadOptions(TypedDict, total=False):
    """The keyword arguments of `read_frames` and `open_frames`; all may be left out.

    They can be pickled, so that another process reads with the same ones.

    Attributes
    ----------
    mask
        True where a pixel is to be left out; of the frame's shape or of that of its raw data.
    geometry
        Where the detector's panels are, or the beam.
    channel
        Which of several images of a frame (energy thresholds) to take: its name, or its number
        from 1; the first without it.
    gain
        Counts for each photon, in place of the header's.
    pedestal
        Counts of a pixel without light, in place of the header's.
    dark
        The same for each pixel; of the frame's shape or of that of its raw data, NaN where
        unknown.
    reasons
        Whether `Frame.missing` is filled.
    """

    mask: Valid | None
    geometry: Geometry | None
    channel: str | None
    gain: float | None
    pedestal: float | None
    dark: NDArray[np.float32] | None
    reasons: bool


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
        return replace(
            self,
            mask=None if self.mask is None else self.mask.absolute(),
            geometry=None if self.geometry is None else self.geometry.absolute(),
            dark=None if self.dark is None else self.dark.absolute(),
        )

    def load(
        self,
        *,
        mask: Callable[..., Valid] | None = None,
        dark: Callable[..., NDArray[np.float32]] | None = None,
    ) -> ReadOptions:
        """Return the options, with what the files hold.

        Parameters
        ----------
        mask, dark
            Read their files in place of `read_mask` and `read_dark`.

        Raises
        ------
        GeometryError
            A file cannot be read as what it is given for.
        """
        from deepfreak.formats.mask import read_dark, read_mask

        options = ReadOptions(channel=self.channel, gain=self.gain, pedestal=self.pedestal)
        if self.mask is not None:
            options["mask"] = (mask or read_mask)(self.mask)
        if self.geometry is not None:
            options["geometry"] = read_geometry(self.geometry)
        if self.dark is not None:
            options["dark"] = (dark or read_dark)(self.dark, channel=self.channel)
        return options
