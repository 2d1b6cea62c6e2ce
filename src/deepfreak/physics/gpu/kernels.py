"""The kernels: candidates, their spots, expected photons, counts, 8 bits.

What a thread computes stands in `scattering.projection` and `noise.counting`; numba compiles those
functions for either device.
"""

import math

import numpy as np
from numba import cuda

from deepfreak.compiled import njit
from deepfreak.physics.noise.counting import poisson_deviate
from deepfreak.physics.scattering.projection import (
    Domains,
    Wave,
    brightness_at,
    crossing,
    dot,
    may_diffract,
    meets_panel_at,
    reflection_at,
    shell_thickness,
    spot_on_panel,
)

LOW = np.uint64(0xFFFFFFFF)
M0, M1 = np.uint64(0xD2511F53), np.uint64(0xCD9E8D57)
W0, W1 = np.uint64(0x9E3779B9), np.uint64(0xBB67AE85)
HALF = np.uint64(32)

if not hasattr(np, "row_stack"):
    # numba-cuda 0.30 asks for what numpy 2.5 has dropped, when it compiles its first kernel
    np.row_stack = np.vstack  # noqa: NPY201 -- no use of ours

# What a batch has of each plane wave that meets a crystal, see `batch.Renderer`: the fields of
# `Wave` and of `Domains`; which shot it is of; whether spots need the exact test; and in which
# units intensities are added up.
LATTICE_WAVE = np.dtype(
    [
        ("k0", "f8", 3),
        ("wavelength", "f8"),
        ("real_axes", "f8", (3, 3)),
        ("reciprocal_axes", "f8", (3, 3)),
        ("cells", "f8", 3),
        ("shape", "i8"),
        ("C", "f8", (3, 3)),
        ("radius_sqr", "f8"),
        ("radius", "f8"),
        ("elongation", "f8"),
        ("max_rotation", "f8"),
        ("shot", "i8"),
        ("exact", "i8"),
        ("strength", "f8"),
    ]
)


@njit(cache=True, nogil=True, error_model="numpy")
def philox(key: np.uint64, counter: np.uint64) -> tuple[np.uint64, np.uint64]:
    """Return 128 random bits as two unsigned integers, a function of a key and a counter.

    Philox 4x32-10 (Salmon et al. 2011, Parallel random numbers: as easy as 1, 2, 3): each pixel of
    each shot has its own, whatever thread computes it and when.
    """
    k0, k1 = key & LOW, key >> HALF
    c0, c1, c2, c3 = counter & LOW, counter >> HALF, np.uint64(0), np.uint64(0)
    for _ in range(10):
        p0, p1 = M0 * c0, M1 * c2
        c0, c1, c2, c3 = (p1 >> HALF) ^ c1 ^ k0, p1 & LOW, (p0 >> HALF) ^ c3 ^ k1, p0 & LOW
        k0, k1 = (k0 + W0) & LOW, (k1 + W1) & LOW
    return c0 | (c1 << HALF), c2 | (c3 << HALF)


@njit(cache=True, nogil=True, error_model="numpy")
def normal_pair(key: np.uint64, counter: np.uint64) -> tuple[float, float]:
    """Return two independent standard normal deviates (Box and Muller 1958)."""
    first, second = philox(key, counter)
    # 53 bits each; the first in (0, 1], so that its logarithm exists
    u = (np.float64(first >> np.uint64(11)) + 1.0) * 2.0**-53
    v = np.float64(second >> np.uint64(11)) * 2.0**-53
    radius = math.sqrt(-2.0 * math.log(u))
    return radius * math.cos(2 * math.pi * v), radius * math.sin(2 * math.pi * v)


@cuda.jit(device=True)
def vector(v):
    """Return three numbers as a tuple."""
    return (v[0], v[1], v[2])


@cuda.jit(device=True)
def matrix(m):
    """Return (3, 3) as three rows."""
    return (
        (m[0, 0], m[0, 1], m[0, 2]),
        (m[1, 0], m[1, 1], m[1, 2]),
        (m[2, 0], m[2, 1], m[2, 2]),
    )


@cuda.jit(device=True)
def wave_of(row):
    """Return the plane wave of a `LATTICE_WAVE`."""
    return Wave(vector(row["k0"]), row["wavelength"])


