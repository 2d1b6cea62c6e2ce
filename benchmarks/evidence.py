"""Time the evidence against the vendor's decompression of the same frame.

Run: pip install dectris-compression; python benchmarks/evidence.py [--repetitions 10]

Frames of Poisson noise, with background that falls off from the beam, a gap and 300 spots, are
compressed by bitshuffle and LZ4 as by a DECTRIS detector. Evidence and decompression alternate on
one core, so that other load affects both; the ratio is the median over these pairs, in CPU time of
the thread, which excludes other programs.
"""

import argparse
import platform
import time

import h5py
import hdf5plugin
import numpy as np
from dectris.compression import decompress

from deepfreak.evidence import find_evidence, numbers
from deepfreak.formats import Frame

CASES = (
    ("4.5 Mpx uint32", (2167, 2070), np.uint32),
    ("4.5 Mpx uint16", (2167, 2070), np.uint16),
    ("18 Mpx uint32", (4362, 4148), np.uint32),
)
LIGHTS = (0.05, 2.0, 20.0)  # photons per pixel halfway to the edge


def make(shape: tuple[int, int], dtype: type, light: float, spots: int = 300) -> Frame:
    """Return a frame of a photon-counting detector."""
    rng = np.random.default_rng(0)
    slow, fast = np.indices(shape, dtype=np.float32)
    middle = (shape[0] / 2, shape[1] / 2)
    radius = np.hypot(slow - middle[0], fast - middle[1]) / shape[0]
    counts = rng.poisson(2 * light * np.exp(-radius / 0.36)).astype(dtype)
    for _ in range(spots):
        i, j = rng.uniform(10, shape[0] - 10), rng.uniform(10, shape[1] - 10)
        box = np.s_[int(i) - 4 : int(i) + 5, int(j) - 4 : int(j) + 5]
        shape_of_spot = np.exp(-((slow[box] - i) ** 2 + (fast[box] - j) ** 2) / 2)
        counts[box] += rng.poisson(rng.lognormal(4, 1) * shape_of_spot / 6.3).astype(dtype)
    valid = np.ones(shape, dtype=np.bool_)
    valid[512:549], valid[:, 1030:1040] = False, False
    counts[~valid] = np.iinfo(dtype).max
    return Frame(file="made", index=0, counts=counts, valid=valid, gain=1.0, beam_center_px=middle)


def compressed(counts: np.ndarray) -> bytes:
    """Return counts compressed by bitshuffle and LZ4, with the vendor's header."""
    with h5py.File("memory", "w", driver="core", backing_store=False) as file:
        data = file.create_dataset(
            "data", data=counts, chunks=counts.shape, **hdf5plugin.Bitshuffle(cname="lz4")
        )
        return bytes(data.id.read_direct_chunk((0,) * counts.ndim)[1])


def milliseconds(task, *arguments, **options) -> float:  # noqa: ANN001, ANN002, ANN003
    start = time.thread_time()
    task(*arguments, **options)
    return 1000 * (time.thread_time() - start)


def evidence(frame: Frame) -> None:
    numbers(find_evidence(frame))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repetitions", type=int, default=10)
    repetitions = parser.parse_args().repetitions
    print(f"{platform.processor() or platform.machine()}, one core, milliseconds of CPU")
    print(f"{'frame':<16}{'light':>7}{'peaks':>7}{'decompress':>12}{'evidence':>10}{'ratio':>7}")
    for name, shape, dtype in CASES:
        for light in LIGHTS:
            frame = make(shape, dtype, light)
            packed = compressed(frame.counts)
            peaks = len(find_evidence(frame).peaks)  # compiles
            pairs = np.array(
                [
                    [
                        milliseconds(
                            decompress, packed, "bslz4", elem_size=np.dtype(dtype).itemsize
                        ),
                        milliseconds(evidence, frame),
                    ]
                    for _ in range(repetitions)
                ]
            )
            own, other = np.median(pairs[:, 1]), np.median(pairs[:, 0])
            ratio = np.median(pairs[:, 1] / pairs[:, 0])
            print(f"{name:<16}{light:>7}{peaks:>7}{other:>12.1f}{own:>10.1f}{ratio:>7.2f}")


if __name__ == "__main__":
    main()
