"""The kernels: candidates, landings, expected photons, counts, 8 bits.

What a thread computes stands in `scattering.projection` and `deviates`; numba compiles those
functions for either device.
"""

import math

import numpy as np
from numba import cuda

from deepfreak.physics.gpu.philox import normal_pair
from deepfreak.physics.noise.deviates import poisson_deviate
from deepfreak.physics.scattering.projection import (
    brightness_at,
    crossing,
    may_diffract,
    meets_panel_at,
    spot_on_panel,
)

if not hasattr(np, "row_stack"):
    # numba-cuda 0.30 asks for what numpy 2.5 has dropped, when it compiles its first kernel
    np.row_stack = np.vstack  # noqa: NPY201 -- no use of ours

# Columns of a lattice's row of numbers, see `batch.lattice_rows`.
K0, WAVELENGTH, RADIUS_SQR, RADIUS, APPROXIMATION, TURN, THICK = 0, 3, 4, 5, 6, 7, 8
RECIPROCAL, REAL, CELLS, SPREAD, STRENGTH, SHOT, EXACT, SHAPE = 9, 18, 27, 30, 39, 40, 41, 42
COLUMNS = 43


@cuda.jit(device=True)
def vector(row, first):
    """Return three numbers of a row."""
    return (row[first], row[first + 1], row[first + 2])


@cuda.jit(device=True)
def matrix(row, first):
    """Return nine numbers of a row, as three rows."""
    return (vector(row, first), vector(row, first + 3), vector(row, first + 6))


@cuda.jit(device=True)
def rows_of(matrices, lattice, m):
    """Return one of (lattices, domains, 3, 3) as three rows."""
    return (
        (matrices[lattice, m, 0, 0], matrices[lattice, m, 0, 1], matrices[lattice, m, 0, 2]),
        (matrices[lattice, m, 1, 0], matrices[lattice, m, 1, 1], matrices[lattice, m, 1, 2]),
        (matrices[lattice, m, 2, 0], matrices[lattice, m, 2, 1], matrices[lattice, m, 2, 2]),
    )


@cuda.jit
def find_candidates(lattices, F, hkl_min, found, candidates):
    """List (lattice, h, k, l) of the reflections near the sphere; a thread walks one (h, k).

    `found` counts them; those beyond the end of `candidates` are counted but not kept.
    """
    plane = F.shape[0] * F.shape[1]
    for work in range(cuda.grid(1), plane * lattices.shape[0], cuda.gridsize(1)):
        lattice = work // plane
        ih = (work % plane) // F.shape[1]
        ik = (work % plane) % F.shape[1]
        row = lattices[lattice]
        a, b, c = matrix(row, RECIPROCAL)
        k0 = vector(row, K0)
        h, k = ih + hkl_min[0], ik + hkl_min[1]
        px, py, pz = h * a[0] + k * b[0], h * a[1] + k * b[1], h * a[2] + k * b[2]
        first, last, hole_first, hole_last = crossing(px, py, pz, c, k0, row[THICK])
        l = max(int(math.ceil(first)), hkl_min[2])
        last_l = min(int(math.floor(last)), hkl_min[2] + F.shape[2] - 1)
        while l <= last_l:
            if hole_first < l < hole_last:
                l = max(l + 1, int(math.ceil(hole_last)))
                continue
            gx, gy, gz = px + l * c[0], py + l * c[1], pz + l * c[2]
            if F[ih, ik, l - hkl_min[2]] != 0 and may_diffract(
                gx, gy, gz, k0, row[WAVELENGTH], row[RADIUS], row[TURN]
            ):
                place = cuda.atomic.add(found, 0, 1)
                if place < candidates.shape[0]:
                    candidates[place, 0] = lattice
                    candidates[place, 1] = h
                    candidates[place, 2] = k
                    candidates[place, 3] = l
            l += 1


