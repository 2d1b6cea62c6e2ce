"""How long a training's step takes, without what is done between epochs."""

import time

from deepfreak.datasets import Dataset
from deepfreak.networks.architecture import Architecture
from deepfreak.networks.batches.stored import StoredImages
from deepfreak.networks.configuration import Training
from deepfreak.networks.cuda_graph import CudaGraphStep
from deepfreak.networks.network import build_network
from deepfreak.networks.processes import processes
from deepfreak.networks.targets import Targets
from deepfreak.networks.training import gradient_step, new_state, reproducible


def seconds_per_step(
    architecture: Architecture, training: Training, data: Dataset, *, device: str | None = None
) -> float:
    """Return the seconds of a step, a mean over all images of `data` shown once, unchanged."""
    with processes(device) as group, reproducible(group.device):
        images = StoredImages(data, group)
        network = build_network(
            architecture, training.inputs, classes=len(images.classes), side=images.side
        )
        optimizer = new_state(network, training, group.device).optimizer
        targets = Targets.of(images.classes, with_groups=False, device=group.device)
        step = gradient_step(network.train(), targets, training, group.device)
        if group.device.type == "cuda":
            step = CudaGraphStep(
                step=step, network=network, batch=training.batch, device=group.device
            )
        for _ in range(2):  # the first time warms up
            began = time.monotonic()
            for batch in images.in_order(training.batch):
                loss, _ = step(batch)
                optimizer.step()
            loss.item()  # waits for the device
            seconds = time.monotonic() - began
    return seconds / -(-len(images) // training.batch)
