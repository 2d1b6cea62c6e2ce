"""Compile every kernel for compute capability 9.0; needs NVIDIA's libraries but no GPU.

Run: python -m tests.gpu.compile
"""

import numba
import numba.cuda.api
import numba.cuda.dispatcher
from numba import cuda, types

from deepfreak.physics.gpu import kernels
from deepfreak.physics.scattering.projection import PanelGrid

HOPPER = (9, 0)


class Device:
    """The device properties that numba queries to compile a function that kernels call."""

    compute_capability = HOPPER
    id = 0


def array(dtype: types.Type, rank: int, layout: str = "C") -> types.Array:
    """Return the type of an array."""
    return types.Array(dtype, rank, layout)


F4, F8, I4, I8, U1 = types.float32, types.float64, types.int32, types.int64, types.uint8
IMAGES = array(F4, 3)
ROWS = array(F8, 2)
LATTICES = array(numba.from_dtype(kernels.LATTICE_WAVE), 1)
VECTOR = types.UniTuple(F8, 3)
PANEL = types.NamedTuple([VECTOR] * 4 + [F8] * 3 + [I8] * 2, PanelGrid)
SIGNATURES = {
    "find_candidates": (LATTICES, IMAGES, array(I8, 1), array(I8, 1), array(I4, 2)),
    "add_reflections": (
        array(I8, 3, "A"),
        LATTICES,
        IMAGES,
        array(I8, 1),
        array(F8, 4),
        array(F8, 4),
        array(I8, 1),
        array(I4, 2),
        PANEL,
        I8,
    ),
    "add_smooth": (IMAGES, ROWS, ROWS, F8, ROWS, ROWS, array(F8, 1)),
    "collect_bragg": (IMAGES, array(I8, 3), ROWS, array(F8, 1)),
    "count": (IMAGES, array(F4, 2), array(I8, 1), IMAGES),
    "read_out": (IMAGES, IMAGES, F8, F8, F8, array(U1, 3)),
}

if __name__ == "__main__":
    for module in (numba.cuda.dispatcher, numba.cuda.api):
        module.get_current_device = lambda *_: Device
    for name, signature in SIGNATURES.items():
        kernel = getattr(kernels, name).py_func
        ptx, _ = cuda.compile_ptx(kernel, types.void(*signature), cc=HOPPER)
        print(f"{name}: {len(ptx)} bytes of PTX")  # noqa: T201 -- a program of its own
