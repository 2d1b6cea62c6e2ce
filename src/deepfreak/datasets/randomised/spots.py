"""Spots of any shape on a canvas: their light in its pixels, and how clearly they stand out.

Places are in pixels: pixel (i, j) covers [i, i + 1) x [j, j + 1), its centre is (i + 0.5, j + 0.5).
"""

import math
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
from numpy.typing import NDArray

from deepfreak.compiled import njit

Array = NDArray[np.float64]
Float = NDArray[np.float32]

ONE_BLOB = np.array([[0.0, 0.0, 1.0, 1.0]])
FWHM = 2 * math.sqrt(2 * math.log(2))  # of a Gaussian, in sigma
CLEAR = 7.0
_MIN_SIGMA_PX = 0.1  # sigma
# Of the line of round spots that an elongated one is drawn as: their distance in sigma of a round
# one, which counts as half a pixel at least; the line's half length in its sigma; their number.
_STEP, _STEP_PX, _REACH, _MAX_STEPS = 1.0, 0.5, 2.7, 121
_CUT = 4.0  # sigma: where a round spot ends


@dataclass(frozen=True, slots=True, kw_only=True)
class Canvas:
    """What a scene needs to know of a detector."""

    shape: tuple[int, int]  # (slow, fast) pixels of the assembled detector
    pixel_mm: float
    noise_photons: float  # rms read-out noise of a pixel in photons
    psf_px: float  # FWHM of the point spread in pixels


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Spots:
    """Elliptical Gaussian spots, each made of the same blobs."""

    # slow, fast: (n,) places in pixels, which may lie off the canvas
    slow: Array
    fast: Array
    photons: Array  # (n,) expected photons of a whole spot
    # (n, 3) variances along slow and fast and their covariance (slow slow, fast fast, slow fast),
    # in pixels squared, without the detector's point spread
    covariance: Array
    # (m, 4) what every spot is made of: offset along slow and fast in pixels, share of the photons
    # (their sum is 1), factor on the spot's width
    blobs: Array

    def __len__(self) -> int:
        return len(self.photons)

    def add_to(self, canvas: Float) -> None:
        """Add the expected photons to `canvas`, (slow, fast), in place.

        Light is integrated over each pixel. An elongated spot is a line of round ones with the
        same variances.
        """
        _add(self.slow, self.fast, self.photons, self.covariance, self.blobs, canvas)

    def chosen(self, which: NDArray[np.bool_] | NDArray[np.intp]) -> Self:
        """Return some of the spots."""
        return replace(
            self,
            slow=self.slow[which],
            fast=self.fast[which],
            photons=self.photons[which],
            covariance=self.covariance[which],
        )

    def brighter(self, factor: Array | float) -> Self:
        """Return the spots with their photons times a number, or one for each."""
        return replace(self, photons=self.photons * factor)

    def inside(self, shape: tuple[int, int]) -> NDArray[np.bool_]:
        """Return which spots have their middle on a canvas of that shape, (n,)."""
        on_slow = (self.slow >= 0) & (self.slow < shape[0])
        return np.asarray(on_slow & (self.fast >= 0) & (self.fast < shape[1]), np.bool_)

    def noise_pixels(self, psf_px: float) -> Array:
        """Return how many pixels' noise goes into a spot's photons under a matched filter, (n,).

        4 pi sigma sigma' of the Gaussian with the variances of the spot and its blobs, of a point
        spread of `psf_px` FWHM and of the pixels (1/12).
        """
        d_slow, d_fast, share, width = self.blobs.T
        own = float(share @ width**2)
        added = (psf_px / FWHM) ** 2 + 1 / 12
        slow = own * self.covariance[:, 0] + added + _variance(d_slow, share)
        fast = own * self.covariance[:, 1] + added + _variance(d_fast, share)
        mixed = own * self.covariance[:, 2] + share @ (d_slow * d_fast)
        mixed -= (share @ d_slow) * (share @ d_fast)
        area: Array = 4 * np.pi * np.sqrt(np.maximum(slow * fast - mixed**2, added**2))
        return area

    def clear_photons(self, background: Float, canvas: Canvas) -> Array:
        """Return the photons of a spot with a signal-to-noise ratio of 7 at each place, (n,).

        The ratio is 2 (sqrt(S + B) - sqrt(B)) with S photons of the spot and B those of the
        background and the read-out noise squared in its `noise_pixels`: that of Poisson counts
        whose variance is made constant (Anscombe, Biometrika 35, 246, 1948), S / sqrt(B) for large
        B. `background` is in photons a pixel, (slow, fast); spots off it take its nearest pixel.
        """
        rows, columns = background.shape
        row = np.clip(self.slow, 0, rows - 1).astype(np.intp)
        column = np.clip(self.fast, 0, columns - 1).astype(np.intp)
        area = self.noise_pixels(canvas.psf_px)
        under = area * (background[row, column].astype(np.float64) + canvas.noise_photons**2)
        return CLEAR**2 / 4 + CLEAR * np.sqrt(under)


