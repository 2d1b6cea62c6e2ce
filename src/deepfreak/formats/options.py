"""What a user says about frames before they are read, as the command line gives it."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from deepfreak.formats.dark import read_dark
from deepfreak.formats.finishing import ReadOptions
from deepfreak.formats.frame import Valid
from deepfreak.formats.geometry.reading import read_geometry
from deepfreak.formats.mask import read_mask
from deepfreak.settings import Finite, Positive


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
