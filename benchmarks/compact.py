"""Compare our network with the paper's smallest: operations, and time per image on one core.

Run: python benchmarks/compact.py [--images 100] [--seed 1]

Each network is exported with its preprocessing and its activation maps, as it is served, and
classifies simulated images one by one in one thread. Times are CPU milliseconds, median and
minimum. Weights are random, which does not change the cost. Training is forward and backward, in
batches of 32, in one thread.
"""

import argparse
import platform
import tempfile
import time
from collections.abc import Callable
from importlib import metadata
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from deepfreak.models.onnx_model import onnxruntime
from deepfreak.networks import TOPOLOGIES, Architecture, Compact, Inputs, NetworkModel, cost
from deepfreak.networks.export import export_onnx
from deepfreak.networks.network import build_network, fingerprint
from deepfreak.physics.exposure import simulate
from deepfreak.physics.recipe import load_recipe

CLASSES = ("blank", "no-crystal", "weak", "good", "strong")
SIDE = 512
BATCH = 32
NETWORKS: dict[str, tuple[Architecture, Inputs]] = {
    "ours": (Compact(), Inputs(subtract="nothing")),
    "ours, 2 convolutions": (Compact(widths=(8, 16)), Inputs(subtract="nothing")),
    "ours, twice as wide": (Compact(widths=(16, 32, 64, 128)), Inputs(subtract="nothing")),
    "variant 9, 8 filters": (TOPOLOGIES[9], Inputs()),
}


def untrained(architecture: Architecture, inputs: Inputs) -> NetworkModel:
    """Return a network with random weights."""
    torch.manual_seed(0)
    network = build_network(architecture, inputs, classes=len(CLASSES), side=SIDE).eval()
    manifest = {
        "architecture": architecture.settings(),
        "weights_sha256": fingerprint(network),
        "data": {},
    }
    return NetworkModel(network=network, side=SIDE, classes=CLASSES, manifest=manifest)


def core_ms(work: Callable[[], object], repetitions: int) -> NDArray[np.float64]:
    """Return the CPU milliseconds of each of `repetitions` calls, after a warm-up."""
    work()
    found = []
    for _ in range(repetitions):
        begun = time.process_time()
        work()
        found.append(1000 * (time.process_time() - begun))
    return np.array(found)


def serving_ms(model: NetworkModel, images: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Return the milliseconds of onnxruntime for each image, including maps."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "network.onnx"
        export_onnx(model, path)
        runtime = onnxruntime()
        options = runtime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        session = runtime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    valid = np.ones((1, SIDE, SIDE), np.bool_)
    feeds = [{"image": image[None], "valid": valid} for image in images]
    session.run(None, feeds[0])
    each = [core_ms(lambda feed=feed: session.run(None, feed), 1) for feed in feeds]
    return np.concatenate(each)


def training_ms(model: NetworkModel, images: NDArray[np.uint8]) -> float:
    """Return the milliseconds per image, forward and backward, the minimum of three batches."""
    network = model.network.train()
    batch = torch.from_numpy(np.resize(images, (BATCH, SIDE, SIDE)))
    return float(core_ms(lambda: network(batch).sum().backward(), 3).min()) / BATCH


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(1)
    experiment = load_recipe("diffranet")
    images = np.stack(
        [simulate(experiment.draw(seed=options.seed, index=i))[0] for i in range(options.images)]
    )
    named = [f"{name} {metadata.version(name)}" for name in ("onnxruntime", "torch")]
    print(f"{platform.machine()}, {', '.join(named)}, one thread; {len(images)} images")
    print("| network | parameters | 10^6 multiply-adds | served, ms (minimum) | training, ms |")
    print("|---|---|---|---|---|")
    for name, (architecture, inputs) in NETWORKS.items():
        what = cost(architecture, classes=len(CLASSES), size=SIDE)
        model = untrained(architecture, inputs)
        served = serving_ms(model, images)
        print(
            f"| {name} | {what.parameters:,} | {what.multiply_adds / 1e6:.1f} "
            f"| {np.median(served):.2f} ({served.min():.2f}) | {training_ms(model, images):.1f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