@cuda.jit
def add_reflections(
    images,
    lattices,
    F,
    hkl_min,
    domains,
    edges,
    found,
    candidates,
    panel_rows,
    oversample,
):
    """Add each candidate's landings to the image of its shot; a block takes one, a thread a domain.

    `images` are 64-bit integers, (shots, slow, fast): intensities in units of 1 / the lattice's
    STRENGTH. Integers add up to the same sum in any order, so that an image is reproducible.
    """
    panel = (
        vector(panel_rows, 0),
        vector(panel_rows, 3),
        vector(panel_rows, 6),
        vector(panel_rows, 9),
        vector(panel_rows, 12),
    )
    n_slow, n_fast = images.shape[1] * oversample, images.shape[2] * oversample
    count = min(found[0], candidates.shape[0])
    for reflection in range(cuda.blockIdx.x, count, cuda.gridDim.x):
        lattice = candidates[reflection, 0]
        h, k, l = candidates[reflection, 1], candidates[reflection, 2], candidates[reflection, 3]
        row = lattices[lattice]
        a, b, c = matrix(row, RECIPROCAL)
        k0 = vector(row, K0)
        cells = vector(row, CELLS)
        wavelength, radius_sqr = row[WAVELENGTH], row[RADIUS_SQR]
        shape = int(row[SHAPE])
        gx = h * a[0] + k * b[0] + l * c[0]
        gy = h * a[1] + k * b[1] + l * c[1]
        gz = h * a[2] + k * b[2] + l * c[2]
        (
            reachable,
            Cex,
            Cey,
            Cez,
            eCe,
            ff,
            fs,
            ss,
            half_fast,
            half_slow,
            inside,
            outside,
            reach,
        ) = spot_on_panel(
            gx,
            gy,
            gz,
            k0,
            wavelength,
            matrix(row, REAL),
            cells,
            matrix(row, SPREAD),
            panel,
            (n_slow, n_fast),
            radius_sqr,
            row[TURN],
            row[APPROXIMATION],
        )
        if not reachable:
            continue
        if row[EXACT] > 0:
            inside = -1.0
        amplitude = np.float64(F[h - hkl_min[0], k - hkl_min[1], l - hkl_min[2]])
        strength = amplitude * amplitude * row[STRENGTH]
        half_g_sqr = (gx * gx + gy * gy + gz * gz) / 2
        for m in range(cuda.threadIdx.x, domains.shape[1], cuda.blockDim.x):
            first, second, third = rows_of(domains, lattice, m)
            g0 = first[0] * gx + first[1] * gy + first[2] * gz
            g1 = second[0] * gx + second[1] * gy + second[2] * gz
            g2 = third[0] * gx + third[1] * gy + third[2] * gz
            error = (g0 * k0[0] + g1 * k0[1] + g2 * k0[2] + half_g_sqr) * wavelength
            if abs(error) >= reach:
                continue
            shift = error / eCe
            at_fast, at_slow = meets_panel_at(
                g0 + k0[0] - shift * Cex,
                g1 + k0[1] - shift * Cey,
                g2 + k0[2] - shift * Cez,
                panel,
            )
            first_fast = int(math.ceil(at_fast - half_fast - 0.5))
            first_slow = int(math.ceil(at_slow - half_slow - 0.5))
            for s in range(first_slow, first_slow + int(math.floor(2 * half_slow)) + 1):
                for f in range(first_fast, first_fast + int(math.floor(2 * half_fast)) + 1):
                    if s < 0 or s >= n_slow or f < 0 or f >= n_fast:
                        continue
                    df, ds = f + 0.5 - at_fast, s + 0.5 - at_slow
                    hr_sqr = error * shift + ff * df * df + 2 * fs * df * ds + ss * ds * ds
                    if hr_sqr >= outside:
                        continue
                    brightness = 1.0
                    if hr_sqr >= inside:
                        brightness = brightness_at(
                            f,
                            s,
                            g0,
                            g1,
                            g2,
                            k0,
                            wavelength,
                            rows_of(edges, lattice, m),
                            cells,
                            panel,
                            shape,
                            radius_sqr,
                        )
                    if brightness > 0:
                        cuda.atomic.add(
                            images,
                            (int(row[SHOT]), s // oversample, f // oversample),
                            np.int64(strength * brightness + 0.5),
                        )


@cuda.jit
def add_smooth(expected, tables, amounts, step, sin_theta, factors, shots):
    """Add each shot's smooth scattering, from tables over sin(theta) / wavelength, linearly.

    `tables` are (kinds, n) of photons per steradian at multiples of `step` in 1/A; `amounts`
    (shots, kinds) says how much of each a shot has; `shots` are (shots, 1): the wavelength.
    """
    pixels = expected.shape[1] * expected.shape[2]
    for work in range(cuda.grid(1), pixels * expected.shape[0], cuda.gridsize(1)):
        shot = work // pixels
        s = (work % pixels) // expected.shape[2]
        f = (work % pixels) % expected.shape[2]
        x = sin_theta[s, f] / shots[shot, 0] / step
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
        shot = work // pixels
        s = (work % pixels) // expected.shape[2]
        f = (work % pixels) % expected.shape[2]
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