@cuda.jit(device=True)
def domains_of(row):
    """Return the crystal's domains of a `LATTICE_WAVE`."""
    return Domains(
        matrix(row["real_axes"]),
        matrix(row["reciprocal_axes"]),
        vector(row["cells"]),
        row["shape"],
        matrix(row["C"]),
        row["radius_sqr"],
        row["radius"],
        row["elongation"],
        row["max_rotation"],
    )


@cuda.jit
def find_candidates(lattices, F, hkl_min, found, candidates):
    """List (lattice, h, k, l) of the reflections near the sphere; a thread walks one (h, k).

    `lattices` is an array of `LATTICE_WAVE`. `found` counts the candidates; those beyond the end of
    `candidates` are counted but not kept.
    """
    plane = F.shape[0] * F.shape[1]
    for work in range(cuda.grid(1), plane * lattices.shape[0], cuda.gridsize(1)):
        lattice = work // plane
        ih = (work % plane) // F.shape[1]
        ik = (work % plane) % F.shape[1]
        wave, domains = wave_of(lattices[lattice]), domains_of(lattices[lattice])
        c = domains.reciprocal_axes[2]
        h, k = ih + hkl_min[0], ik + hkl_min[1]
        p = reflection_at(domains.reciprocal_axes, h, k, 0)
        thick = shell_thickness(domains, wave.wavelength)
        first, last, hole_first, hole_last = crossing(p, c, wave.k0, thick)
        l = max(int(math.ceil(first)), hkl_min[2])
        last_l = min(int(math.floor(last)), hkl_min[2] + F.shape[2] - 1)
        while l <= last_l:
            if hole_first < l < hole_last:
                l = max(l + 1, int(math.ceil(hole_last)))
                continue
            g = (p[0] + l * c[0], p[1] + l * c[1], p[2] + l * c[2])
            if F[ih, ik, l - hkl_min[2]] != 0 and may_diffract(g, wave, domains):
                place = cuda.atomic.add(found, 0, 1)
                if place < candidates.shape[0]:
                    candidates[place, 0] = lattice
                    candidates[place, 1] = h
                    candidates[place, 2] = k
                    candidates[place, 3] = l
            l += 1


