"""Bragg spots of crystals of which only cell, symmetry and quality are known.

Physics: the reciprocal lattice, Ewald's condition, Wilson's statistics, the partiality of a still
or a turn, polarisation, and where and how wide mosaic spread, bandwidth and domains put a spot on a
flat detector across the beam. Empirical: a spot's basic width and its blobs (the shapes of beam,
crystal and its pieces), form factors as one B factor, and the overall brightness.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from deepfreak.compiled import njit
from deepfreak.datasets.randomised.geometry import Geometry
from deepfreak.datasets.randomised.spots import Spots
from deepfreak.physics.crystal import real_axes

TRICLINIC, MONOCLINIC, ORTHORHOMBIC, TETRAGONAL, HEXAGONAL, CUBIC = range(6)

Array = NDArray[np.float64]

CENTRINGS = "PCIF"
_MAX_SPOTS = 4000  # of one lattice, the brightest
_REACH = 3.0  # sigma from Ewald's sphere, beyond which nothing is seen
_MAX_SIGMA_PX = 3.0  # sigma of a spot
_SOLVENT_DEPTH, _SOLVENT_B_A2 = 0.75, 200.0
_FADED = 18.0  # exponent of the B factor beyond which reflections are left out


@njit(cache=True, nogil=True, error_model="numpy")
def intensities(
    hkl: NDArray[np.int64], seed: np.uint64, system: int, is_centric: bool
) -> NDArray[np.float64]:
    """Return |F|^2 / <|F|^2>, the same for equivalent reflections, (n,)."""
    result = np.empty(len(hkl))
    for i in range(len(hkl)):
        h, k, l = _representative(hkl[i, 0], hkl[i, 1], hkl[i, 2], system)
        counter = np.uint64(h + 2**20) | np.uint64(k + 2**20) << np.uint64(21)
        counter |= np.uint64(l + 2**20) << np.uint64(42)
        mixed = _scrambled(_scrambled(counter) ^ _scrambled(seed))
        exponential = -np.log(_unit(mixed))
        if is_centric:  # Box and Muller: the square of a normal deviate
            turn = 2 * np.pi * _unit(_scrambled(mixed))
            result[i] = 2 * exponential * np.cos(turn) ** 2
        else:
            result[i] = exponential
    return result


@njit(cache=True, nogil=True, error_model="numpy")
def _representative(h: int, k: int, l: int, system: int) -> tuple[int, int, int]:
    """Return the one reflection that stands for all equivalent ones."""
    if system == TRICLINIC:
        negative = h < 0 or (h == 0 and (k < 0 or (k == 0 and l < 0)))
        return (-h, -k, -l) if negative else (h, k, l)
    if system == MONOCLINIC:  # b is unique
        return (-h, abs(k), -l) if h < 0 or (h == 0 and l < 0) else (h, abs(k), l)
    if system == HEXAGONAL:  # h, k and -h - k in any order and of either sign
        i = -h - k
        h, k, i = abs(h), abs(k), abs(i)
        return min(h, k, i), h + k + i - min(h, k, i) - max(h, k, i), abs(l)
    h, k, l = abs(h), abs(k), abs(l)
    if system == TETRAGONAL:
        return max(h, k), min(h, k), l
    if system == CUBIC:
        most, least = max(h, k, l), min(h, k, l)
        return most, h + k + l - most - least, least
    return h, k, l


@njit(cache=True, nogil=True, error_model="numpy")
def _scrambled(x: np.uint64) -> np.uint64:
    """Return one output of SplitMix64 (as `structure_factors.wilson`)."""
    x = np.uint64(x) + np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.uint64(x ^ (x >> np.uint64(31)))


@njit(cache=True, nogil=True, error_model="numpy")
def _unit(bits: np.uint64) -> float:
    """Return 64 bits as a number in (0, 1)."""
    return (float(bits >> np.uint64(12)) + 0.5) * 2.0**-52


class Blur(NamedTuple):
    """What lets reflections near the sphere diffract; angles in radians."""

    wavelength_A: float
    # mosaic, bandwidth, size: RMS of directions, of the wavelength (relative), and of domains'
    # points in 1/A
    mosaic: float
    bandwidth: float
    size: float
    # turn, turn_axis: by how much the crystal is turned, and the axis's angle from fast to slow
    turn: float
    turn_axis: float


class Seen(NamedTuple):
    """How a reflection is seen: density over the turn (0 if not at all), 2 theta and its RMS."""

    q: float
    azimuth: float
    density: float
    two_theta: float
    rms: float


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Lattice:
    """A crystal form, its quality, and the beam's part in it."""

    # a, b, c in A and alpha, beta, gamma in degrees
    cell: tuple[float, float, float, float, float, float]
    system: int  # TRICLINIC to CUBIC: which reflections are equal (the system's highest Laue class)
    centring: str  # a letter of `CENTRINGS`
    seed: int  # of the amplitudes, a function of it and the indices
    # Whether |F|^2 is chi-squared with one degree of freedom, else it is exponential
    is_centric: bool
    has_solvent: bool  # whether bulk solvent weakens low angles
    B_A2: float  # |F|^2 falls as exp(-B / (2 d^2))
    # Of domains' directions and of the beam's: both move a reflection through the sphere alike
    mosaic_rms_deg: float
    domain_A: float  # size of a coherent domain
    bandwidth_rms: float  # of the wavelength, relative
    turn_deg: float  # by which the crystal is turned while it is exposed, 0 for a still
    width_px: float  # FWHM of a spot before mosaic spread and bandwidth widen it
    # Sigma in pixels along slow and fast of what draws all spots out in one direction
    stretch: tuple[float, float]
    blobs: Array  # as in `Spots`

    @property
    def primitive_A3(self) -> float:
        """Volume of a primitive cell."""
        points = {"P": 1, "C": 2, "I": 2, "F": 4}[self.centring]
        return float(np.linalg.det(real_axes(self.cell))) / points

    def expected_number(self, q_max: float, wavelength_A: float) -> float:
        """Return about how many reflections with 1/d < `q_max` are within 2 sigma of the sphere.

        A sphere through the origin has the area pi q^2 nearer to it than q, whatever its radius.
        """
        q = (np.arange(32) + 0.5) / 32 * q_max
        cos = np.sqrt(np.maximum(1 - (wavelength_A * q / 2) ** 2, 0))
        spread = np.sqrt(
            (math.radians(self.mosaic_rms_deg) * q * cos) ** 2
            + (self.bandwidth_rms * wavelength_A * q**2 / 2) ** 2
            + (0.4 / self.domain_A) ** 2
        )
        swept = 2 / math.pi * math.radians(self.turn_deg) * q * cos
        thickness = 4 * spread + swept
        return float(self.primitive_A3 * np.sum(2 * np.pi * q * thickness) * q_max / 32)

    def mean_intensity(self, q: Array) -> Array:
        """Return <|F|^2> at q = 1/d relative to what it would be at 0 without solvent."""
        fall: Array = np.exp(-self.B_A2 * q**2 / 2)
        if self.has_solvent:
            fall *= (1 - _SOLVENT_DEPTH * np.exp(-_SOLVENT_B_A2 * q**2 / 4)) ** 2
        return fall


