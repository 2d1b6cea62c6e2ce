"""|F|^2 of a crystal's reflections, drawn from their indices: the same for equivalent ones."""

import numpy as np
from numpy.typing import NDArray

from deepfreak.compiled import njit

TRICLINIC, MONOCLINIC, ORTHORHOMBIC, TETRAGONAL, HEXAGONAL, CUBIC = range(6)


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