@cuda.jit
def add_reflections(
    images, lattices, F, hkl_min, rotations, edges, found, candidates, panel, oversample
):
    """Add each candidate to the image of its shot; a block takes one, a thread a domain.

    `images` are 64-bit integers, (shots, slow, fast): intensities in units of 1 / the lattice's
    strength. Integers add up to the same sum in any order, so that an image is reproducible.
    `panel` is a `PanelGrid`.
    """
    count = min(found[0], candidates.shape[0])
    for reflection in range(cuda.blockIdx.x, count, cuda.gridDim.x):
        lattice = candidates[reflection, 0]
        h, k, l = candidates[reflection, 1], candidates[reflection, 2], candidates[reflection, 3]
        row = lattices[lattice]
        wave, domains = wave_of(row), domains_of(row)
        k0 = wave.k0
        g = reflection_at(domains.reciprocal_axes, h, k, l)
        spot = spot_on_panel(g, wave, domains, panel)
        if not spot.reachable:
            continue
        inside = -1.0 if row["exact"] else spot.inside
        amplitude = np.float64(F[h - hkl_min[0], k - hkl_min[1], l - hkl_min[2]])
        strength = amplitude * amplitude * row["strength"]
        half_g_sqr = dot(g, g) / 2
        for m in range(cuda.threadIdx.x, rotations.shape[1], cuda.blockDim.x):
            U = matrix(rotations[lattice, m])
            turned = (dot(U[0], g), dot(U[1], g), dot(U[2], g))
            error = (dot(turned, k0) + half_g_sqr) * wave.wavelength
            if abs(error) >= spot.max_error:
                continue
            shift = error / spot.eCe
            direction = (
                turned[0] + k0[0] - shift * spot.Ce[0],
                turned[1] + k0[1] - shift * spot.Ce[1],
                turned[2] + k0[2] - shift * spot.Ce[2],
            )
            at_fast, at_slow = meets_panel_at(direction, panel)
            first_fast = int(math.ceil(at_fast - spot.half_fast - 0.5))
            first_slow = int(math.ceil(at_slow - spot.half_slow - 0.5))
            for s in range(first_slow, first_slow + int(math.floor(2 * spot.half_slow)) + 1):
                for f in range(first_fast, first_fast + int(math.floor(2 * spot.half_fast)) + 1):
                    if s < 0 or s >= panel.n_slow or f < 0 or f >= panel.n_fast:
                        continue
                    df, ds = f + 0.5 - at_fast, s + 0.5 - at_slow
                    hr_sqr = (
                        error * shift
                        + spot.ff * df * df
                        + 2 * spot.fs * df * ds
                        + spot.ss * ds * ds
                    )
                    if hr_sqr >= spot.outside:
                        continue
                    brightness = 1.0
                    if hr_sqr >= inside:
                        own_edges = matrix(edges[lattice, m])
                        brightness = brightness_at(f, s, turned, own_edges, wave, domains, panel)
                    if brightness > 0:
                        cuda.atomic.add(
                            images,
                            (row["shot"], s // oversample, f // oversample),
                            np.int64(strength * brightness + 0.5),
                        )


@cuda.jit
def add_smooth(expected, tables, amounts, step, sin_theta, factors, wavelengths):
    """Add each shot's smooth scattering, from tables over sin(theta) / wavelength, linearly.

    `tables` are (kinds, n) of photons per steradian at multiples of `step` in 1/A; `amounts`
    (shots, kinds) says how much of each a shot has; `wavelengths` has one number a shot.
    """
    pixels = expected.shape[1] * expected.shape[2]
    for work in range(cuda.grid(1), pixels * expected.shape[0], cuda.gridsize(1)):
        shot, pixel = work // pixels, work % pixels
        s, f = pixel // expected.shape[2], pixel % expected.shape[2]
        x = sin_theta[s, f] / wavelengths[shot] / step
        i = min(int(x), tables.shape[1] - 2)
        t = x - i
        photons = 0.0
        for kind in range(tables.shape[0]):
            value = tables[kind, i] * (1 - t) + tables[kind, i + 1] * t
            photons += amounts[shot, kind] * value
        expected[shot, s, f] += np.float32(photons * factors[s, f])


@cuda.jit
def collect_bragg(expected, images, factors, per_unit):
    """Turn whole-number intensities into expected photons; `per_unit` is one number a shot."""
    pixels = expected.shape[1] * expected.shape[2]
    for work in range(cuda.grid(1), pixels * expected.shape[0], cuda.gridsize(1)):
        shot, pixel = work // pixels, work % pixels
        s, f = pixel // expected.shape[2], pixel % expected.shape[2]
        photons = np.float64(images[shot, s, f]) * per_unit[shot] * factors[s, f]
        expected[shot, s, f] = np.float32(photons)


@cuda.jit
def count(expected, gains, keys, noise):
    """Replace expected photons by Poisson counts and fill `noise` with standard normal deviates.

    A pixel's two deviates depend on its shot's key and its place only.
    """
    pixels = expected.shape[1] * expected.shape[2]
    for work in range(cuda.grid(1), pixels * expected.shape[0], cuda.gridsize(1)):
        shot, pixel = work // pixels, work % pixels
        s, f = pixel // expected.shape[2], pixel % expected.shape[2]
        w, z = normal_pair(np.uint64(keys[shot]), np.uint64(pixel))
        mean = np.float64(np.float32(expected[shot, s, f] * gains[s, f]))
        expected[shot, s, f] = poisson_deviate(mean, w)
        noise[shot, s, f] = z


@cuda.jit
def read_out(photons, noise, readout, offset, saturation, out):
    """Add read-out noise and pedestal, clip, drop fractions and take the root to 8 bits."""
    pixels = out.shape[1] * out.shape[2]
    for work in range(cuda.grid(1), pixels * out.shape[0], cuda.gridsize(1)):
        shot, pixel = work // pixels, work % pixels
        s, f = pixel // out.shape[2], pixel % out.shape[2]
        value = photons[shot, s, f] + noise[shot, s, f] * readout + offset
        value = math.floor(min(max(value, 0.0), saturation))
        out[shot, s, f] = np.uint8(min(math.sqrt(value), 255.0))