def bragg_spots(
    lattice: Lattice, geometry: Geometry, orientation: Array, turn_axis: float, q_max: float
) -> tuple[Spots, NDArray[np.int64]]:
    """Return a lattice's spots, unscaled and the brightest first, and their indices (n, 3).

    A reflection q whose excitation error is e = |s0 + q| - 1 / lambda sends, of what it would if
    it met the sphere at once, the mean over the turn of a Gaussian density of e: its variance sums
    those by mosaic spread and divergence, (|q| cos(theta) m)^2, by bandwidth, (|q|^2 lambda b /
    2)^2, and by domains, (0.4 / size)^2. Given e, each of the three has moved by its share of the
    variance, which moves the spot along its radius, and what is left of their variances widens it
    (a linear Gaussian model; mosaic spread also along the ring).

    `orientation` (3, 3) turns the rows of `real_axes`; x is fast, y slow, z the beam. `turn_axis`
    is the angle in radians from fast to slow of the axis of the turn, which is across the beam;
    `q_max` the largest 1/d in 1/A.
    """
    axes = real_axes(lattice.cell)
    reciprocal = np.linalg.inv(axes).T @ orientation.T  # rows a*, b*, c*
    q_max = min(q_max, math.sqrt(2 * _FADED / lattice.B_A2), 2 / geometry.wavelength_A)
    largest = np.floor(q_max * np.linalg.norm(axes, axis=1)).astype(np.int64)
    blur = Blur(
        wavelength_A=geometry.wavelength_A,
        mosaic=math.radians(lattice.mosaic_rms_deg),
        bandwidth=lattice.bandwidth_rms,
        size=0.4 / lattice.domain_A,
        turn=math.radians(lattice.turn_deg),
        turn_axis=turn_axis,
    )
    centring = CENTRINGS.index(lattice.centring)
    found = _reflections(reciprocal, largest, q_max, blur, centring)
    found = found[found[:, 5] > 0]
    hkl = found[:, :3].astype(np.int64)
    F_sqr = intensities(hkl, np.uint64(lattice.seed), lattice.system, lattice.is_centric)
    F_sqr = F_sqr * lattice.mean_intensity(found[:, 3])
    two_theta, azimuth = found[:, 6], found[:, 4]
    photons = F_sqr * found[:, 5] * geometry.polarization_factor(two_theta, azimuth)
    order = np.argsort(-photons)[:_MAX_SPOTS]
    two_theta, azimuth = two_theta[order], azimuth[order]
    scale = geometry.distance_mm / geometry.pixel_mm
    radius = scale * np.tan(two_theta)
    across = radius * 2 * np.sin(two_theta / 2) * math.radians(lattice.mosaic_rms_deg)
    across /= np.maximum(np.sin(two_theta), 1e-9)
    along = scale * found[order, 7] / np.cos(two_theta) ** 2
    along, across = (np.minimum(each, _MAX_SIGMA_PX) for each in (along, across))
    sin, cos = np.sin(azimuth), np.cos(azimuth)
    base = (lattice.width_px / 2.3548) ** 2
    covariance = np.stack(
        [
            base + (along * sin) ** 2 + (across * cos) ** 2 + lattice.stretch[0] ** 2,
            base + (along * cos) ** 2 + (across * sin) ** 2 + lattice.stretch[1] ** 2,
            (along**2 - across**2) * sin * cos + lattice.stretch[0] * lattice.stretch[1],
        ],
        axis=1,
    )
    spots = Spots(
        slow=geometry.beam_center_px[0] + radius * sin,
        fast=geometry.beam_center_px[1] + radius * cos,
        photons=photons[order],
        covariance=covariance,
        blobs=lattice.blobs,
    )
    return spots, hkl[order]