def joined(parts: list[Spots]) -> Spots:
    """Return spots of the same blobs as one."""
    arrays = ("slow", "fast", "photons", "covariance")
    return replace(
        parts[0],
        **{name: np.concatenate([getattr(each, name) for each in parts]) for name in arrays},
    )


def factor_for(photons: Array, needed: Array, count: int) -> float:
    """Return the factor on `photons` with which `count` spots reach what they need, (n,) both."""
    factors = np.sort(needed / np.maximum(photons, 1e-300))
    return float(factors[min(count, len(factors)) - 1])


def _variance(offset: Array, share: Array) -> float:
    return float(share @ offset**2 - (share @ offset) ** 2)


@njit(cache=True, nogil=True, error_model="numpy")
def _add(
    slow: Array, fast: Array, photons: Array, covariance: Array, blobs: Array, canvas: Float
) -> None:
    """Draw each blob of each spot as a line of round Gaussians."""
    for i in range(len(photons)):
        ss, ff, sf = covariance[i, 0], covariance[i, 1], covariance[i, 2]
        mean, half = 0.5 * (ss + ff), np.sqrt(0.25 * (ss - ff) ** 2 + sf * sf)
        angle = 0.5 * np.arctan2(2 * sf, ss - ff)  # of the long axis, from slow to fast
        along_slow, along_fast = np.cos(angle), np.sin(angle)
        for j in range(len(blobs)):
            width2 = blobs[j, 3] ** 2
            minor = max(np.sqrt(max((mean - half) * width2, 0.0)), _MIN_SIGMA_PX)
            line = np.sqrt(max((mean + half) * width2 - minor**2, 0.0))
            step = _STEP * max(minor, _STEP_PX)
            steps = 0
            if line > 0.5 * step:
                steps = min(int(np.ceil(_REACH * line / step)), (_MAX_STEPS - 1) // 2)
                step = _REACH * line / steps
            total, variance = 0.0, 0.0
            for k in range(-steps, steps + 1):
                weight = np.exp(-0.5 * (k * step / max(line, 1e-9)) ** 2)
                total += weight
                variance += weight * (k * step) ** 2
            # the line is cut and has steps: stretch it to the variance that is wanted
            stretch = line / np.sqrt(variance / total) if steps > 0 else 0.0
            for k in range(-steps, steps + 1):
                at = k * step
                weight = np.exp(-0.5 * (at / max(line, 1e-9)) ** 2) / total
                _add_round(
                    slow[i] + blobs[j, 0] + stretch * at * along_slow,
                    fast[i] + blobs[j, 1] + stretch * at * along_fast,
                    minor,
                    photons[i] * blobs[j, 2] * weight,
                    canvas,
                )


@njit(cache=True, nogil=True, error_model="numpy")
def _add_round(slow: float, fast: float, sigma: float, photons: float, canvas: Float) -> None:
    """Add a round Gaussian, integrated over the pixels; what is cut off goes to the others."""
    rows, columns = canvas.shape
    reach = _CUT * sigma
    top, left = int(np.floor(slow - reach)), int(np.floor(fast - reach))
    bottom, right = int(np.floor(slow + reach)), int(np.floor(fast + reach))
    if bottom < 0 or right < 0 or top >= rows or left >= columns or photons <= 0:
        return
    scale = 1 / (sigma * math.sqrt(2))
    width = right - left + 1
    shares = np.empty(width, np.float32)
    before = -1.0
    for j in range(width):
        after = 1.0 if j == width - 1 else math.erf((left + j + 1 - fast) * scale)
        shares[j] = 0.5 * (after - before)
        before = after
    before = -1.0
    first, last = max(left, 0), min(right, columns - 1)
    for i in range(top, bottom + 1):
        after = 1.0 if i == bottom else math.erf((i + 1 - slow) * scale)
        height = np.float32(photons * 0.5 * (after - before))
        before = after
        if 0 <= i < rows:
            for j in range(first, last + 1):
                canvas[i, j] += height * shares[j - left]
