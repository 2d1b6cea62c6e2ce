"""Measure shots per second on a GPU, by stage and batch size, and agreement with the CPU.

Run: python benchmarks/gpu.py [--seconds 20] [--json gpu.json]

It compiles the kernels, compares expected photons with the CPU's on shots of every class, checks
that images do not depend on batches, and times batches of whole photosystem-II shots (300 domains
each) for the given seconds. It takes under five minutes on an H200.
"""

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from deepfreak.physics.exposure import scatter, simulate
from deepfreak.physics.gpu import Renderer, missing_on_this_machine
from deepfreak.physics.recipe import load_recipe


def agreement(renderer: Renderer, shots: list[Any]) -> dict[str, float]:
    """Return the largest deviations from the CPU, as the golden tests measure them."""
    photons = renderer.expected(shots).cpu().numpy().astype(np.float64)
    sums, off = [], []
    for ours, shot in zip(photons, shots, strict=True):
        cpu = scatter(shot).astype(np.float64)
        if cpu.sum() == 0:
            continue
        sums.append(abs(ours.sum() / cpu.sum() - 1))
        matter = cpu > 1e-6 * cpu.max()
        off.append(float(np.mean(np.abs(ours - cpu)[matter] > 1e-5 * cpu[matter])))
    images = renderer.images(shots).cpu().numpy().astype(float)
    means = [
        image.mean() - simulate(shot)[0].mean() for image, shot in zip(images, shots, strict=True)
    ]
    return {
        "largest relative deviation of a sum": max(sums),
        "largest share of pixels off by more than 1e-5": max(off),
        "largest difference of an 8-bit mean": float(np.max(np.abs(means))),
    }


def rate(renderer: Renderer, *, batch: int, seconds: float) -> tuple[float, float]:
    """Return shots per second on the device alone, and with the draws on the host."""
    import torch

    experiment = renderer.experiment
    shots = [experiment.draw(seed=1, index=i) for i in range(batch)]
    renderer.images(shots)
    torch.cuda.synchronize()
    start, done = time.perf_counter(), 0
    while time.perf_counter() - start < seconds:
        renderer.images(shots)
        done += batch
    torch.cuda.synchronize()
    prepared = done / (time.perf_counter() - start)
    start, done = time.perf_counter(), 0
    while time.perf_counter() - start < seconds:
        renderer.render(seed=2, first=done, count=batch)
        done += batch
    torch.cuda.synchronize()
    return prepared, done / (time.perf_counter() - start)


def stages(renderer: Renderer, *, batch: int) -> dict[str, float]:
    """Return milliseconds per diffraction shot of each stage."""
    import torch

    experiment = renderer.experiment
    drawn = (experiment.draw(seed=3, index=i) for i in range(100 * batch))
    lit = [shot for shot in drawn if shot.crystal_volume_mm3 > 0][:batch]

    def milliseconds(work: Callable[[], object]) -> float:
        work()
        torch.cuda.synchronize()
        start = time.perf_counter()
        for _ in range(5):
            work()
        torch.cuda.synchronize()
        return 1000 * (time.perf_counter() - start) / 5 / batch

    return {
        "lattices on the host": milliseconds(
            lambda: [renderer._lattices(shot, 0) for shot in lit]  # noqa: SLF001 -- a stage
        ),
        "expected photons": milliseconds(lambda: renderer.expected(lit)),
        "whole shot": milliseconds(lambda: renderer.images(lit)),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    lacking = missing_on_this_machine()
    if lacking:
        raise SystemExit(lacking)
    import torch

    experiment = load_recipe("diffranet")
    start = time.perf_counter()
    renderer = Renderer(experiment)
    shots = [experiment.draw(seed=0, index=i) for i in range(12)]
    together = renderer.images(shots)
    compiled = time.perf_counter() - start
    alone = torch.cat([renderer.images([shot]) for shot in shots])
    found: dict[str, Any] = {
        "device": torch.cuda.get_device_name(),
        "seconds to the first batch": compiled,
        "same image in any batch": bool((together == alone).all()),
        "agreement with the CPU": agreement(renderer, shots),
        "milliseconds a diffraction shot": stages(renderer, batch=64),
    }
    for batch in (16, 64, 256):
        prepared, drawn = rate(renderer, batch=batch, seconds=options.seconds)
        found[f"shots/s, batches of {batch}"] = {"prepared": prepared, "drawn": drawn}
    found["peak memory, GB"] = torch.cuda.max_memory_allocated() / 1e9
    print(json.dumps(found, indent=1))
    if options.json:
        options.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