@njit(cache=True, nogil=True, error_model="numpy")
def _reflections(
    reciprocal: Array, largest: NDArray[np.int64], q_max: float, blur: Blur, centring: int
) -> Array:
    """Return h, k, l, |q|, azimuth, density, 2 theta and its rms near the sphere, (n, 8).

    Along each row of l the sphere is met twice at most, so that the work is that of a surface and
    not of a volume. All angles in radians.
    """
    R = 1 / blur.wavelength_A
    by_band = q_max**2 * blur.wavelength_A * blur.bandwidth / 2
    widest = _REACH * np.sqrt((q_max * blur.mosaic) ** 2 + by_band**2 + blur.size**2)
    widest += q_max * blur.turn / 2
    outer2, inner2 = (R + widest) ** 2, max(R - widest, 0.0) ** 2
    cx, cy, cz = reciprocal[2]
    c2 = cx * cx + cy * cy + cz * cz
    found = [(0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0)]
    for h in range(-largest[0], largest[0] + 1):
        for k in range(-largest[1], largest[1] + 1):
            px = h * reciprocal[0, 0] + k * reciprocal[1, 0]
            py = h * reciprocal[0, 1] + k * reciprocal[1, 1]
            pz = h * reciprocal[0, 2] + k * reciprocal[1, 2]
            # |p + l c|^2 <= q_max^2
            low, high = _between(px, py, pz, cx, cy, cz, c2, q_max**2)
            # |s0 + p + l c| between R - widest and R + widest
            first, last = _between(px, py, pz + R, cx, cy, cz, c2, outer2)
            empty_from, empty_to = _between(px, py, pz + R, cx, cy, cz, c2, inner2)
            start, stop = np.ceil(max(low, first)), np.floor(min(high, last))
            l = start
            while l <= stop:
                if empty_from < l < empty_to:
                    l = max(np.ceil(empty_to), l + 1)
                    continue
                if _present(h, k, int(l), centring):
                    seen = _seen(px + l * cx, py + l * cy, pz + l * cz, blur)
                    if seen.density > 0:
                        q, azimuth, density, two_theta, rms = seen
                        found.append((float(h), float(k), l, q, azimuth, density, two_theta, rms))
                l += 1
    result = np.zeros((len(found), 8))
    for i in range(len(found)):
        for j in range(8):
            result[i, j] = found[i][j]
    return result


