"""Time reading frames in a process with limits against reading them directly.

Run: python benchmarks/guarded.py [--repetitions 40]

Frames are in HDF5 files, compressed by bitshuffle and LZ4. Each is read alternately in this process
and in the limited one, so that other load affects both; the ratio is the median over these pairs.
Times are wall-clock milliseconds.
"""

import argparse
import platform
import tempfile
import time
from pathlib import Path

import h5py
import hdf5plugin
import numpy as np

from deepfreak.formats import open_frames
from deepfreak.formats.guarded import MODULES, open_guarded
from deepfreak.isolation import LimitedProcess

SIZES = {
    "512 x 512, uint16": ((512, 512), np.uint16),
    "512 x 512, uint32": ((512, 512), np.uint32),
    "2167 x 2070, uint32": ((2167, 2070), np.uint32),
    "4362 x 4148, uint32": ((4362, 4148), np.uint32),
}


def write(path: Path, shape: tuple[int, int], dtype: type) -> None:
    """Write a file with two frames of noise."""
    rng = np.random.default_rng(0)
    counts = rng.poisson(2.0, (2, *shape)).astype(dtype)
    with h5py.File(path, "w") as file:
        file.create_dataset(
            "entry/data/data", data=counts, chunks=(1, *shape), **hdf5plugin.Bitshuffle(cname="lz4")
        )


def milliseconds(work: object, *args: object) -> float:
    """Return the milliseconds of a call."""
    start = time.perf_counter()
    work(*args)  # type: ignore[operator]
    return 1e3 * (time.perf_counter() - start)


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repetitions", type=int, default=40)
    repetitions = parser.parse_args().repetitions
    print(f"{platform.processor() or platform.machine()}, Python {platform.python_version()}")
    starts = []
    for _ in range(5):
        process = LimitedProcess(modules=MODULES)
        starts.append(milliseconds(process.call, abs, 1))
        calls = [milliseconds(process.call, abs, 1) for _ in range(repetitions)]
        process.close()
    print(f"start {np.median(starts):.0f} ms, an empty call {np.median(calls):.3f} ms")
    print(f"{'frame':<22}{'direct':>10}{'limited':>10}{'ratio':>8}{'added':>10}")
    with tempfile.TemporaryDirectory() as folder:
        for name, (shape, dtype) in SIZES.items():
            path = Path(folder, "frames.h5")
            write(path, shape, dtype)
            with open_frames(path) as here, open_guarded(path) as limited:
                pairs = np.array(
                    [
                        [milliseconds(file.read, i % 2) for file in (here, limited)]
                        for i in range(repetitions)
                    ]
                )[4:]
            own, other = np.median(pairs, axis=0)
            ratio = np.median(pairs[:, 1] / pairs[:, 0])
            print(f"{name:<22}{own:>10.2f}{other:>10.2f}{ratio:>8.2f}{other - own:>10.2f}")


if __name__ == "__main__":
    main()
