"""Time a verdict: a model of evidence against a network of prepared images.

Run: python benchmarks/verdicts.py MODEL.evidence NETWORK.onnx [--repetitions 20]

Frames are Poisson noise around a central beam, with 300 spots. Both models, and evidence with the
picture for display, alternate on one core. Times are medians of the thread's CPU time, which
excludes other programs.
"""

import argparse
import time
from pathlib import Path

import numpy as np

from deepfreak.formats import Frame
from deepfreak.models import load_model
from deepfreak.screening.screener import Screener

CASES = (
    ("512 x 512 uint16", (512, 512), np.uint16),
    ("4.5 Mpx uint32", (2167, 2070), np.uint32),
    ("4.5 Mpx uint16", (2167, 2070), np.uint16),
)
LIGHTS = (0.05, 2.0, 20.0)  # photons per pixel halfway to the edge
SPOTS = 300


def make(shape: tuple[int, int], dtype: type, light: float) -> Frame:
    """Return a frame of a photon-counting detector."""
    rng = np.random.default_rng(0)
    slow, fast = np.indices(shape, dtype=np.float32)
    middle = (shape[0] / 2, shape[1] / 2)
    radius = np.hypot(slow - middle[0], fast - middle[1]) / shape[0]
    counts = rng.poisson(2 * light * np.exp(-radius / 0.36)).astype(dtype)
    for i, j in rng.integers(5, np.array(shape) - 5, (SPOTS, 2)):
        counts[i - 1 : i + 2, j - 1 : j + 2] += rng.poisson(rng.lognormal(2, 1), (3, 3)).astype(
            dtype
        )
    valid = np.ones(shape, dtype=np.bool_)
    return Frame(file="made", index=0, counts=counts, valid=valid, gain=1.0, beam_center_px=middle)


def milliseconds(screener: Screener, frame: Frame) -> float:
    """Return the CPU time of one verdict."""
    start = time.thread_time()
    screener(frame)
    return 1000 * (time.thread_time() - start)


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path, help="model of evidence")
    parser.add_argument("network", type=Path, help="network of prepared images")
    parser.add_argument("--repetitions", type=int, default=20)
    options = parser.parse_args()
    ways = {
        "network": Screener(load_model(options.network)),
        "evidence": Screener(load_model(options.model)),
        "and picture": Screener(load_model(options.model), pictures=True),
    }
    print(f"{'frame':<18}{'light':>7}" + "".join(f"{name:>13}" for name in ways))
    for name, shape, dtype in CASES:
        for light in LIGHTS:
            frame = make(shape, dtype, light)
            for screener in ways.values():
                screener(frame)  # compiles
            rows = [
                [milliseconds(screener, frame) for screener in ways.values()]
                for _ in range(options.repetitions)
            ]
            found = "".join(f"{value:>13.1f}" for value in np.median(rows, axis=0))
            print(f"{name:<18}{light:>7}{found}", flush=True)


if __name__ == "__main__":
    main()