@njit(cache=True, nogil=True, error_model="numpy")
def _present(h: int, k: int, l: int, centring: int) -> bool:
    """Return whether a lattice of this centring has a reflection, other than 0, 0, 0."""
    odd = (h + k) % 2 != 0
    if centring == 0:
        odd = False
    elif centring == 2:
        odd = (h + k + l) % 2 != 0
    elif centring == 3:
        odd = odd or (h + l) % 2 != 0
    return not odd and not (h == 0 and k == 0 and l == 0)


@njit(cache=True, nogil=True, error_model="numpy")
def _between(
    px: float, py: float, pz: float, cx: float, cy: float, cz: float, c2: float, limit2: float
) -> tuple[float, float]:
    """Return between which x |p + x c|^2 is below a limit; (1, 0) if nowhere."""
    middle = -(px * cx + py * cy + pz * cz) / c2
    rest = middle * middle - (px * px + py * py + pz * pz - limit2) / c2
    if rest <= 0:
        return 1.0, 0.0
    half = np.sqrt(rest)
    return middle - half, middle + half


@njit(cache=True, nogil=True, error_model="numpy")
def _seen(x: float, y: float, z: float, blur: Blur) -> Seen:
    """Return how the reflection (x, y, z) in 1/A is seen."""
    wavelength_A, mosaic, bandwidth, size, turn, turn_axis = blur
    R = 1 / wavelength_A
    q2 = x * x + y * y + z * z
    q = np.sqrt(q2)
    length = np.sqrt(x * x + y * y + (z + R) ** 2)
    error = length - R
    sin = min(q * wavelength_A / 2, 1.0)
    cos = np.sqrt(1 - sin * sin)
    mosaic2, band2 = (q * cos * mosaic) ** 2, (q2 * wavelength_A / 2 * bandwidth) ** 2
    variance = mosaic2 + band2 + size * size
    sigma = np.sqrt(variance)
    # de/dphi for a turn about the axis (cos, sin, 0): s1 . (axis x q)
    speed = abs(R * (np.cos(turn_axis) * y - np.sin(turn_axis) * x))
    swept = speed * turn / length
    nearest = max(abs(error) - swept / 2, 0.0)
    if nearest > _REACH * sigma or z + R <= 0:
        return Seen(q, 0.0, 0.0, 0.0, 0.0)
    if swept > 1e-3 * sigma:
        root = sigma * math.sqrt(2)
        density = 0.5 * (
            math.erf((error + swept / 2) / root) - math.erf((error - swept / 2) / root)
        )
        density /= swept
    else:
        density = np.exp(-0.5 * (error / sigma) ** 2) / (sigma * math.sqrt(2 * math.pi))
    # the turn has brought the reflection as near as it could
    error = math.copysign(nearest, error)
    by_mosaic, by_band = 0.0, 0.0
    if cos > 0:
        by_mosaic = wavelength_A * sin / cos
    if sin > 0:
        by_band = -wavelength_A * cos / sin
    mean = (by_mosaic * mosaic2 + by_band * band2) / variance
    left = by_mosaic**2 * mosaic2 + by_band**2 * band2 - mean**2 * variance
    # where a turn has brought it, the angle is Bragg's, else that of s0 + q
    still = math.atan2(np.sqrt(x * x + y * y), z + R)
    two_theta = 2 * math.asin(sin) if swept > 6 * sigma else still + mean * error
    return Seen(q, math.atan2(y, x), density, two_theta, np.sqrt(max(left, 0.0)))
