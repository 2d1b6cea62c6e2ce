"""Time the search for valid pixels in a frame of 4.5 million pixels.

Run: python benchmarks/measured.py [--repetitions 7] [--seed 1]

Times are the minimum over repetitions, in wall-clock milliseconds, in one process.
"""

import argparse
import time

import numpy as np

from deepfreak.formats.frame import Metadata
from deepfreak.formats.measured import make_frame

SHAPE = (2162, 2068)  # EIGER2 4M


def main() -> None:
    """Print a line for each type of counts and kind of detector, with and without a mask."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--repetitions", type=int, default=7)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    rng = np.random.default_rng(options.seed)
    gap = np.zeros(SHAPE, np.bool_)
    gap[512:550], gap[1060:1100], gap[:, 1030:1040] = True, True, True
    for dtype, mark in ((np.uint16, 0xFFFF), (np.uint32, 0xFFFFFFFF), (np.int32, -1)):
        counter = rng.poisson(2.0, SHAPE).astype(dtype)
        counter[gap] = mark
        charge = rng.normal(1000, 30, SHAPE).astype(dtype)
        for name, counts, names in (
            ("photon counter", counter, ("EIGER2 4M",)),
            ("unknown detector", counter, ()),
            ("integrating", charge, ("JUNGFRAU",)),
        ):
            for mask in (None, gap):
                least = float("inf")
                for _ in range(options.repetitions + 1):  # the first one compiles
                    start = time.perf_counter()
                    make_frame(
                        counts, file="", index=0, metadata=Metadata(), names=names, mask=mask
                    )
                    least = min(least, time.perf_counter() - start)
                known = "no mask" if mask is None else "mask"
                print(f"{np.dtype(dtype).name:<8} {name:<17} {known:<8} {1e3 * least:6.1f} ms")


if __name__ == "__main__":
    main()
